"""Which processes belong to a service, and how they are ended.

A service is one process and all that it starts; some of those outlive it if it is killed. It therefore marks its
environment, which whatever it starts inherits, so that all of them can be found, and no others.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import psutil

MARK_VARIABLE = "_TASKSERVICE_MARK"
START_TOLERANCE_S = 2.0
"""The time a process was started at is reckoned from the machine's clock, which may be set meanwhile."""
LINGER_S = 5.0
"""What a process gets to end when the service that started it has ended."""
KILL_TIMEOUT_S = 10.0
"""A killed process is gone by then, unless the kernel waits for a disk."""


def started_s(pid: int) -> float | None:
    """When the process was started, in seconds since the Unix epoch; None if there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def find(pid: int, start_s: float) -> psutil.Process | None:
    """The process that was started then; None if it has ended, also if another one has its number now."""
    now_s = started_s(pid)
    return psutil.Process(pid) if now_s is not None and abs(now_s - start_s) < START_TOLERANCE_S else None


def members(mark: str, main: psutil.Process | None) -> list[psutil.Process]:
    """All that the service with this mark, or its main process, has started and that runs; not this process."""
    found = {} if main is None else {process.pid: process for process in _descendants(main)}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK_VARIABLE) == mark:
                found[process.pid] = process
    return [process for pid, process in found.items() if pid != os.getpid() and started_s(pid) is not None]


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end(mark: str, main: psutil.Process | None, timeout_s: float, linger_s: float = LINGER_S) -> int:
    """Nothing of the service is left running. Gives the number of processes that had to be killed.

    The main process is asked to stop and has `timeout_s`; what it leaves behind has `linger_s`.
    """
    known = members(mark, main)
    if main is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            main.terminate()
        _, left = psutil.wait_procs([main], timeout=timeout_s)
        known += left
    _, left = psutil.wait_procs({*known, *members(mark, None)}, timeout=linger_s)
    return kill(left)


def kill(processes: Iterable[psutil.Process]) -> int:
    """These processes are gone. Gives how many there were."""
    asked = list(processes)
    for process in asked:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(asked, timeout=KILL_TIMEOUT_S)
    return len(asked)
