"""Who is next: start-time fair queueing over the leaves that have work (Goyal, Vin, Cheng, SIGCOMM 1996).

Each leaf carries a start tag in virtual time; the least one is served and pays `cost / weight` for it. A leaf that had
nothing to do starts from the virtual time of now: being idle earns no credit. Cost is estimated machine time, so shares
are shares of machines and not of tasks. Volatile: after a restart everybody starts level.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from taskservice.core.types import Leaf, Priority

CLASS_WEIGHTS = {
    Priority.CRITICAL: 16.0,
    Priority.HIGH: 8.0,
    Priority.NORMAL: 4.0,
    Priority.LOW: 2.0,
    Priority.BATCH: 1.0,
}
"""Relative shares of the priority classes while all have work: a lower class is slowed, never stopped."""


@dataclass(slots=True)
class Fairness:
    """The virtual clock and the tags of the leaves."""

    now: float = 0.0
    """Virtual time: the start tag of what was served last."""
    finish: dict[Leaf, float] = field(default_factory=dict)
    """Where each leaf's last service ends, in virtual time."""
    _heap: list[tuple[float, int, Leaf]] = field(default_factory=list)
    _waiting: dict[Leaf, float] = field(default_factory=dict)
    """Leaves with work and their start tags: each exactly once in `_heap`."""
    _order: int = 0

    def wake(self, leaf: Leaf) -> None:
        """The leaf has work and stands in the order."""
        if leaf in self._waiting:
            return
        start = max(self.now, self.finish.get(leaf, 0.0))
        self._waiting[leaf] = start
        self._order += 1
        heappush(self._heap, (start, self._order, leaf))

    def next(self) -> Leaf | None:
        """The leaf with the least start tag, taken out of the order; None if none has work."""
        if not self._heap:
            return None
        start, _, leaf = heappop(self._heap)
        del self._waiting[leaf]
        self.finish[leaf] = max(start, self.finish.get(leaf, 0.0))
        return leaf

    def put_back(self, leaf: Leaf) -> None:
        """The leaf was not served and keeps its tag."""
        start = self.finish[leaf]
        self._waiting[leaf] = start
        self._order += 1
        heappush(self._heap, (start, self._order, leaf))

    def charge(self, leaf: Leaf, cost_s: float, weight: float) -> None:
        """The leaf was served `cost_s` of machine time."""
        start = max(self.now, self.finish.get(leaf, 0.0))
        self.now = start
        self.finish[leaf] = start + cost_s / weight

    def waiting(self) -> list[Leaf]:
        """The leaves that stand in the order, in no particular one."""
        return list(self._waiting)
