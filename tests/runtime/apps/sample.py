"""Handlers of all manners, good and bad."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import subprocess
import sys
import time

from taskservice import App, Context, NonRetryable, Retry, Throttled

app = App("sample")


@app.task
def noop(i: int = 0) -> int:
    return i


@app.task
def pid(i: int = 0) -> int:
    return os.getpid()


@app.task
def environment() -> list[str]:
    return sorted(os.environ)


@app.task
def about(ctx: Context) -> dict[str, object]:
    return {
        "id": ctx.task_id,
        "tenant": ctx.tenant,
        "attempt": ctx.attempt,
        "tags": ctx.tags,
        "key": ctx.idempotency_key,
    }


@app.task(timeout="30s")
def sleep(seconds: float) -> float:
    print("going to sleep")
    time.sleep(seconds)
    return seconds


@app.task
def polite(ctx: Context) -> str:
    print("begun")
    while True:
        ctx.raise_if_cancelled()
        time.sleep(0.01)


@app.task
def finishes_first(ctx: Context) -> str:
    while not ctx.cancelled:
        time.sleep(0.01)
    return "finished"


@app.task(concurrency=4)
async def tidies_up(ctx: Context, seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    finally:
        print("tidy:", ctx.cancelled)
    return "slept"


@app.task
def sleep_for(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(retry=Retry(non_retryable=(KeyError,)))
def fail(how: str) -> object:
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "system_exit":
        raise SystemExit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "value":
        raise ValueError("no good")
    if how == "listed":
        raise KeyError("never again")
    if how == "final":
        raise NonRetryable("in vain")
    if how == "busy":
        raise Throttled("later", retry_after="7s")
    if how == "recursion":
        return fail(how)
    if how == "not_json":
        return object()
    if how == "nan":
        return float("nan")
    if how == "large":
        return "x" * 20_000_000
    if how == "surrogate":
        return "\ud800"
    return how


@app.task
def crash_if(i: int, crasher: int) -> int:
    if i == crasher:
        print("goodbye")
        os._exit(1)
    return i


@app.task
def talk(lines: int) -> None:
    for line in range(lines):
        print("line", line)
    logging.getLogger("sample").warning("careful")
    print("and an error", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "print('from a subprocess')"], check=True)


@app.task
def shout(megabytes: int) -> int:
    for _ in range(megabytes):
        print("x" * 1_000_000)
    return megabytes


@app.task
def shout_raw(megabytes: int) -> int:
    for _ in range(megabytes):
        os.write(1, b"y" * 1_000_000)
    return megabytes


@app.task
def close_everything() -> str:
    sys.stdout.close()
    os.close(1)
    return "still here"


@app.task
def breed() -> int:
    return subprocess.Popen(["sleep", "3600"], start_new_session=True).pid


@app.task
def breed_and_hang() -> None:
    child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    print(child.pid)
    time.sleep(3600)


@app.task(concurrency=10, timeout="30s")
async def nap(i: int, seconds: float) -> int:
    print("nap", i)
    await asyncio.sleep(seconds)
    print("woke", i)
    return i


@app.task(concurrency=10)
async def meet(i: int, everybody: int) -> int:
    """Ends only if `everybody` is there at the same time."""
    _met.append(i)
    while len(_met) < everybody:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return len(_met)


_met: list[int] = []


@app.task(concurrency=10)
async def exit_async(i: int) -> int:
    if i == 3:
        raise SystemExit(1)
    return i
