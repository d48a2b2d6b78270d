"""Handlers that put down how far they have come."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from taskservice import App, Context

app = App("counting")


@app.task
def noop() -> None:
    """Nothing."""


@app.task
def count(ctx: Context, upto: int, ledger: str, at: int = 0, how: str = "") -> int:
    """Each step is in the ledger, with its time. At step `at` it ends in that way."""
    done = 0 if ctx.restored is None else ctx.restored["done"]
    with Path(ledger).open("a") as steps:
        while done < upto:
            ctx.raise_if_cancelled()
            steps.write(f"{done} {time.monotonic()}\n")
            steps.flush()
            time.sleep(0.002)
            done += 1
            ctx.checkpoint({"done": done})
            if done == at and how == "error":
                raise ValueError("half way")
            if done == at and how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
    return done


@app.task
def saves(ctx: Context, values: list[Any], fail: bool) -> Any:
    restored = ctx.restored
    for value in values:
        ctx.checkpoint(value)
    if fail:
        raise ValueError(f"had {restored!r}")
    return restored


@app.task
def saves_bytes(ctx: Context, size: int, fail: bool, crash: bool = False) -> int:
    restored = ctx.restored or b""
    ctx.checkpoint(bytes(size))
    if crash:
        os._exit(1)
    if fail:
        raise ValueError
    return len(restored)


@app.task
def refused(ctx: Context) -> list[str]:
    said = []
    for value in (None, object(), float("nan"), "x" * 2_000):
        try:
            ctx.checkpoint(value)
        except (TypeError, ValueError) as error:
            said.append(f"{type(error).__name__}: {error}")
    return said


@app.task
def often(ctx: Context, times: int) -> float:
    began_s = time.perf_counter()
    for i in range(times):
        ctx.checkpoint({"i": i})
    return (time.perf_counter() - began_s) / times


@app.task
def once_then_sleeps(ctx: Context) -> None:
    ctx.checkpoint(1)
    ctx.checkpoint(2)
    time.sleep(60)


@app.task
def forks(ctx: Context) -> str:
    ctx.checkpoint("parent")
    process = get_context("fork").Process(target=lambda: ctx.checkpoint("child"))
    process.start()
    process.join()
    return f"{process.exitcode}"


@app.task(concurrency=4)
async def neighbours(ctx: Context, i: int) -> None:
    ctx.checkpoint([i])
    await asyncio.sleep(0.05)
    ctx.checkpoint([i, i])
    raise ValueError
