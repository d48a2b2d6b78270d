"""What is taken of a window: by tasks in flight, and by throttled attempts that keep their places for a while."""

from __future__ import annotations

from collections import deque

STEPS = 16
"""A place is kept for so many steps of time; those that become free in the same step are counted together."""


class Places:
    """A count of places taken, and how much of the time they were."""

    __slots__ = ("_kept", "busy_ms", "in_flight", "kept")

    def __init__(self) -> None:
        self.in_flight = 0
        self.kept = 0
        self._kept: deque[tuple[int, int]] = deque()
        """Until when, and how many of `kept`."""
        self.busy_ms = 0
        """Places times the milliseconds for which they were taken."""

    @property
    def taken(self) -> int:
        return self.in_flight + self.kept

    def pass_time(self, from_ms: int, to_ms: int) -> None:
        """It is `to_ms` now, and was `from_ms`."""
        self.busy_ms += self.taken * (to_ms - from_ms)
        while self._kept and self._kept[0][0] <= to_ms:
            self.kept -= self._kept.popleft()[1]

    def put_back(self, by_ms: int) -> None:
        """The clock was put back."""
        self._kept = deque((until_ms - by_ms, places) for until_ms, places in self._kept)

    def keep(self, places: int, now_ms: int, for_ms: int) -> None:
        """So many stay taken for so long, to a sixteenth; places kept before stay so at least as long as they were to."""
        if not places:
            return
        self.kept += places
        until_ms = now_ms + for_ms
        last_ms, last = self._kept[-1] if self._kept else (0, 0)
        if until_ms <= last_ms + for_ms // STEPS:
            self._kept[-1] = (last_ms, last + places)
        else:
            self._kept.append((until_ms, places))

    def frees_ms(self, places: int, now_ms: int) -> int | None:
        """When so many will be free by the clock; None: there are not as many that it frees."""
        at_ms = now_ms
        for until_ms, kept in self._kept:
            if places <= 0:
                break
            at_ms, places = until_ms, places - kept
        return at_ms if places <= 0 else None
