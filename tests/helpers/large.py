"""Large values for tests: references without objects, and objects in RAM."""

from __future__ import annotations

import hashlib

from taskservice.core.values import ValueRef, referring
from taskservice.objects import ObjectStore
from taskservice.values import Values


def key(no: int) -> str:
    return f"value/dt=2026-02-03/{no:032x}"


def reference(no: int, text: bytes = b'"large"') -> bytes:
    """What stands for `text` in a task, if it is in the object number `no`."""
    return referring(ValueRef(key(no), len(text), hashlib.sha256(text).digest()))


def values_of(objects: ObjectStore) -> Values:
    """The values among these objects."""
    return Values(lambda: objects)
