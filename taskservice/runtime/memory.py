"""How much memory a child takes with all that it has started, and whether that is more than it may.

Looked at rather than forbidden. A limit on address space (RLIMIT_AS, RLIMIT_DATA) stops what only reserves: pyarrow's allocator maps a
gigabyte with its first array, a thread 8 MiB, and neither takes it. The kernel's own limit for this, cgroups, is
seldom to be had by whoever is no administrator. A process that fills memory as fast as it can gets 0.7 to 3 GB further in a
second, so between two looks some ten megabytes beyond its limit.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.family import descendants

LOOK_S = 0.1
"""How long after its beginning a lease's child is looked at first, and how often then."""
NEAR_LOOK_S = 0.02
"""How often if it has more than half of what it may."""
LOOKING_RATIO_MAX = 0.05
"""Share of a CPU that looking may take."""
LEFT_RATIO_MAX = 0.25
"""Share of what a lease may have that a warm child may have kept of the leases before."""

LATELY_S = 10.0
"""The kernel's kills are of no interest after so long."""

_TAKEN = re.compile(rb"^Rss(?:Anon|Shmem):\s*(\d+) kB", re.MULTILINE)
_SHARE = re.compile(rb"^Pss_(?:Anon|Shmem):\s*(\d+) kB", re.MULTILINE)
_OOM_KILLS = re.compile(rb"^oom_kill (\d+)", re.MULTILINE)


def taken_bytes(pid: int, enough_bytes: int | None = None) -> int:
    """The memory that the process and its descendants take, but for that of files, which the kernel takes back when it likes.

    What several of them share, as forks do, is counted for each of them, unless that makes it more than `enough_bytes`: then it
    is counted once, which takes 20 ms a gigabyte. 0 if the process is gone.
    """
    family = [pid, *descendants(pid)]
    total = sum(_field_bytes(f"/proc/{each}/status", _TAKEN) or 0 for each in family)
    if enough_bytes is None or total <= enough_bytes or len(family) == 1:
        return total
    return sum(_share_bytes(each) for each in family)


def _share_bytes(pid: int) -> int:
    share_bytes = _field_bytes(f"/proc/{pid}/smaps_rollup", _SHARE)
    if share_bytes is None:  # it is gone, or another user's
        return _field_bytes(f"/proc/{pid}/status", _TAKEN) or 0
    return share_bytes


def _field_bytes(path: str, fields: re.Pattern[bytes]) -> int | None:
    """The sum of the fields; None if they cannot be read."""
    try:
        text = Path(path).read_bytes()
    except OSError:
        return None
    found = fields.findall(text)
    return 1024 * sum(map(int, found)) if found else None


class OomKills:
    """How often the kernel has ended a process for want of memory: in our cgroup if that is counted, else on the machine."""

    def __init__(self, counters: Sequence[str] = ()) -> None:
        """`counters`: files of which the first that can be read counts."""
        self._counters = counters or (f"/sys/fs/cgroup{_own_cgroup()}/memory.events", "/proc/vmstat")
        self._before = self._lately = self._count()
        self.looked_s = time.monotonic()

    def look(self, now_s: float) -> None:
        """What is counted now was before, from the next look on that is a second later. Looks no more than once a second."""
        passed_s = now_s - self.looked_s
        if passed_s >= 1.0:
            count = self._count()
            self._before = self._lately if passed_s < LATELY_S else count
            self._lately, self.looked_s = count, now_s

    def recent(self) -> int:
        """How many there have been in the last seconds."""
        return self._count() - self._before

    def _count(self) -> int:
        for path in self._counters:
            with suppress(OSError):
                found = _OOM_KILLS.search(Path(path).read_bytes())
                if found:
                    return int(found[1])
        return 0


def _own_cgroup() -> str:
    """Its path below the root of cgroups of version 2; empty at the root itself, or if it cannot be told."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                return line[3:].rstrip("/")
    return ""


class Watched(Protocol):
    """A child."""

    @property
    def pid(self) -> int: ...

    @property
    def fresh_bytes(self) -> int:
        """What it took when its app had been imported."""

    @property
    def seen_bytes(self) -> int:
        """What it took when the lease got it."""

    @property
    def killed_by_others(self) -> bool:
        """Once it has ended: whether by SIGKILL, and not ours."""


class MemoryWatch:
    """What the child of a lease takes, and whether that is too much. Not more than a few times a second."""

    said = ""
    """After `exceeded`: what it took, and might have taken."""

    def __init__(self, child: Watched, limit_bytes: int, kills: OomKills) -> None:
        """`limit_bytes`: 0 if it may take as much as it likes."""
        self._child = child
        self._limit_bytes = limit_bytes
        self._kills = kills
        self._seen_bytes = child.seen_bytes
        self._began_with: dict[TaskNo, int] = {}
        """What the child took when it was looked at last before each of its attempts began."""
        self._spared: TaskNo | None = None
        self._due_s = time.monotonic() + LOOK_S

    def patience_s(self, now_s: float) -> float:
        """How long nobody need look."""
        return self._due_s - now_s if self._limit_bytes else float("inf")

    def exceeded(self, running: Sequence[TaskNo]) -> bool:
        """Whether the child was found to take too much while these attempts ran. While none runs, nobody could be told."""
        began_s = time.monotonic()
        self._kills.look(began_s)
        if not self._limit_bytes or began_s < self._due_s:
            return False
        self._began_with = {no: self._began_with.get(no, self._seen_bytes) for no in running}
        taken = self._seen_bytes = taken_bytes(self._child.pid, self._limit_bytes)
        now_s = time.monotonic()
        often_s = NEAR_LOOK_S if taken > self._limit_bytes / 2 else LOOK_S
        self._due_s = now_s + max(often_s, (now_s - began_s) / LOOKING_RATIO_MAX)
        if taken <= self._limit_bytes or not running:
            return False
        self.said = f"it took {_mib(taken)} of memory, and may have {_mib(self._limit_bytes)}"
        left_bytes = self._began_with[running[0]] - self._child.fresh_bytes
        self._spared = running[0] if len(running) == 1 and taken - left_bytes <= self._limit_bytes else None
        return True

    def spares(self, no: TaskNo) -> bool:
        """Whether the attempt ran alone and would not have taken too much, but for what others before it had left behind."""
        return no == self._spared

    def explained(self, how: str) -> tuple[OutcomeKind, str]:
        """What the end of the child is, and why: that it ran out of memory is said only if there is a sign of it."""
        kills = self._kills.recent() if self._child.killed_by_others else 0
        if not kills:
            return OutcomeKind.CRASHED, how
        return OutcomeKind.OUT_OF_MEMORY, f"{how}; likely out of memory: the kernel has just ended a process for that"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
