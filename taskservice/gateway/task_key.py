"""A task's key: the value of the parameter that its function counts running tasks by, as one short text."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

import msgspec

from taskservice.core.specs import FunctionSpec

KEY_CHARS_MAX = 120
"""A longer key, or one that cannot be printed, is its beginning and a digest of it."""
_BEGINNING_CHARS = 40
_ENCODER = msgspec.json.Encoder(order="sorted")


def key_of(function: FunctionSpec, payload: object, said: str | None) -> str:
    """The key that was said, or else the parameter's value; where it is absent, its default. Empty: null, or none is named.

    Numbers and texts that are written alike are the same key: the handler's signature makes the same of both.
    """
    if said is not None:
        return _short(said)
    if not function.key or not isinstance(payload, dict):
        return ""
    value = payload[function.key] if function.key in payload else _default(function.payload_schema, function.key)
    return "" if value is None else _short(_text(value))


@lru_cache(maxsize=1_000)
def _default(schema: bytes, parameter: str) -> object:
    """What the parameter is if the payload does not say it."""
    read = msgspec.json.decode(schema)
    properties = read.get("properties", {}) if isinstance(read, dict) else {}
    return properties.get(parameter, {}).get("default")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _ENCODER.encode(value).decode()


def _short(text: str) -> str:
    if len(text) <= KEY_CHARS_MAX and text.isprintable():
        return text
    beginning = "".join(each for each in text[:_BEGINNING_CHARS] if each.isprintable())
    return f"{beginning}~{sha256(text.encode(errors='surrogatepass')).hexdigest()}"
