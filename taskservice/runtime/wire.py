"""What supervisor and child tell each other: length-prefixed msgpack of typed messages, over a socket pair.

The child is not trusted: whatever it sends is decoded as one of these types or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import FunctionName, OutcomeKind, TaskNo, TenantId
from taskservice.runtime.boxes import Box

MESSAGE_BYTES_MAX = 1 << 30
"""A longer message is no message."""
SLOTS_MAX = 1_000
"""Attempts that a child may run at the same time."""


class Load(Struct, frozen=True, tag=True):
    """Import the app. First message to a child."""

    bundle: Bundle
    result_bytes_max: int
    log_bytes_max: int
    idle_s: float
    task_checkpoint_bytes_max: int
    task_checkpoint_interval_s: float
    box: Box


class Secrets(Struct, frozen=True, tag=True):
    """What the functions of this child have declared. Before the first `Run`, and again before each lease."""

    values: dict[str, str]

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self.values)})"


class Run(Struct, frozen=True, tag=True):
    """Make these attempts, in order."""

    tenant: TenantId
    function: FunctionName
    tasks: tuple[LeaseTask, ...]
    slots: int = 1
    """Attempts at the same time; the supervisor watches as many."""


class GiveBack(Struct, frozen=True, tag=True):
    """Name what has not been started, and do not start it."""


class Stop(Struct, frozen=True, tag=True):
    """These attempts, if they run, are asked to stop: what they come to then is of this kind, unless they succeed."""

    nos: tuple[TaskNo, ...]
    kind: OutcomeKind
    why: str = ""
    """What the handlers are told."""


class Loaded(Struct, frozen=True, tag=True):
    """The app is imported."""

    functions: tuple[FunctionSpec, ...]


class LoadFailed(Struct, frozen=True, tag=True):
    """The app cannot be imported. The child ends."""

    message: str
    detail: str


class Ended(Struct, frozen=True, tag=True):
    """These attempts have ended."""

    outcomes: tuple[Outcome, ...]


class GivenBack(Struct, frozen=True, tag=True):
    """These were not started, and will not be."""

    nos: tuple[TaskNo, ...]


class Logged(Struct, frozen=True, tag=True):
    """An attempt has written to one of its streams. Comes before its outcome."""

    no: TaskNo
    text: bytes
    at_ms: int = 0
    stream: str = ""
    dropped: int = 0
    """Bytes that were beyond the limit, and are not sent."""


class Checkpointed(Struct, frozen=True, tag=True):
    """An attempt has put this down. Comes before its outcome; see `lease_wire.LeaseTask`."""

    no: TaskNo
    text: bytes


ToChild = Load | Secrets | Run | GiveBack | Stop
FromChild = Loaded | LoadFailed | Ended | GivenBack | Logged | Checkpointed

_encode = msgspec.msgpack.Encoder().encode
decode_to_child = msgspec.msgpack.Decoder(ToChild).decode
decode_from_child = msgspec.msgpack.Decoder(FromChild).decode


def frame(message: ToChild | FromChild) -> bytes:
    """The message, ready to be sent."""
    body = _encode(message)
    return len(body).to_bytes(4, "little") + body


class Frames:
    """Puts received bytes together again."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete with `data`. Raises ValueError if what comes cannot be one."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            size = int.from_bytes(buffer[start : start + 4], "little")
            if size > MESSAGE_BYTES_MAX:
                raise ValueError(f"a message of {size} bytes")
            if len(buffer) - start - 4 < size:
                break
            yield bytes(buffer[start + 4 : start + 4 + size])
            start += 4 + size
        del buffer[:start]
