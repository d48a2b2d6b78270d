"""Handlers that do nothing, or wait: what remains of the time is the service's own."""

from __future__ import annotations

import asyncio
import time

from taskservice import App, Retry

app = App("bench")


@app.task(cpus=1, timeout="1m", retry=Retry(max_attempts=3))
def noop(i: int) -> int:
    """Its argument."""
    return i


@app.task(cpus=1, timeout="1m", retry=Retry(max_attempts=3))
def sleep_ms(ms: float) -> None:
    """Nothing, after `ms` milliseconds."""
    time.sleep(ms / 1000)


@app.task(cpus=1, timeout="1m", retry=Retry(max_attempts=3), concurrency=100)
async def sleep_ms_async(ms: float) -> None:
    """Nothing, after `ms` milliseconds in which the process attends to others."""
    await asyncio.sleep(ms / 1000)
