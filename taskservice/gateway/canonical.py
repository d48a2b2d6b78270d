"""One text for equal JSON values, so that "the same payload" is a comparison of bytes."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import msgspec

from taskservice.gateway.problems import DUPLICATE_JSON_KEY, MALFORMED_JSON, FieldError, Problem, invalid

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder(order="sorted")

_ESCAPED_COLON = re.compile(rb"(?<!\\)(?:\\\\)*\\u003[aA]")

_NAMED_BYTES_MAX = 65_536
"""In a longer text, the key that is there twice is not looked for: that would take long."""

DECODE_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What a decoder raises for a text that is not what was asked for."""


class Canonical(NamedTuple):
    """A JSON value and its canonical text: keys sorted, no spaces, no needless escapes."""

    value: object
    text: bytes


def canonical(text: bytes | memoryview, depth_max: int) -> Canonical:
    """The value of `text`. Raises Problem if it is not JSON, is too deep, or has a key twice in one object."""
    raw = bytes(text)
    try:
        value = _DECODER.decode(raw)
    except DECODE_ERRORS as error:
        raise unreadable(error, "$.payload") from None
    if raw.count(b"[") + raw.count(b"{") > depth_max and _is_deeper(value, depth_max):
        message = f"it is nested more than {depth_max} levels deep"
        raise invalid("$.payload", message, limit="payload_depth_max", value=depth_max)
    encoded = _ENCODER.encode(value)
    refuse_duplicate_keys(raw, encoded)
    return Canonical(value, encoded)


def refuse_duplicate_keys(raw: bytes, encoded: bytes) -> None:
    """Raises Problem if an object in `raw` has a key twice; `encoded` is what was left of `raw` after decoding.

    Every key is followed by a colon, and decoding keeps only the last of equal keys: where the colons are as many as
    before, none was lost. Counting is a thousand times faster than the parser that can say which key it is, and that
    has the last word (fields with a default add colons of their own).
    """
    if _colons(raw) == _colons(encoded):
        return
    key = _first_duplicate_key(raw) if len(raw) <= _NAMED_BYTES_MAX else "?"
    if key is not None:
        message = f"the key {key[:100]!r} is given twice in one object"
        raise Problem(DUPLICATE_JSON_KEY, message, errors=[FieldError("$", message)])


def _colons(text: bytes) -> int:
    escaped = len(_ESCAPED_COLON.findall(text)) if b"\\u003" in text else 0
    return text.count(b":") + escaped


def unreadable(error: Exception, path: str) -> Problem:
    """The problem behind one of `DECODE_ERRORS`: 400 if it is not JSON at all, 422 if it is other JSON than expected."""
    if isinstance(error, msgspec.ValidationError):
        message, _, inner = str(error).partition(" - at `")
        return invalid(path + inner.rstrip("`").removeprefix("$"), message)
    if isinstance(error, UnicodeError):
        return Problem(MALFORMED_JSON, f"{path}: it is not valid UTF-8.")
    if isinstance(error, RecursionError):
        return Problem(MALFORMED_JSON, f"{path}: it is nested too deep to be read.")
    return Problem(MALFORMED_JSON, f"{path}: {error}.")


class _Duplicate(Exception):
    """Carries the key out of the parser."""


def _first_duplicate_key(raw: bytes) -> str | None:
    def look(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Duplicate(key)
            seen.add(key)

    try:
        json.loads(raw, object_pairs_hook=look)
    except _Duplicate as found:
        return str(found)
    except (ValueError, RecursionError):
        # Only where the first of two equal keys hides what no decoder has looked at yet.
        raise Problem(MALFORMED_JSON, "A value cannot be read.") from None
    return None


def _is_deeper(value: object, depth_max: int) -> bool:
    level = [value]
    for _ in range(depth_max):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    if isinstance(value, list):
        return [inner for inner in value if isinstance(inner, list | dict)]
    if isinstance(value, dict):
        return [inner for inner in value.values() if isinstance(inner, list | dict)]
    return []
