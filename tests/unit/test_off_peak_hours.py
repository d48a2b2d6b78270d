"""Off-peak hours: what a window says, when it is open by the clock on the wall, and when that changes, over changed clocks too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from taskservice.config import load_settings
from taskservice.core.off_peak import Hours, parse_window
from taskservice.core.recurrence import BadTiming
from taskservice.errors import RequestError

MINUTE = 60_000
DAY = 24 * 60 * MINUTE


def ms(*moment: int, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime(*moment, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)  # type: ignore[arg-type, misc]


def openings(texts: list[str], from_ms: int, until_ms: int) -> list[tuple[bool, int]]:
    """What the hours say themselves, from change to change."""
    hours, found, now_ms = Hours(texts), [], from_ms
    while (next_ms := hours.changes_ms(now_ms)) is not None and next_ms < until_ms:
        found.append((hours.is_open(next_ms), next_ms))
        now_ms = next_ms
    return found


def minute_by_minute(texts: list[str], from_ms: int, until_ms: int) -> list[tuple[bool, int]]:
    """The same by looking at the clock on the wall each minute."""
    windows = [parse_window(text) for text in texts]
    found, before = [], None
    for at_ms in range(from_ms, until_ms, MINUTE):
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
        now = any(window.shows(moment) for window in windows)
        if before is not None and now != before:
            found.append((now, at_ms))
        before = now
    return found


def test_a_window_over_midnight_is_open_on_both_sides() -> None:
    hours = Hours(["22:00-06:00 Europe/Berlin"])
    noon = ms(2030, 1, 15, 12, zone="Europe/Berlin")
    assert not hours.is_open(noon)
    assert hours.changes_ms(noon) == ms(2030, 1, 15, 22, zone="Europe/Berlin")
    assert hours.is_open(ms(2030, 1, 15, 22, zone="Europe/Berlin"))
    assert hours.is_open(ms(2030, 1, 16, 5, 59, zone="Europe/Berlin"))
    assert hours.changes_ms(ms(2030, 1, 16, 3, zone="Europe/Berlin")) == ms(2030, 1, 16, 6, zone="Europe/Berlin")
    assert not hours.is_open(ms(2030, 1, 16, 6, zone="Europe/Berlin"))


def test_days_are_those_on_which_it_opens() -> None:
    """Friday's night ends on Saturday, and Saturday's does not begin."""
    friday = ms(2030, 1, 18)
    assert openings(["MON-FRI 22:00-06:00"], friday + DAY // 2, friday + 3 * DAY) == [
        (True, friday + 22 * 60 * MINUTE),
        (False, friday + DAY + 6 * 60 * MINUTE),
    ]
    weekend = openings(["SAT,SUN 00:00-24:00 Asia/Tokyo"], friday, friday + 7 * DAY)
    assert weekend == [
        (True, ms(2030, 1, 19, zone="Asia/Tokyo")),
        (False, ms(2030, 1, 21, zone="Asia/Tokyo")),
    ]
    assert [opens for opens, _ in openings(["SUN-MON 12:00-13:00"], friday, friday + 7 * DAY)] == [True, False] * 2


def test_several_windows_are_open_when_one_is() -> None:
    day = ms(2030, 1, 15)
    both = openings(["01:00-03:00", "02:00-04:00", "10:00-11:00"], day, day + DAY)
    assert [(opens, (at_ms - day) // (60 * MINUTE)) for opens, at_ms in both] == [
        (True, 1),
        (False, 4),
        (True, 10),
        (False, 11),
    ]


def test_none_is_never_and_the_whole_day_always() -> None:
    assert not Hours([])
    assert (Hours([]).is_open(0), Hours([]).changes_ms(0)) == (False, None)
    always = Hours(["00:00-24:00 Europe/Berlin"])
    assert (always.is_open(0), always.changes_ms(0)) == (True, None)
    assert parse_window("22:00-00:00") == parse_window("22:00-24:00")


def test_a_clock_that_goes_back_is_looked_at_again() -> None:
    hours = Hours(["22:00-06:00"])
    assert hours.is_open(ms(2030, 1, 15, 23))
    assert not hours.is_open(ms(2030, 1, 15, 12))


def test_on_the_days_when_clocks_are_set_it_is_an_hour_shorter_or_longer() -> None:
    spring = openings(["22:00-06:00 Europe/Berlin"], ms(2030, 3, 30, 12), ms(2030, 3, 31, 12))
    autumn = openings(["22:00-06:00 Europe/Berlin"], ms(2030, 10, 26, 12), ms(2030, 10, 27, 12))
    assert [(end - begin) // (60 * MINUTE) for (_, begin), (_, end) in (spring, autumn)] == [7, 9]
    # What is left out on the wall opens as soon as the clock shows a later time.
    (opens, at_ms), _ = openings(["02:30-05:00 Europe/Berlin"], ms(2030, 3, 31), ms(2030, 3, 31, 12))
    assert (opens, at_ms) == (True, ms(2030, 3, 31, 3, zone="Europe/Berlin"))
    # What comes twice is open twice.
    assert len(openings(["02:00-02:30 Europe/Berlin"], ms(2030, 10, 26, 12), ms(2030, 10, 27, 12))) == 4


@pytest.mark.parametrize("seed", range(24))
def test_the_changes_are_what_the_clock_on_the_wall_shows_minute_by_minute(seed: int) -> None:
    """Around the days when clocks are set, in three zones, one of which sets its own by half an hour."""
    rng = Random(seed)
    zone, day = (
        ("Europe/Berlin", (2030, 3, 31)),
        ("Europe/Berlin", (2030, 10, 27)),
        ("America/New_York", (2030, 11, 3)),
        ("America/New_York", (2030, 3, 10)),
        ("Australia/Lord_Howe", (2030, 4, 7)),
        ("Australia/Lord_Howe", (2030, 10, 6)),
    )[seed % 6]
    texts = []
    for _ in range(rng.randrange(1, 3)):
        begin, end = rng.sample(range(0, 4 * 60, 15), 2)
        days = rng.choice(["", "", "SAT-SUN ", "SUN "])
        texts.append(f"{days}{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02} {zone}")
    middle = datetime(*day, tzinfo=UTC)
    from_ms, until_ms = (int((middle + timedelta(days=days)).timestamp() * 1000) for days in (-2, 2))
    assert openings(texts, from_ms, until_ms) == minute_by_minute(texts, from_ms, until_ms), texts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("night", "is no window: write it like 22:00-06:00 Europe/Berlin"),
        ("22:00-06:00 a b", "is no window"),
        ("24:00-06:00", "opens from 00:00 to 23:59"),
        ("22:00-24:01", "closes by 24:00"),
        ("22:61-23:00", "is|opens"),
        ("03:00-03:00", "the whole day is 00:00-24:00"),
        ("SAM 01:00-02:00", "'SAM' names no days: they are MON, TUE"),
        ("MON-YYY 01:00-02:00", "names no days"),
        ("MON,, 01:00-02:00", "names no days"),
        ("01:00-02:00 Berlin", "there is no time zone 'Berlin'"),
    ],
)
def test_what_is_no_window_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises((ValueError, BadTiming), match=says):
        parse_window(text)
    with pytest.raises(RequestError, match=says):
        load_settings(off_peak_windows=(text,))


def test_windows_come_from_a_variable_of_the_environment_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSERVICE_OFF_PEAK_WINDOWS", '["22:00-06:00 Europe/Berlin"]')
    assert load_settings().core_limits().off_peak_windows == ("22:00-06:00 Europe/Berlin",)
