"""Work that leaves a line behind when it begins and when it ends, as `helpers.chaos.Book` reads them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskservice import App, Context, Retry

app = App("chaos")

PATIENT = Retry(max_attempts=50, base="100ms", max="1s")
CRASHES = 50
"""More than a soak's faults can make: what ends otherwise than well is the service's doing."""


@app.task(cpus=0.25, retry=PATIENT, max_crashes=CRASHES)
def works(ctx: Context, seconds: float, file: str) -> str:
    with told(ctx, file) as run:
        time.sleep(seconds)
    return run


@app.task(cpus=0.25, concurrency=10, retry=PATIENT, max_crashes=CRASHES)
async def waits(ctx: Context, seconds: float, file: str) -> str:
    with told(ctx, file) as run:
        await asyncio.sleep(seconds)
    return run


@contextmanager
def told(ctx: Context, file: str) -> Iterator[str]:
    """Begun on entry, and ended if the block gets to its end; gives the name of the run, which is in the task's log as well."""
    run = f"{ctx.task_id}/{os.getpid()}/{time.time_ns()}"
    print(run)
    with Path(file).open("a", buffering=1) as out:
        out.write(f"begun {run}\n")
        yield run
        out.write(f"ended {run}\n")
