"""What files of history are called.

The name holds the epoch of its writer: so the sweep of a dispatcher whose time is over cannot take a successor's file for one
that nobody knows.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

PREFIX = "history/"

_EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC)
_KEY = re.compile(r"history/dt=\d{4}-\d{2}-\d{2}/\d+-\d+-(?P<epoch>\d+)-[0-9a-f]+\.parquet")


def file_key(day: int, first_no: int, last_no: int, epoch: int, nonce: str) -> str:
    """The key of a file. `day`: since 1970-01-01; `nonce`: hexadecimal digits."""
    date = (_EPOCH_DAY + timedelta(days=day)).date().isoformat()
    return f"{PREFIX}dt={date}/{first_no:012d}-{last_no:012d}-{epoch:08d}-{nonce}.parquet"


def epoch_of(key: str) -> int | None:
    """The epoch in which the file was written; None if that is no name of a file of history."""
    match = _KEY.fullmatch(key)
    return int(match["epoch"]) if match else None
