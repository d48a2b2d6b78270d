"""When a schedule's times are: cron over changed clocks and leap days, intervals, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from taskservice.core.effects import Refusal
from taskservice.core.limits import SCHEDULE_TIMES_MAX, Limits
from taskservice.core.recurrence import BadTiming, Passed, check_timing, fires_next, passed, task_id, times_after
from taskservice.core.schedules import Schedule, ScheduleId
from taskservice.core.shard import DEFAULT_TENANT
from world.machine import spec

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

ZONES = {
    "Europe/Berlin": [date(2030, 3, 31), date(2030, 10, 27)],
    "America/New_York": [date(2030, 3, 10), date(2030, 11, 3)],
    "Australia/Lord_Howe": [date(2030, 4, 7), date(2030, 10, 6)],
}
"""Days on which clocks are changed: by an hour, or on Lord Howe by half an hour."""

CHANGES = [(zone, day) for zone, days in ZONES.items() for day in days]
BY_AN_HOUR = [(zone, day) for zone, day in CHANGES if zone != "Australia/Lord_Howe"]
CRONS = [
    "* * * * *",
    "*/15 * * * *",
    "30 * * * *",
    "0,30 * * * *",
    "0 * * * *",
    "30 2 * * *",
    "15,45 1-3 * * *",
    "0,30 2,3 * * *",
    "*/10 2 * * *",
    "0 */2 * * *",
    "5 0 * * SUN",
    "59 1 1-31 * *",
]


def schedule(created_ms: int = 0, **said: object) -> Schedule:
    return Schedule(ScheduleId("s"), DEFAULT_TENANT, spec(**said), created_ms)


def ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone))


def the_librarys(cron: str, after: datetime, until: datetime) -> list[int]:
    """What cronsim itself says, in one go."""
    return [ms(each) for each in takewhile(lambda each: each < until, CronSim(cron, after))]


def by_steps(one: Schedule, after_ms: int, until_ms: int) -> list[int]:
    """Each time reckoned from the one before alone, as a service does that is started again in between."""
    found: list[int] = []
    while (next_ms := next(times_after(one, after_ms), until_ms)) < until_ms:
        found.append(next_ms)
        after_ms = next_ms
    return found


# Cron


@pytest.mark.parametrize("cron", CRONS)
@pytest.mark.parametrize(("zone", "day"), CHANGES, ids=str)
def test_over_a_changed_clock_it_is_what_the_library_enumerates(zone: str, day: date, cron: str) -> None:
    begin, end = midnight(day - timedelta(days=1), zone), midnight(day + timedelta(days=2), zone)
    told = the_librarys(cron, begin, end)
    one = schedule(cron=cron, zone=zone)
    assert list(takewhile(lambda each: each < ms(end), times_after(one, ms(begin)))) == told
    assert by_steps(one, ms(begin), ms(end)) == told
    assert told == sorted(set(told))
    assert told


@pytest.mark.parametrize("cron", ["30 2 * * *", "15,45 1-3 * * *", "*/15 * * * *", "0,30 2,3 * * *"])
@pytest.mark.parametrize(("zone", "day"), CHANGES, ids=str)
def test_from_any_moment_of_such_a_day_the_next_time_is_the_next_of_the_librarys(
    zone: str, day: date, cron: str
) -> None:
    """Within the hour that comes twice as well."""
    told = the_librarys(cron, midnight(day - timedelta(days=2), zone), midnight(day + timedelta(days=3), zone))
    one = schedule(cron=cron, zone=zone)
    first_ms = ms(midnight(day, zone))
    for after_ms in range(first_ms, first_ms + 6 * HOUR, 5 * MINUTE):
        assert next(times_after(one, after_ms)) == next(each for each in told if each > after_ms)


@pytest.mark.parametrize(
    ("cron", "zone", "day", "local"),
    [
        ("30 2 * * *", "Europe/Berlin", (2030, 3, 31), ["03:00+0200"]),
        ("0,30 2,3 * * *", "Europe/Berlin", (2030, 3, 31), ["03:00+0200", "03:30+0200"]),
        ("*/30 2 * * *", "Europe/Berlin", (2030, 3, 31), []),
        ("30 * * * *", "Europe/Berlin", (2030, 3, 31), ["00:30+0100", "01:30+0100", "03:30+0200", "04:30+0200"]),
        ("30 2 * * *", "Europe/Berlin", (2030, 10, 27), ["02:30+0200"]),
        ("*/30 2 * * *", "Europe/Berlin", (2030, 10, 27), ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]),
        ("30 * * * *", "Europe/Berlin", (2030, 10, 27), ["00:30+0200", "01:30+0200", "02:30+0200", "02:30+0100"]),
        ("30 1 * * *", "America/New_York", (2030, 11, 3), ["01:30-0400"]),
        ("15 2 * * *", "Australia/Lord_Howe", (2030, 10, 6), ["02:30+1100"]),
        ("45 1 * * *", "Australia/Lord_Howe", (2030, 4, 7), ["01:45+1100"]),
        ("30 * * * *", "Australia/Lord_Howe", (2030, 4, 7), ["00:30+1100", "01:30+1100", "02:30+1030", "03:30+1030"]),
        ("0 12 29 2 *", "Europe/Berlin", (2032, 2, 29), ["12:00+0100"]),
    ],
)
def test_what_the_documentation_says_of_changed_clocks(cron: str, zone: str, day: tuple, local: list[str]) -> None:
    """At most the first four of that day."""
    begin = midnight(date(*day), zone)
    every = times_after(schedule(cron=cron, zone=zone), ms(begin))
    moments = (datetime.fromtimestamp(each / 1000, begin.tzinfo) for each in every)
    of_the_day = takewhile(lambda each: each.date() == begin.date(), moments)
    assert [each.strftime("%H:%M%z") for each in islice(of_the_day, 4)] == local


def test_a_leap_day_comes_every_four_years() -> None:
    zone = "America/New_York"
    begin, end = midnight(date(2027, 1, 1), zone), midnight(date(2050, 1, 1), zone)
    found = by_steps(schedule(cron="0 12 29 2 *", zone=zone), ms(begin), ms(end))
    assert found == the_librarys("0 12 29 2 *", begin, end)
    assert [datetime.fromtimestamp(each / 1000, UTC).year for each in found] == [2028, 2032, 2036, 2040, 2044, 2048]


def test_the_last_day_of_february_is_the_28th_or_the_29th() -> None:
    begin, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)
    found = by_steps(schedule(cron="0 0 L 2 *"), ms(begin), ms(end))
    assert [datetime.fromtimestamp(each / 1000, UTC).day for each in found] == [28, 29]


@pytest.mark.parametrize(
    "cron", ["* * * * *", "*/20 * * * *", "30 * * * *", "*/10 2 * * *", "5 */3 * * *", "* 1 * * SUN"]
)
@pytest.mark.parametrize(("zone", "day"), BY_AN_HOUR, ids=str)
def test_an_expression_that_begins_with_a_star_is_at_every_minute_whose_clock_shows_it(
    zone: str, day: date, cron: str
) -> None:
    """Asked of each minute, not of the library."""
    minute, hour, _, _, weekday = cron.split()
    begin, end = ms(midnight(day - timedelta(days=1), zone)), ms(midnight(day + timedelta(days=2), zone))

    def shown(field: str, value: int) -> bool:
        return field == "*" or (value % int(field[2:]) == 0 if field.startswith("*/") else value == int(field))

    def fits(at_ms: int) -> bool:
        clock = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
        on_the_day = weekday == "*" or clock.weekday() == 6
        return on_the_day and shown(minute, clock.minute) and shown(hour, clock.hour)

    assert by_steps(schedule(cron=cron, zone=zone), begin, end) == [
        at_ms for at_ms in range(begin + MINUTE, end, MINUTE) if fits(at_ms)
    ]


@given(
    cron=st.builds(
        "{} {} * * {}".format,
        st.sampled_from(["*", "*/7", "0", "30", "1,2,59", "10-20"]),
        st.sampled_from(["*", "*/3", "1", "2", "0-4", "23,0"]),
        st.sampled_from(["*", "SUN", "1-5"]),
    ),
    place=st.sampled_from(BY_AN_HOUR),
    offset_s=st.integers(-2 * 86_400, 2 * 86_400),
)
def test_the_next_time_is_later_and_no_time_between_is_left_out(
    cron: str, place: tuple[str, date], offset_s: int
) -> None:
    zone, day = place
    after_ms = ms(midnight(day, zone)) + offset_s * 1_000
    one = schedule(cron=cron, zone=zone)
    first, second = islice(times_after(one, after_ms), 2)
    assert after_ms < first < second
    assert first % MINUTE == 0
    for between in range(after_ms, first, max(1, (first - after_ms) // 7)):
        assert next(times_after(one, between)) == first
    assert next(times_after(one, first)) == second


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("a b c d e", "bad minute"),
        ("* * * *", "4 fields"),
        ("0 * * * * *", "6 fields"),
        ("@daily", "1 fields"),
        ("", "0 fields"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("* * */20 * 1L", "no time within 50 years"),
        (f"{'1,' * 200}1 * * * *", "at most 200 characters"),
        ("30 2 * *\n*", "a line of"),
    ],
)
def test_what_is_no_cron_expression_is_told(cron: str, says: str) -> None:
    with pytest.raises(BadTiming, match=says) as refused:
        check_timing(spec(cron=cron), Limits())
    assert refused.value.refusal is Refusal.CRON_INVALID


@given(cron=st.lists(st.text("0123456789*/-,#LWSUNJAN", min_size=1, max_size=6), min_size=5, max_size=5).map(" ".join))
def test_whatever_is_written_is_a_cron_expression_or_refused(cron: str) -> None:
    why = None
    try:
        check_timing(spec(cron=cron), Limits())
    except BadTiming as error:
        why = error.refusal
    assert why is Refusal.CRON_INVALID or next(times_after(schedule(cron=cron), 0)) > 0


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "", "../etc/passwd", "/etc/localtime", "Europe", "utc", "localtime", "\0"]
)
def test_what_is_no_zone_is_told(zone: str) -> None:
    with pytest.raises(BadTiming, match="IANA name") as refused:
        check_timing(spec(cron="* * * * *", zone=zone), Limits())
    assert refused.value.refusal is Refusal.ZONE_UNKNOWN


@pytest.mark.parametrize(
    ("said", "period_ms"),
    [
        ({"cron": "* * * * *"}, MINUTE),
        ({"cron": "*/15 * * * *"}, 15 * MINUTE),
        ({"cron": "7 * * * *"}, HOUR),
        ({"cron": "0,59 3 * * *"}, 59 * MINUTE),
        ({"cron": "0 0,23 * * *"}, HOUR),
        ({"cron": "30 2 * * MON"}, DAY),
        ({"interval_ms": 90_000}, 90_000),
    ],
)
def test_times_that_are_too_close_are_refused_by_the_limit(said: dict, period_ms: int) -> None:
    check_timing(spec(**said), Limits(schedule_period_ms_min=period_ms))
    with pytest.raises(
        BadTiming, match=rf"{period_ms} ms apart.*{period_ms + 1} ms \(schedule_period_ms_min\)"
    ) as refused:
        check_timing(spec(**said), Limits(schedule_period_ms_min=period_ms + 1))
    assert (refused.value.refusal, refused.value.limit) == (Refusal.PERIOD_TOO_SHORT, period_ms + 1)


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize(
    "by", [{"cron": "0 0 * * *"}, {"cron": "*/7 * * * *"}, {"interval_ms": 3 * DAY, "jitter_ms": 2 * DAY}]
)
@pytest.mark.parametrize(
    "starts", [datetime(9999, 12, 20, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC), None]
)
def test_the_calendar_ends_and_the_times_with_it(zone: str, by: dict, starts: datetime | None) -> None:
    """Whatever is said of years that nobody will see must not stop a dispatcher."""
    one = schedule(zone=zone, starts_ms=None if starts is None else ms(starts), **by)
    times = list(times_after(one, ms(datetime(9999, 12, 1, tzinfo=UTC))))
    assert bool(times) == (starts is None or starts.day == 20)
    assert all(task_id(one.id, each) for each in times)
    assert fires_next(one, times[0] if times else None, 100_000) == [one.fires_ms(each) for each in times]
    assert max(map(one.fires_ms, times), default=0) < ms(datetime(9999, 12, 31, 23, 59, tzinfo=UTC))


# What has passed


@given(
    interval_ms=st.integers(1, 500),
    jitter=st.floats(0, 0.99),
    anchor_ms=st.integers(-2_000, 2_000),
    now_ms=st.integers(0, 3_000),
    most=st.integers(1, 6),
    ends_ms=st.none() | st.integers(500, 3_000),
)
def test_what_has_passed_is_what_can_be_counted_one_by_one(
    interval_ms: int, jitter: float, anchor_ms: int, now_ms: int, most: int, ends_ms: int | None
) -> None:
    said = {
        "interval_ms": interval_ms,
        "anchor_ms": anchor_ms,
        "jitter_ms": int(jitter * interval_ms),
        "ends_ms": ends_ms,
    }
    one = schedule(**said)
    every = list(takewhile(lambda each: each < 5_000, times_after(one, -1)))
    if not every or one.fires_ms(every[0]) > now_ms:
        return
    due = list(takewhile(lambda each: one.fires_ms(each) <= now_ms, every))
    found = passed(one, every[0], now_ms, most)
    assert found.times == tuple(due[-most:])
    assert found.dropped == len(due) - len(found.times)
    assert found.complete
    assert found.next_ms == (every[len(due)] if len(due) < len(every) else None)


@pytest.mark.parametrize("count", [SCHEDULE_TIMES_MAX - 1, SCHEDULE_TIMES_MAX, SCHEDULE_TIMES_MAX + 1, 5_000])
def test_not_more_than_so_many_times_are_looked_at(count: int) -> None:
    found = passed(schedule(cron="* * * * *"), MINUTE, count * MINUTE, 3)
    looked_at = min(count, SCHEDULE_TIMES_MAX)
    times = tuple(MINUTE * each for each in (looked_at - 2, looked_at - 1, looked_at))
    assert found == Passed(looked_at - 3, times, MINUTE * (looked_at + 1), count <= SCHEDULE_TIMES_MAX, looked_at)


def test_a_time_on_record_is_a_time_whatever_the_rules_say_by_now() -> None:
    """The zone's rules were others when it was reckoned."""
    odd_ms = ms(datetime(2030, 1, 1, 1, 17, tzinfo=UTC))
    found = passed(schedule(cron="0 2 * * *"), odd_ms, odd_ms, 1)
    assert (found.times, found.next_ms) == ((odd_ms,), ms(datetime(2030, 1, 1, 2, tzinfo=UTC)))


def test_a_tasks_id_is_made_of_its_schedule_and_its_time() -> None:
    assert (
        task_id(ScheduleId("nightly"), ms(datetime(2030, 1, 31, 9, tzinfo=UTC))) == "nightly@2030-01-31T09:00:00.000Z"
    )
