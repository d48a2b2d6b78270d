"""Times as they are written in JSON: ISO 8601 or seconds since the Unix epoch on the way in, ISO 8601 on the way out."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from taskservice.core.outcome import iso
from taskservice.units import parse_duration_ms

__all__ = ["iso", "parse_moment_ms", "parse_time_ms"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_S_END = 253_402_300_800
"""The end of the year 9999, the last one that can be written."""

_DATE = re.compile(r"\d{4}-")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


def parse_time_ms(value: str | float) -> int:
    """Milliseconds since the epoch. Raises ValueError, whose message can be shown, for anything that is not a time."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return _parse_iso_ms(value)
    seconds = float(value)
    if not (math.isfinite(seconds) and 0 <= seconds < _EPOCH_S_END):
        raise ValueError(f"epoch seconds must be between 0 and {_EPOCH_S_END}; are these milliseconds?")
    return round(seconds * 1000)


def _parse_iso_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "expected ISO 8601 such as 2030-01-31T09:00:00Z, or seconds since the epoch (in a URL, + is written %2B)"
        ) from None
    if moment.tzinfo is None:
        raise ValueError("the time needs a zone: end it with Z or an offset such as +02:00")
    ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    if ms < 0:
        raise ValueError("the time is before 1970")
    return ms


def parse_moment_ms(value: str | float) -> tuple[int | None, int | None]:
    """A point in time that is ISO 8601, or else a duration: one of the two, in milliseconds. Raises ValueError as both do."""
    if isinstance(value, str) and _DATE.match(value):
        return _parse_iso_ms(value), None
    return None, parse_duration_ms(value)
