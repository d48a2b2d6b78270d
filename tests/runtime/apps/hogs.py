"""Handlers that take memory."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from taskservice import App, Retry

app = App("hogs")

_kept: list[list[bytes]] = []


def fill(megabytes: int) -> list[bytes]:
    """As much memory, and not only reserved."""
    return [b"x" * 2**20 for _ in range(megabytes)]


@app.task
def hold(megabytes: int, seconds: float = 0.0) -> int:
    held = fill(megabytes)
    time.sleep(seconds)
    del held
    return os.getpid()


@app.task
def keep(megabytes: int, seconds: float = 0.0) -> int:
    _kept.append(fill(megabytes))
    time.sleep(seconds)
    return os.getpid()


@app.task
def reserve(megabytes: int, seconds: float) -> int:
    """Writable pages, none of which is used."""
    with mmap.mmap(-1, megabytes * 2**20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as reserved:
        time.sleep(seconds)
        return len(reserved)


@app.task
def breed(megabytes: int) -> int:
    code = f"import time; held = b'x' * {megabytes * 2**20}; time.sleep(60)"
    return subprocess.run([sys.executable, "-c", code], check=True).returncode


@app.task
def fork(megabytes: int, copies: int, seconds: float) -> int:
    """The copies have what the original has, and take next to nothing."""
    held = fill(megabytes)
    pids = []
    for _ in range(copies):
        pid = os.fork()
        if not pid:
            time.sleep(seconds)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return len(held)


@app.task
def refused() -> None:
    raise MemoryError("no room for 80 GiB")


@app.task(retry=Retry(non_retryable=(MemoryError,)))
def hopeless() -> None:
    raise MemoryError


@app.task
def be_killed(counter: str = "") -> None:
    """As the kernel does it, which counts that as well."""
    if counter:
        Path(counter).write_text("oom 7\noom_kill 3\n")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def fill_group(group: str, megabytes: int) -> int:
    """Within a control group."""
    Path(group, "cgroup.procs").write_text(str(os.getpid()))
    return len(fill(megabytes))


@app.task(concurrency=10)
async def nap_or_hold(megabytes: int) -> int:
    await asyncio.sleep(0.05)
    if megabytes:
        time.sleep(len(fill(megabytes)))  # noqa: ASYNC251 - it blocks the others, as a hog does
    await asyncio.sleep(30)
    return megabytes
