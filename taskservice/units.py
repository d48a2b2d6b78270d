"""Durations and sizes as people write them: `"90s"`, `"5m"`, `"512MiB"`; or plain numbers, in seconds and bytes."""

from __future__ import annotations

import math
import re
from datetime import timedelta

_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {
    "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]+)", re.ASCII)

DURATION_MS_MAX = 1_000 * 365 * 86_400_000
"""A thousand years: who says more has mistaken the unit. What a duration is for has bounds of its own."""


def parse_duration_ms(value: object) -> int:
    """The duration (a text, a number of seconds, or a `timedelta`) in whole milliseconds.

    Raises ValueError saying what is accepted.
    """
    if isinstance(value, timedelta):
        ms = value.total_seconds() * 1000
    elif isinstance(value, str):
        amount, unit = _quantity(value, _MS, "a duration", '"250ms", "90s", "5m", "1h", "2d" or a number of seconds')
        ms = amount * _MS[unit]
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f'{value!r:.50} is not a duration: write "90s", "5m", "1h" or a number of seconds')
    else:
        ms = value * 1000
    if ms < 0:
        raise ValueError(f"a duration cannot be negative: {value!r:.50}")
    if ms > DURATION_MS_MAX:
        raise ValueError(f"{value!r:.50} is longer than the longest duration, a thousand years")
    return round(ms)


def parse_bytes(value: object) -> int:
    """The size (a text, or a number of bytes) in bytes. Raises ValueError saying what is accepted."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        message = f'{value!r:.50} is not a size: write "512MiB", "2GB" or a number of bytes'
        raise ValueError(message)  # noqa: TRY004 - one kind of error for whatever is no size
    if isinstance(value, str):
        amount, unit = _quantity(value, _BYTES, "a size", '"64KiB", "512MiB", "2GB" or a number of bytes')
        value = round(amount * _BYTES[unit])
    if value < 0:
        raise ValueError(f"a size cannot be negative: {value!r:.50}")
    return value


def _quantity(text: str, units: dict[str, int], what: str, accepted: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r:.50} is not {what}: write {accepted}")
    return float(match[1]), match[2]


_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*/\s*(s|m|h|d)(?:\s+burst\s+(\d{1,9}))?", re.ASCII)
RATE_ACCEPTED = '"100/s", "30/m", "5/h" or "100/s burst 500"'


def parse_rate(value: object) -> tuple[float, int]:
    """So many a second, and so many at once after a pause: as many as come in a second, if the text does not say.

    Raises ValueError saying what is accepted.
    """
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r:.50} is not a rate: write {RATE_ACCEPTED}")
    per_s = float(match[1]) * 1000 / _MS[match[2]]
    return per_s, default_burst(per_s) if match[3] is None else int(match[3])


def default_burst(per_s: float) -> int:
    """As many as come in a second, one at least."""
    return max(1, math.ceil(per_s)) if per_s < 1e9 else 10**9
