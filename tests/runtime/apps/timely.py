"""Handlers whose time is over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

from taskservice import App, Context, NonRetryable, TimeLimitExceeded

app = App("timely")

NAP = [sys.executable, "-c", "import time; time.sleep(120)"]


@app.task
def noop(i: int = 0) -> int:
    return i


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def tidies_up(how: str) -> str:
    try:
        time.sleep(60)
    except TimeLimitExceeded as error:
        print("tidy:", error)
        if how == "return":
            return "in time"
        if how == "final":
            raise NonRetryable("no use") from None
        if how == "other":
            raise ValueError("while tidying up") from None
        if how == "exit":
            os._exit(3)
        if how == "deaf":
            time.sleep(60)
        raise
    return "never"


@app.task
def busy(how: str) -> int:
    """At work in Python, in its log, or in threads' locks: never in a call that is interrupted."""
    count = 0
    while True:
        count += 1
        if how == "log":
            print("line", count)


@app.task(concurrency=4)
async def awaits(ctx: Context, seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError as error:
        print("tidy:", ctx.cancelled, error)
        ctx.raise_if_cancelled()
    return "slept"


@app.task
def reckons(ctx: Context) -> list[float]:
    from datetime import UTC, datetime  # noqa: PLC0415

    left_s = ctx.remaining_s
    return [left_s, (ctx.deadline - datetime.now(UTC)).total_seconds(), ctx.remaining_s <= left_s]


@app.task
def leaves_a_child(session: bool, heed: bool) -> None:
    process = subprocess.Popen(NAP, start_new_session=session)
    print(process.pid, flush=True)
    if heed:
        process.wait()
    else:
        while True:
            try:
                time.sleep(60)
            except TimeLimitExceeded:
                continue


@app.task
def leaves_a_daemon(crash: bool) -> None:
    """It has no parent that we know, and a session of its own."""
    code = f"import subprocess; print(subprocess.Popen({NAP!r}, start_new_session=True).pid, flush=True)"
    subprocess.run([sys.executable, "-c", code], check=True)
    if crash:
        os._exit(1)
    while True:
        try:
            time.sleep(60)
        except TimeLimitExceeded:
            continue
