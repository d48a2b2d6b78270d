"""Functions with limits of each kind."""

from __future__ import annotations

import time

from taskservice import App

app = App("limits")


@app.task(rate="1/m burst 2")
def slow(i: int = 0) -> int:
    return i


@app.task(key="user", key_max_running=1, max_running=5, downstream="pay")
def hold(user: str, seconds: float = 0.0) -> str:
    time.sleep(seconds)
    return user


@app.task(cpus=1000)
def large() -> None:
    """Fits on no machine."""
