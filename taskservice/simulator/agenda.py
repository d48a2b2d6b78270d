"""Virtual time: what happens when. Things of one moment happen in the order in which they were put down."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Agenda:
    """Everything outside the shard that is still to happen. Times are microseconds since the beginning."""

    __slots__ = ("_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[int, Any], None], Any]] = []
        self._order = 0

    def at(self, t_us: int, what: Callable[[int, Any], None], about: Any) -> None:
        """`what(t_us, about)` happens then."""
        self._order += 1
        heappush(self._heap, (t_us, self._order, what, about))

    @property
    def next_us(self) -> int | None:
        """When the next thing happens."""
        return self._heap[0][0] if self._heap else None

    def run(self, until_us: int) -> None:
        """All has happened that happens up to then, and what came of it up to then."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            t_us, _, what, about = heappop(heap)
            what(t_us, about)
