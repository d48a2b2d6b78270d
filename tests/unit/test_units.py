"""Durations and sizes as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskservice.units import parse_bytes, parse_duration_ms


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("250ms", 250), ("90s", 90_000), ("5m", 300_000), ("1h", 3_600_000), ("2d", 172_800_000), ("1.5s", 1_500),
        (" 3 s ", 3_000), (0, 0), (2, 2_000), (0.25, 250), (0.0004, 0), (timedelta(minutes=1), 60_000), ("3650d", 315_360_000_000),
    ],
)  # fmt: skip
def test_durations(written, ms):
    assert parse_duration_ms(written) == ms


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "is not a duration"), ("5", "is not a duration"), ("s", "is not a duration"), ("5 parsecs", "is not a duration"),
        ("-5s", "is not a duration"), ("5S", "is not a duration"), ("1e3s", "is not a duration"), ("٣s", "is not a duration"),
        ("5s5s", "is not a duration"), ("9" * 40 + "s", "is not a duration"), (True, "is not a duration"),
        (None, "is not a duration"), (float("nan"), "is not a duration"), (float("inf"), "is not a duration"),
        (b"5s", "is not a duration"), ([5], "is not a duration"), (-1, "cannot be negative"),
        (timedelta(seconds=-1), "cannot be negative"), ("365001d", "longer than the longest"), (1e300, "longer than the longest"),
    ],
)  # fmt: skip
def test_what_is_no_duration_is_told_why(written, reason):
    with pytest.raises(ValueError, match=reason):
        parse_duration_ms(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0), (17, 17), ("17B", 17), ("1kB", 1_000), ("1KB", 1_000), ("1KiB", 1_024), ("64 KiB", 65_536),
        ("1.5MiB", 1_572_864), ("2GB", 2 * 10**9), ("1TiB", 2**40), (" 1MB ", 10**6),
    ],
)  # fmt: skip
def test_sizes(written, size):
    assert parse_bytes(written) == size


@pytest.mark.parametrize("written", ["", "MiB", "5", "5mb", "5 Mb", "-1B", "1e3B", "5XB", True, None, 1.5, b"5B", -1])
def test_what_is_no_size_is_refused(written):
    with pytest.raises(ValueError, match=r"is not a size|cannot be negative"):
        parse_bytes(written)
