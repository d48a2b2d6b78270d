"""What is counted while a world runs: for each source of work, and by it for its tenant, class and function."""

from __future__ import annotations

from collections.abc import Mapping

from taskservice.core.effects import Refusal
from taskservice.core.types import Leaf, OutcomeKind, TaskState
from taskservice.simulator.histogram import Histogram


class Counts:
    """What has happened since the beginning, or the end of the warm-up."""

    __slots__ = ("attempts", "ended", "leases", "refused", "submitted", "used", "waits")

    def __init__(self) -> None:
        self.submitted = 0
        """Tasks."""
        self.refused: dict[Refusal, int] = {}
        self.leases = 0
        self.attempts: dict[OutcomeKind, int] = {}
        """Those that are over, by how they ended."""
        self.ended: dict[TaskState, int] = {}
        """Tasks."""
        self.waits = Histogram()
        """From when a task might run to its first attempt, in microseconds."""
        self.used = 0.0
        """Seconds of the whole fleet's dominant resource."""


class Meter:
    """One leaf's counts, and the machine time that its leases take."""

    __slots__ = ("_earlier", "area_us", "counts", "leaf", "need", "recent_waits", "running", "since_us")

    def __init__(self, leaf: Leaf, need: Mapping[str, int]) -> None:
        self.leaf = leaf
        self.need = need
        """What a lease takes."""
        self.counts = Counts()
        self.recent_waits = Histogram()
        """Those that are not in `counts` yet."""
        self.running = 0
        """Leases on machines now."""
        self.since_us = 0
        """When that changed last."""
        self.area_us = 0
        """Lease-microseconds that `take_area` has not given out yet."""
        self._earlier = (0.0, 0)
        """What was used, and attempts, that do not count any more."""

    def starts(self, t_us: int) -> None:
        """A lease has got its machine."""
        self.area_us += self.running * (t_us - self.since_us)
        self.since_us = t_us
        self.running += 1

    def ends(self, t_us: int) -> None:
        """A lease has left its machine."""
        self.area_us += self.running * (t_us - self.since_us)
        self.since_us = t_us
        self.running -= 1

    def take_area(self, t_us: int) -> int:
        """The lease-microseconds up to now that were not taken before."""
        area_us = self.area_us + self.running * (t_us - self.since_us)
        self.since_us, self.area_us = t_us, 0
        return area_us

    def take_waits(self) -> Histogram:
        """The waits since this was last called; they are in `counts` now."""
        recent, self.recent_waits = self.recent_waits, Histogram()
        self.counts.waits.merge(recent)
        return recent

    def begin_anew(self) -> None:
        """Nothing counts that has happened so far."""
        used, attempts = self._earlier
        self._earlier = (used + self.counts.used, attempts + sum(self.counts.attempts.values()))
        self.counts = Counts()

    @property
    def mean_used(self) -> float | None:
        """What an attempt has used on average; None if there was none."""
        used, attempts = self._earlier
        attempts += sum(self.counts.attempts.values())
        return (used + self.counts.used) / attempts if attempts else None
