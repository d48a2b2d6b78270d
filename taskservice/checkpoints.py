"""What a handler puts down of its progress, as text: JSON, or bytes with a mark before them."""

from __future__ import annotations

import json

from pydantic_core import to_jsonable_python

from taskservice.core.lease_wire import BYTES


class Checkpoints:
    """Those of one attempt. These are kept in memory, for handlers that are called without a service, in tests say."""

    def __init__(self, restored: object = None) -> None:
        """`restored`: the last one of the attempts before; None: there was none."""
        self._restored = restored
        self.last: object = None
        """The last one that was saved."""

    @property
    def restored(self) -> object:
        """The last one of the attempts before; None: there was none."""
        return self._restored

    def save(self, value: object) -> None:
        """The value is the last checkpoint. Raises TypeError or ValueError if it cannot be one."""
        self.last = decode(encode(value))


def encode(value: object) -> bytes:
    """The checkpoint as text. Raises TypeError or ValueError if it is neither bytes nor JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return BYTES + bytes(value)
    if value is None:
        raise TypeError("None cannot be a checkpoint: it is what `restored` is when there is none")
    return json.dumps(
        value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=to_jsonable_python
    ).encode()


def decode(text: bytes) -> object:
    """The checkpoint of a text; None if it is empty."""
    if not text:
        return None
    if text.startswith(BYTES):
        return text[len(BYTES) :]
    value: object = json.loads(text)
    return value
