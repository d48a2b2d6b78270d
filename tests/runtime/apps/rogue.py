"""Handlers that do what nobody should."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from taskservice import App, Retry, Throttled
from taskservice.core.lease_wire import Outcome
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.wire import Ended, frame

app = App("rogue")


def _control() -> int:
    """The service's socket: it has a high number. An event loop that an async handler has left has sockets as well."""
    for name in sorted(os.listdir("/proc/self/fd"), key=int, reverse=True):  # noqa: PTH208
        try:
            if int(name) > 2 and socket.socket(fileno=os.dup(int(name))).family == socket.AF_UNIX:
                return int(name)
        except OSError:
            continue
    raise LookupError


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit


class Unfinished(Throttled):
    def __init__(self) -> None:
        pass


@app.task
def say(text: str) -> str:
    print(text)
    return text


@app.task
def close_low_descriptors() -> list[str]:
    """What a daemonizing library does; and what user code sees of how its process was started."""
    os.closerange(3, 256)
    return sys.argv[1:]


@app.task
def forge(kind: str, result: str) -> int:
    """Reports its own end on the service's socket, in the service's words, with a result of its choice."""
    outcome = Outcome(TaskNo(1), OutcomeKind(kind), result=bytes.fromhex(result))
    os.write(_control(), frame(Ended((outcome,))))
    time.sleep(60)
    return 0


@app.task
def garbage(i: int, when: int) -> int:
    if i == when:
        os.write(_control(), b"\x07\x00\x00\x00garbage" * 3)
        time.sleep(60)
    return i


@app.task
def huge_frame(i: int, when: int) -> int:
    if i == when:
        os.write(_control(), b"\xff\xff\xff\xff")
        time.sleep(60)
    return i


@app.task
def close_range(i: int, first: int) -> int:
    if i == 2:
        os.closerange(first, 4096)
    return i


@app.task
def lose_socket(i: int) -> int:
    """Reports go to a socket of its own from here on."""
    control, ours = _control(), socket.socketpair()
    _kept.append(ours)
    os.dup2(ours[0].fileno(), control)
    return i


_kept: list[object] = []


@app.task
def fork(how: str) -> int:
    """The copy prints, and ends in some way; the original waits for it and returns its exit code."""
    pid = os.fork()
    if pid == 0:
        print("from the copy")
        if how == "exit":
            os._exit(0)
        if how == "raise":
            raise ValueError
        if how == "sys_exit":
            sys.exit(0)
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.task
def fork_and_die() -> None:
    """The copy lives on, with all descriptors that it has."""
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    os._exit(5)


@app.task
def shell_and_die() -> None:
    """A program that keeps what it inherits; not with `subprocess`, which closes it."""
    os.system("sleep 60 &")
    os._exit(5)


def _speak() -> None:
    print("from the other process")


@app.task
def multiprocess() -> int | None:
    process = multiprocessing.get_context("fork").Process(target=_speak)
    process.start()
    process.join()
    return process.exitcode


@app.task
def threads(count: int) -> None:
    group = [threading.Thread(target=lambda i=i: print("thread", i)) for i in range(count)]
    for thread in group:
        thread.start()
    for thread in group:
        thread.join()


@app.task
def replace_stdout() -> str:
    sys.stdout = io.StringIO()
    print("swallowed")
    return sys.stdout.getvalue()


@app.task
def ask() -> str:
    return input("your name? ")


@app.task
def write_bytes(text: str) -> None:
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.buffer.write(text.encode())


@app.task
def raw(i: int) -> None:
    os.write(1, f"raw {i}\n".encode())


@app.task
def child_says(i: int) -> None:
    subprocess.run(["echo", f"child {i}"], check=True)


@app.task(retry=Retry(non_retryable=(Unprintable,)))
def odd_error(kind: str) -> None:
    if kind == "unprintable":
        raise Unprintable
    if kind == "unfinished":
        raise Unfinished
    raise ValueError("bad \ud800 file name")


@app.task
def alarm_prints() -> int:
    """Prints from a signal handler while it prints."""
    signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    for i in range(5_000):
        print("line", i)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return 1


@app.task
def echo(text: str) -> str:
    return text


@app.task
def close_all_output() -> None:
    os.close(1)
    os.close(2)
    time.sleep(0.5)


@app.task
def mark_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(3600)


@app.task(concurrency=4)
async def cancel_itself(i: int) -> int:
    if i == 1:
        asyncio.current_task().cancel()
        return i
    await asyncio.sleep(0)
    return i


@app.task(concurrency=10)
async def crowd(i: int) -> int:
    """The most that were here at once."""
    _here.append(i)
    most = len(_here)
    await asyncio.sleep(0.02)
    _here.remove(i)
    return most


_here: list[int] = []


@app.task(concurrency=10, timeout="30s")
async def block(i: int, blocker: int) -> int:
    print("block", i)
    await asyncio.sleep(0.05)
    if i == blocker:
        time.sleep(60)  # noqa: ASYNC251
    await asyncio.sleep(60)
    return i


@app.task(concurrency=10)
async def die_among(i: int, culprit: int, how: str) -> int:
    """All wait for ever but one, which ends the process as soon as they do: itself, or by a thread of nobody's."""
    if i == culprit:
        await asyncio.sleep(0.2)
        if how == "itself":
            os._exit(5)
        threading.Timer(0.1, os._exit, (5,)).start()
    await asyncio.sleep(60)
    return i


@app.task(concurrency=2)
async def exit_beside(i: int) -> int:
    async def leave() -> None:
        raise SystemExit(9)

    await asyncio.create_task(leave())
    return i


@app.task
def slowly_large(i: int, seconds: float, size: int) -> str:
    time.sleep(seconds)
    return "x" * size


@app.task
def all_i_see() -> str:
    """What a handler can find out of how its process was started."""
    return repr((sys.argv, sorted(os.environ.items()), Path("/proc/self/cmdline").read_bytes()))


@app.task
def leave(count: int) -> int:
    """Processes that it does not wait for, in sessions of their own."""
    for _ in range(count):
        subprocess.Popen(["sleep", "60"], start_new_session=True)
    return os.getpid()
