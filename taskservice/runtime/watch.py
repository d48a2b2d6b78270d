"""Whether the child of a lease takes more than it may: of memory (`runtime.memory`), of processes and threads, of room for its files.

Processes and threads are counted here because the kernel's own limit (RLIMIT_NPROC) is of a user, and that is one tenant's on the
whole machine at best, and the service's at worst. Files are counted because only root can bound a folder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.family import threads_of
from taskservice.runtime.memory import LOOKING_RATIO_MAX, MemoryWatch, OomKills, Watched
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.scratch import taken

PROCESSES_LOOK_S = 0.1
FILES_LOOK_S = 1.0
"""How long after its beginning a lease's child is looked at first, and how often then."""


class Bounded(Watched, Protocol):
    """A child."""

    @property
    def temp_dir(self) -> str: ...


class Watch:
    """What the child of a lease takes, and whether that is too much."""

    kind = OutcomeKind.OUT_OF_MEMORY
    """After `exceeded`: what an attempt comes to that took too much."""
    said = ""
    """After `exceeded`: what it took, and might have taken."""

    def __init__(self, child: Bounded, memory_bytes: int, kills: OomKills, options: RuntimeOptions) -> None:
        """`memory_bytes`: 0 if it may take as much as it likes."""
        self._child = child
        self._memory = MemoryWatch(child, memory_bytes, kills)
        self._options = options
        now_s = time.monotonic()
        self._processes_due_s = now_s + PROCESSES_LOOK_S
        self._files_due_s = now_s + FILES_LOOK_S

    def patience_s(self, now_s: float) -> float:
        """How long nobody need look."""
        return min(self._memory.patience_s(now_s), min(self._processes_due_s, self._files_due_s) - now_s)

    def exceeded(self, running: Sequence[TaskNo]) -> bool:
        """Whether the child was found to take too much while these attempts ran. While none runs, nobody could be told."""
        if self._memory.exceeded(running):
            self.kind, self.said = OutcomeKind.OUT_OF_MEMORY, self._memory.said
            return True
        self.said = self._too_many_processes() or self._too_many_files()
        self.kind = OutcomeKind.HANDLER_ERROR
        return bool(self.said and running)

    def spares(self, no: TaskNo) -> bool:
        """See `MemoryWatch.spares`."""
        return self.kind is OutcomeKind.OUT_OF_MEMORY and self._memory.spares(no)

    def explained(self, how: str) -> tuple[OutcomeKind, str]:
        """See `MemoryWatch.explained`."""
        return self._memory.explained(how)

    def _too_many_processes(self) -> str:
        began_s = time.monotonic()
        if began_s < self._processes_due_s:
            return ""
        most = self._options.processes_max
        count = threads_of(self._child.pid, most)
        self._processes_due_s = _next_look_s(began_s, PROCESSES_LOOK_S)
        if count <= most:
            return ""
        return f"it had {count} or more processes and threads, and may have {most} (processes_max)"

    def _too_many_files(self) -> str:
        began_s = time.monotonic()
        if began_s < self._files_due_s:
            return ""
        bytes_max, files_max = self._options.temp_bytes_max, self._options.temp_files_max
        size_bytes, count = taken(self._child.temp_dir, files_max)
        self._files_due_s = _next_look_s(began_s, FILES_LOOK_S)
        if count > files_max:
            return f"its temporary folder was full: it may hold {files_max} files (temp_files_max)"
        if size_bytes > bytes_max:
            return f"its temporary folder was full: {size_bytes} bytes, and it may hold {bytes_max} (temp_bytes_max)"
        return ""


def _next_look_s(began_s: float, often_s: float) -> float:
    now_s = time.monotonic()
    return now_s + max(often_s, (now_s - began_s) / LOOKING_RATIO_MAX)
