"""The app that the tests with a real Ray run."""

from __future__ import annotations

import os
from pathlib import Path

from taskservice import App

app = App("chores")


@app.task()
def double(x: int) -> int:
    return 2 * x


@app.task()
def hold(gate: str) -> str:
    """Says in whose process it runs, and goes on when it is let through."""
    with Path(gate, "arrived").open("w") as arrived, Path(gate, "release").open() as release:
        print(os.getppid(), file=arrived, flush=True)
        return release.readline().strip()
