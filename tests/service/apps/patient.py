"""Work that can wait, and work that has nowhere to run."""

from __future__ import annotations

from taskservice import App

app = App("patient")


@app.task(off_peak=True, timeout="20s")
def sweep(i: int = 0) -> int:
    return i


@app.task(labels={"zone": "nowhere"})
def elsewhere() -> None:
    """No machine has such a label."""


@app.task(spread=True)
def spread() -> int:
    return 1
