"""Pauses: what there may be millions of is done in turns, each followed by a pause of `PAUSE_RATIO` times what it took.

All such work of a dispatcher shares its pauses: what falls due by the clock (`Ticks`) and the steps of bulk operations (`BulkTurns`). So
submits, reports and leases wait for one turn at most, and have at least half of the dispatcher's time, however much there is
to do. Who was refused in a pause comes before whoever had the last turn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

PAUSE_RATIO = 1.0
PUT_OFF_S = 0.001
"""So that others have a turn before."""


class Pauses:
    """Of one dispatcher, whose loop asks again when a pause is over."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._next_s = 0.0
        """When there may be another turn."""
        self._last = ""
        """Who had the last one."""
        self._yields = False
        """Whether somebody else has been refused since."""

    def take_turn(self, who: str, work: Callable[[], None]) -> bool:
        """The work has been done, if there is no pause and it is the turn of who asks. Gives whether it has."""
        began_s = self._clock_s()
        if began_s < self._next_s:
            self._yields |= who != self._last
            return False
        if who == self._last and self._yields:
            self._yields = False  # but once: the other one may not want its turn any more
            return False
        work()
        ended_s = self._clock_s()
        self._next_s = ended_s + PAUSE_RATIO * (ended_s - began_s)
        self._last, self._yields = who, False
        return True

    def over_ms(self, now_ms: int) -> int:
        """When the pause is over, on the wall clock, where it is `now_ms` now: not before the next millisecond."""
        return now_ms + max(1, math.ceil((self._next_s - self._clock_s()) * 1000))

    def put_off(self) -> None:
        """The dispatcher's turn has had enough to do: none of this work is done in it."""
        self._next_s = max(self._next_s, self._clock_s() + PUT_OFF_S)
