"""Where a task's payload or result is: in its place as JSON text or, if it is large, elsewhere as an object.

Then a reference stands in its place: a byte with which no JSON text begins, and which object holds what. The core never
sees the object; what it has to know of the value is in the reference: whether two are the same, and which keys nobody
refers to any more. Keys are made by the service alone; whatever comes from outside is JSON, and so never a reference.
"""

from __future__ import annotations

import hashlib
import re

import msgspec
from msgspec import Struct

MARK = b"\x01"
"""What a reference begins with."""

PREFIX = "value/"
"""What the keys of all such objects begin with."""

_KEY = re.compile(rf"{PREFIX}dt=\d{{4}}-\d\d-\d\d/[0-9a-f]{{32}}", re.ASCII)

_encode = msgspec.msgpack.Encoder().encode


class ValueRef(Struct, frozen=True, array_like=True):
    """Which object holds a value. A field is added at the end with a default, never removed or moved."""

    key: str
    size_bytes: int
    sha256: bytes


_decode = msgspec.msgpack.Decoder(ValueRef).decode


def referring(ref: ValueRef) -> bytes:
    """What stands in the value's place."""
    return MARK + _encode(ref)


def ref_of(value: bytes | None) -> ValueRef | None:
    """What is referred to; None if the value is there itself. Raises ValueError if it is neither: only a bug makes that."""
    if value is None or not value.startswith(MARK):
        return None
    try:
        ref = _decode(memoryview(value)[len(MARK) :])
    except msgspec.DecodeError as error:
        raise ValueError(f"no reference: {value[:40]!r}") from error
    if not is_value_key(ref.key):
        raise ValueError(f"a reference to {ref.key!r:.100}, which is no value's key")
    return ref


def is_value_key(key: str) -> bool:
    """Whether an object of this key is a value: nothing else may be read or removed as one."""
    return _KEY.fullmatch(key) is not None


def keys_of(*values: bytes | None) -> tuple[str, ...]:
    """The keys of the objects that these refer to."""
    return tuple(ref.key for ref in map(ref_of, values) if ref is not None)


def same(one: bytes, other: bytes) -> bool:
    """Whether both are the same JSON text, wherever it is."""
    if one == other:
        return True
    return (one.startswith(MARK) or other.startswith(MARK)) and _identity(one) == _identity(other)


def digest(value: bytes) -> bytes:
    """SHA-256 of the JSON text, wherever it is."""
    return _identity(value)[1]


def _identity(value: bytes) -> tuple[int, bytes]:
    ref = ref_of(value)
    return (len(value), hashlib.sha256(value).digest()) if ref is None else (ref.size_bytes, ref.sha256)
