"""Work for a live service to do, well and badly."""

from __future__ import annotations

import os
import time
from pathlib import Path

from taskservice import App, Context, NonRetryable, Retry

app = App("work")


@app.task
def noop(i: int = 0) -> int:
    return i


@app.task
def note(i: int, file: str) -> int:
    """Leaves a line behind for each time that it runs."""
    with Path(file).open("a") as out:
        out.write(f"{i}\n")
    time.sleep(0.002)
    return i


@app.task
def slow_note(i: int, file: str) -> int:
    """So slow that a lease has but one."""
    time.sleep(0.2)
    with Path(file).open("a") as out:
        out.write(f"{i}\n")
    return i


@app.task
def visit(seconds: float) -> str:
    """Says on which of `helpers.machines` it is."""
    machine = os.environ["MACHINE"]
    print(f"here I am, on machine {machine}")
    time.sleep(seconds)
    return machine


@app.task(retry=Retry(max_attempts=2, base="100ms"))
def report(ctx: Context, lines: int) -> None:
    """Says something, and fails the first time."""
    for i in range(lines):
        print("line", i)
        time.sleep(0.4)
    if ctx.attempt == 1:
        raise ValueError("not the first time")


@app.task
def mirror(text: str) -> str:
    return text[::-1]


@app.task(retry=Retry(max_attempts=2, base="100ms"))
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(grace="1s", priority="batch")
def linger(file: str, until: str) -> str:
    """Takes a minute, unless it is let go before. Leaves a line behind when it begins."""
    with Path(file).open("a") as out:
        out.write(f"{time.time()}\n")
    began_s = time.monotonic()
    while not Path(until).exists() and time.monotonic() < began_s + 60:
        time.sleep(0.05)
    return "to the end"


@app.task(grace="1s")
def heeds(ctx: Context, file: str) -> None:
    """Looks up every 50 ms, until it is asked to stop."""
    Path(file).touch()
    while True:
        ctx.raise_if_cancelled()
        time.sleep(0.05)


@app.task
def counts(ctx: Context, upto: int, file: str) -> int:
    """Puts down how far it has come after each step, and leaves a line behind for each."""
    done: int = ctx.restored or 0
    with Path(file).open("a") as out:
        while done < upto:
            out.write(f"{done} {time.monotonic()}\n")
            out.flush()
            time.sleep(0.02)
            done += 1
            ctx.checkpoint(done)
    return done


@app.task(grace="1s")
def hangs(file: str) -> None:
    """Hears nothing, for an hour."""
    Path(file).touch()
    time.sleep(3600)


@app.task
def when() -> float:
    return time.time()


@app.task
def tick(file: str, seconds: float) -> int:
    """Leaves a line behind, with the time, every 50 ms."""
    began_s = time.monotonic()
    ticks = 0
    while time.monotonic() < began_s + seconds:
        with Path(file).open("a") as out:
            out.write(f"{time.time()}\n")
        ticks += 1
        time.sleep(0.05)
    return ticks


@app.task(memory="150MiB", memory_retry_factor=4, retry=Retry(max_attempts=2, base="50ms", max="50ms"))
def take(megabytes: int) -> int:
    held = [b"x" * 2**20 for _ in range(megabytes)]
    time.sleep(0.3)
    return len(held)


@app.task(retry=Retry(max_attempts=2, base="50ms", max="50ms"), max_crashes=2)
def misbehave(how: str) -> object:
    if how == "exit":
        os._exit(1)
    if how == "system_exit":
        raise SystemExit(2)
    if how == "shout":
        for _ in range(100):
            print("x" * 1_000_000)
        return "shouted"
    if how == "not_json":
        return object()
    if how == "hopeless":
        raise NonRetryable("no way")
    if how == "large":
        return "x" * 20_000_000
    raise ValueError(how)


@app.task()
def after(task: dict) -> str:
    """Follows another task."""
    return f"{task['id']} has {task['state']}"
