"""Virtual time: a heap of what happens when. Nothing sleeps; a day passes in milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

START_MS = 1_800_000_000_000


class Clock:
    """True time, the wall clock that may be wrong, and everything that is still to happen."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.true_ms = START_MS
        self.wall_off_ms = 0
        """What the wall clock is ahead of true time."""
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._trace = hashlib.blake2b(digest_size=16)

    @property
    def wall_ms(self) -> int:
        return self.true_ms + self.wall_off_ms

    def after(self, delay_ms: float, what: Callable[[], None]) -> None:
        """`what` happens `delay_ms` from now; things of the same moment happen in the order of their making."""
        self._order += 1
        heappush(self._heap, (self.true_ms + max(0, int(delay_ms)), self._order, what))

    def run(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Time has passed, or `until` has come true before that; gives whether it has."""
        end_ms = self.true_ms + for_ms
        while self._heap and self._heap[0][0] <= end_ms:
            if until():
                return True
            self.true_ms, _, what = heappop(self._heap)
            what()
        if until():
            return True
        self.true_ms = end_ms
        return False

    def note(self, *what: object) -> None:
        """Goes into the trace, by which two runs of one seed are compared."""
        self._trace.update(repr((self.true_ms, *what)).encode())

    def trace(self) -> str:
        return self._trace.hexdigest()
