"""Ids that sort by the time they were made: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import re
import time
import uuid

TASK_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,199}$"
"""What a task's id may look like: 1 to 200 characters that need no quoting in URLs, files or logs."""

SCHEDULE_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:+=~-]{0,99}$"
"""What a schedule's id may look like: with `@` and a time after it, it is the id of a task."""

_TASK_ID = re.compile(TASK_ID_PATTERN)
_SCHEDULE_ID = re.compile(SCHEDULE_ID_PATTERN)


def uuid7() -> str:
    """A new id: 48 bits of milliseconds since the epoch, then 74 random bits; as text, 36 characters."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def is_task_id(text: str) -> bool:
    """Whether `text` may be a task's id."""
    return _TASK_ID.fullmatch(text) is not None


def is_schedule_id(text: str) -> bool:
    """Whether `text` may be a schedule's id."""
    return _SCHEDULE_ID.fullmatch(text) is not None
