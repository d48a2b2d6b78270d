"""What throttled attempts ask for with `retry_after`, and whether all must wait because of it.

Each throttled task waits for itself as long as it was told. The others wait too when most attempts were told so, and as long as
most of them were: one that was told an hour stops nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

WISHES_MAX = 101
"""The last ones of a period; more would not say anything else."""
BELIEVED = 5
"""So many throttled attempts are believed whatever they say; where fewer are most of all, they are believed for `ALONE_MS_MAX`."""
ALONE_MS_MAX = 10_000
WAIT_MS_MAX = 3_600_000
"""However long all of them ask for, after an hour one asks again."""


class Wishes:
    """What the attempts of one period said."""

    __slots__ = ("_heard", "_in_row", "_throttled", "_until_ms")

    def __init__(self) -> None:
        self._heard = 0
        self._throttled = 0
        self._in_row = 0
        """How many were throttled since the last one that was not."""
        self._until_ms: deque[int] = deque(maxlen=WISHES_MAX)

    def hear(self, others: int, retry_after_ms: Sequence[int], now_ms: int) -> None:
        """So many attempts were throttled with these wishes (0 for none), and so many were not."""
        self._heard += others + len(retry_after_ms)
        self._throttled += len(retry_after_ms)
        self._in_row = 0 if others else self._in_row + len(retry_after_ms)
        self._until_ms.extend(now_ms + min(wish_ms, WAIT_MS_MAX) for wish_ms in retry_after_ms)

    def wait_until_ms(self, in_flight: int, now_ms: int) -> int:
        """Until when, or longer, more than half of all attempts were told to wait, those in flight counted as not told."""
        most = (self._heard + in_flight) // 2
        if self._throttled <= most:
            return now_ms
        until_ms = sorted(self._until_ms, reverse=True)[most * len(self._until_ms) // self._throttled]
        if max(self._throttled, self._in_row) < BELIEVED:
            until_ms = min(until_ms, now_ms + ALONE_MS_MAX)
        return max(now_ms, until_ms)

    def forget(self) -> None:
        """The next period begins, or all wait."""
        self._heard = self._throttled = 0
        self._until_ms.clear()

    def put_back(self, by_ms: int) -> None:
        """The clock was put back."""
        self._until_ms = deque((until_ms - by_ms for until_ms in self._until_ms), WISHES_MAX)
