"""When a schedule's times are. Pure but for the zones' rules, which are read from the system's files or from `tzdata`.

Cron expressions are read by cronsim, which follows Debian's cron. When clocks are set forward, a job at times that are left out
(`30 2 * * *`) runs once, right after the gap; when they are set back, it runs at the first of two equal times. If the minutes or
hours begin with `*`, the expression follows the hands of the clock: what is left out is left out, and what comes twice runs
twice. See docs/schedules.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from importlib.resources import files
from itertools import chain, islice, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from taskservice.core.effects import Refusal
from taskservice.core.limits import SCHEDULE_TIMES_MAX, Limits
from taskservice.core.schedules import Schedule, ScheduleId, ScheduleSpec
from taskservice.core.types import TaskId

CRON_CHARS_MAX = 200
CRON_FIELDS = 5
DAY_MIN = 24 * 60

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_END_MS = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MS
"""No schedule fires at this or after it: the calendar ends, in some zone or other."""


class BadTiming(Exception):
    """A schedule cannot be at the times that it asks for."""

    def __init__(self, refusal: Refusal, message: str, limit: int | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.message = message
        self.limit = limit


def check_timing(spec: ScheduleSpec, limits: Limits) -> None:
    """The schedule's times can be reckoned, and are not too close. Raises BadTiming, which says what is wrong."""
    if spec.cron is None:
        if spec.interval_ms is None or spec.interval_ms <= 0:
            raise BadTiming(Refusal.SCHEDULE_INVALID, "give a cron expression or an interval")
        period_ms = spec.interval_ms
    elif spec.interval_ms is not None or spec.anchor_ms is not None:
        raise BadTiming(Refusal.SCHEDULE_INVALID, "give a cron expression or an interval, not both")
    else:
        period_ms = _cron_period_ms(spec.cron, zone_of(spec.zone))
    least_ms = limits.schedule_period_ms_min
    if period_ms < least_ms:
        message = f"its times are {period_ms} ms apart; at least {least_ms} ms (schedule_period_ms_min) are needed"
        raise BadTiming(Refusal.PERIOD_TOO_SHORT, message, least_ms)
    if spec.jitter_ms >= period_ms:
        message = f"a jitter of {spec.jitter_ms} ms is no shorter than the {period_ms} ms between two times"
        raise BadTiming(Refusal.SCHEDULE_INVALID, message)


def zone_of(name: str) -> tzinfo:
    """The rules of a time zone. Raises BadTiming if there is none of that name."""
    if name not in _zones():
        message = f"there is no time zone {name[:100]!r}; write an IANA name such as Europe/Berlin, or UTC"
        raise BadTiming(Refusal.ZONE_UNKNOWN, message)
    return UTC if name == "UTC" else ZoneInfo(name)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """The names that the `tzdata` package has, so that they are the same on every machine."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())


def _cron_period_ms(cron: str, zone: tzinfo) -> int:
    """The shortest time between two minutes of a day, or of two days that follow each other, that the expression names."""
    parsed = _cron(cron, zone, 0)
    if next(_matches(parsed), None) is None:
        raise BadTiming(Refusal.CRON_INVALID, f"cron {cron!r} has no time within 50 years")
    minutes = sorted(hour * 60 + minute for hour in parsed.hours for minute in parsed.minutes)
    gaps = [later - earlier for earlier, later in zip(minutes, [*minutes[1:], minutes[0] + DAY_MIN], strict=True)]
    return min(gaps) * 60_000


def _cron(cron: str, zone: tzinfo, after_ms: int) -> CronSim:
    """The expression, about to say its times after that one. Raises BadTiming if it is none."""
    advice = "write five fields: minute, hour, day of month, month, day of week"
    if len(cron) > CRON_CHARS_MAX or not cron.isprintable():
        raise BadTiming(Refusal.CRON_INVALID, f"a cron expression is a line of at most {CRON_CHARS_MAX} characters")
    if len(cron.split()) != CRON_FIELDS:
        raise BadTiming(Refusal.CRON_INVALID, f"cron {cron!r} has {len(cron.split())} fields; {advice}")
    try:
        return CronSim(cron, (_EPOCH + timedelta(milliseconds=after_ms)).astimezone(zone))
    except CronSimError as error:
        raise BadTiming(Refusal.CRON_INVALID, f"cron {cron!r}: {str(error).lower()}; {advice}") from error


def _matches(parsed: CronSim) -> Iterator[datetime]:
    """The expression's times, until there is none for 50 years, or the calendar ends."""
    try:
        yield from parsed
    except OverflowError:
        return


def times_after(schedule: Schedule, after_ms: int) -> Iterator[int]:
    """The schedule's nominal times after that one, in order, in ms since the epoch."""
    spec = schedule.spec
    ends_ms = _END_MS - spec.jitter_ms if spec.ends_ms is None else min(spec.ends_ms, _END_MS - spec.jitter_ms)
    if spec.starts_ms is not None:
        after_ms = max(after_ms, spec.starts_ms - 1)
    if after_ms >= ends_ms:
        return
    every = _by_interval(schedule, after_ms) if spec.cron is None else _by_cron(spec.cron, spec.zone, after_ms)
    yield from takewhile(lambda nominal_ms: nominal_ms < ends_ms, every)


def _by_cron(cron: str, zone: str, after_ms: int) -> Iterator[int]:
    for moment in _matches(_cron(cron, zone_of(zone), after_ms)):
        nominal_ms = (moment - _EPOCH) // _MS
        # Begun within an hour that comes twice, it says again what it has said of the first.
        if nominal_ms > after_ms:
            after_ms = nominal_ms
            yield nominal_ms


def _by_interval(schedule: Schedule, after_ms: int) -> Iterator[int]:
    spec = schedule.spec
    assert spec.interval_ms is not None
    anchor_ms = next(each for each in (spec.anchor_ms, spec.starts_ms, schedule.created_ms) if each is not None)
    nominal_ms = anchor_ms + ((after_ms - anchor_ms) // spec.interval_ms + 1) * spec.interval_ms
    while True:
        yield nominal_ms
        nominal_ms += spec.interval_ms


def task_id(id: ScheduleId, nominal_ms: int) -> TaskId:
    """The id of the task for a time: for example `nightly@2030-01-31T09:00:00.000Z`."""
    moment = (_EPOCH + timedelta(milliseconds=nominal_ms)).replace(tzinfo=None)
    return TaskId(f"{id}@{moment.isoformat(timespec='milliseconds')}Z")


def fires_next(schedule: Schedule, next_ms: int | None, count: int) -> list[int]:
    """When a schedule whose next nominal time that is will fire: the first `count` times, in ms since the epoch."""
    if next_ms is None:
        return []
    found = [next_ms]
    with suppress(BadTiming):  # the zone has gone
        found += islice(times_after(schedule, next_ms), max(0, count - 1))
    return [schedule.fires_ms(nominal_ms) for nominal_ms in found[:count]]


class Passed(NamedTuple):
    """What there is of a schedule up to now."""

    dropped: int
    """Times that have passed, and after which as many more have passed as are wanted."""
    times: tuple[int, ...]
    """Those that have passed after them, at most as many as are wanted."""
    next_ms: int | None
    """The time after them; None if there is none."""
    complete: bool
    """Whether that one is still to come; if not, there were too many to look at."""
    steps: int
    """How many times were looked at."""


def passed(schedule: Schedule, first_ms: int, now_ms: int, most: int) -> Passed:
    """The times from `first_ms` on, which is one, that are to be dealt with by now: the last `most` of them, which are fewer
    than `SCHEDULE_TIMES_MAX`. Not more than so many are looked at."""
    spec = schedule.spec
    dropped = steps = 0
    if spec.interval_ms is not None:
        until_ms = now_ms - spec.jitter_ms if spec.ends_ms is None else min(now_ms - spec.jitter_ms, spec.ends_ms - 1)
        dropped = max(0, (until_ms - first_ms) // spec.interval_ms + 1 - most)
        first_ms += dropped * spec.interval_ms
    last: deque[int] = deque(maxlen=most)
    for nominal_ms in chain((first_ms,), times_after(schedule, first_ms)):
        due = schedule.fires_ms(nominal_ms) <= now_ms
        if not due or steps >= SCHEDULE_TIMES_MAX:
            return Passed(dropped, tuple(last), nominal_ms, not due, steps)
        dropped += len(last) == most
        last.append(nominal_ms)
        steps += 1
    return Passed(dropped, tuple(last), None, complete=True, steps=steps)
