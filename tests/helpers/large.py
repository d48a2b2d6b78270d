"""References to values, for tests that have no objects."""

from __future__ import annotations

import hashlib

from taskservice.core.values import ValueRef, referring


def key(no: int) -> str:
    return f"value/dt=2026-02-03/{no:032x}"


def reference(no: int, text: bytes = b'"large"') -> bytes:
    """What stands for `text` in a task, if it is in the object number `no`."""
    return referring(ValueRef(key(no), len(text), hashlib.sha256(text).digest()))
