"""Off-peak hours: windows by the clock on the wall of some time zone, as the service is told them.

    22:00-06:00 Europe/Berlin              SAT,SUN 00:00-24:00 Europe/Berlin              MON-FRI 01:30-05:00

A window is open while the clock of its zone shows a time in it, so it is an hour shorter or longer on the days when clocks are
set. Days are those on which it opens; without them it opens every day, and without a zone in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from taskservice.core.recurrence import zone_of

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DAY_MIN = 24 * 60
AHEAD_MIN = 8 * DAY_MIN
"""How far the next change is looked for: windows repeat each week."""
SHIFT_MIN = 120
"""No zone's clock is set by more at once."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WINDOW = re.compile(r"(?:([A-Z,-]+) +)?(\d\d):(\d\d)-(\d\d):(\d\d)(?: +(\S+))?")
_FORM = "write it like 22:00-06:00 Europe/Berlin, or SAT,SUN 00:00-24:00 Europe/Berlin"


class Window(NamedTuple):
    """Open from one minute of the day to another, perhaps of the next."""

    from_min: int
    to_min: int
    days: frozenset[int]
    """Those on which it opens; Monday is 0."""
    zone: tzinfo

    def shows(self, moment: datetime) -> bool:
        """Whether it is open at that moment."""
        local = moment.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.from_min < self.to_min:
            return day in self.days and self.from_min <= minute < self.to_min
        return (day in self.days and minute >= self.from_min) or ((day - 1) % 7 in self.days and minute < self.to_min)

    def quiet_min(self, moment: datetime) -> int:
        """For so many minutes it neither opens nor closes, whatever is done to the clock."""
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        edges = (self.from_min, self.to_min, DAY_MIN)
        if min((minute - edge) % DAY_MIN for edge in edges) <= SHIFT_MIN:
            return 0  # the clock may be set back to before it
        return min((edge - minute) % DAY_MIN for edge in edges) - SHIFT_MIN


def parse_window(text: str) -> Window:
    """The window that the text says. Raises ValueError, whose message can be shown, or BadTiming for an unknown zone."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:100]!r} is no window: {_FORM}")
    days, from_hour, from_minute, to_hour, to_minute, zone = match.groups()
    edges = [int(from_hour) * 60 + int(from_minute), int(to_hour) * 60 + int(to_minute)]
    if edges[0] >= DAY_MIN or edges[1] > DAY_MIN or max(int(from_minute), int(to_minute)) > 59:
        raise ValueError(f"{text[:100]!r} opens from 00:00 to 23:59, and closes by 24:00: {_FORM}")
    if edges[0] == edges[1]:
        raise ValueError(f"{text[:100]!r} closes when it opens; the whole day is 00:00-24:00")
    return Window(edges[0], edges[1] or DAY_MIN, _days(days), zone_of(zone or "UTC"))


def _days(text: str | None) -> frozenset[int]:
    found: list[int] = []
    for part in [] if text is None else text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{part[:100]!r} names no days: they are {', '.join(DAYS)}")
        begin = DAYS.index(first)
        found += [(begin + ahead) % 7 for ahead in range((DAYS.index(last or first) - begin) % 7 + 1)]
    return frozenset(found or range(7))


class Hours:
    """Several windows: off-peak is when one of them is open. What is known is kept until it changes."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Raises as `parse_window` does."""
        self._windows = [parse_window(text) for text in texts]
        self._since_ms = 0
        self._until_ms = -1
        self._open = False
        self._last = False
        """Whether there is a change after `_until_ms` at all, as far as was looked."""

    def __bool__(self) -> bool:
        return bool(self._windows)

    def is_open(self, now_ms: int) -> bool:
        """Whether it is off-peak."""
        self._look(now_ms)
        return self._open

    def changes_ms(self, now_ms: int) -> int | None:
        """When that is otherwise for the first time after now; None: not within a week."""
        self._look(now_ms)
        return None if self._last else self._until_ms

    def _look(self, now_ms: int) -> None:
        if self._since_ms <= now_ms < self._until_ms:
            return
        minute = now_ms // 60_000
        self._open = self._shows(minute)
        self._since_ms = now_ms
        later, end = minute + 1, minute + AHEAD_MIN
        while later < end and self._shows(later) == self._open:
            moment = _EPOCH + timedelta(minutes=later)
            later += max(1, min((window.quiet_min(moment) for window in self._windows), default=AHEAD_MIN))
        self._last = later >= end
        self._until_ms = later * 60_000

    def _shows(self, minute: int) -> bool:
        moment = _EPOCH + timedelta(minutes=minute)
        return any(window.shows(moment) for window in self._windows)
