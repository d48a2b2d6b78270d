"""An app whose handlers do what handlers may do, for the tests of `taskservice.testing`."""

from __future__ import annotations

import asyncio
import sys

from taskservice import App, Context, NonRetryable, Retry

app = App("t")
made: list[str] = []
"""What handlers have done, in order."""


@app.task(retry=Retry(max_attempts=3, base="10s", jitter=False))
def fail(ctx: Context, times: int) -> list[object]:
    made.append(f"attempt {ctx.attempt}")
    ctx.checkpoint({"made": ctx.attempt})
    if ctx.attempt <= times:
        raise ValueError("not yet")
    return [ctx.attempt, ctx.restored]


@app.task
def note(text: str = "", task: dict | None = None) -> str:
    made.append(text or str(task and task["state"]))
    return text


@app.task(max_running=1, cpus=0.5)
async def awaited(text: str) -> str:
    await asyncio.sleep(0)
    made.append(text)
    return text


@app.task
def final(how: str) -> None:
    if how == "exit":
        sys.exit(3)
    raise NonRetryable("for good")


@app.task
def not_json() -> object:
    return {1: object()}


@app.task
def interrupted() -> None:
    raise KeyboardInterrupt


@app.task(labels={"zone": "a"}, gpus=1, resources={"licence": 2}, memory="1GiB", secrets=["TOKEN"])
def demanding(ctx: Context) -> str:
    print(ctx.secret("TOKEN"), file=sys.stderr)
    return ctx.tenant
