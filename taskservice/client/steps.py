"""What a conversation with the service consists of. No I/O: a shell (`client`, `aio`) takes the steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

JsonObject: TypeAlias = dict[str, Any]
JsonObjects: TypeAlias = list[JsonObject]

JSON_TYPE = "application/json"
NDJSON_TYPE = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Request:
    """What the service is asked."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    body_type: str = JSON_TYPE
    wait_s: float = 0.0
    """How long the service is asked to hold its answer back."""
    repeatable: bool = True
    """Asking twice has the effect of asking once."""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request, and say what came back within `timeout_s`."""

    request: Request
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """One of several results, for the caller to have at once."""

    value: T


@dataclass(frozen=True, slots=True)
class Reply:
    """The service's answer. Names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer came."""

    message: str
    connected: bool
    """Whether the request may have arrived."""


Heard: TypeAlias = Reply | Silence | None
"""What a step gives back; None after a pause or a result."""

Conversation: TypeAlias = Generator[Send | Pause, Heard, T]
"""Steps, and in the end a result."""

Stream: TypeAlias = Generator[Send | Pause | Emit[T], Heard, None]
"""Steps, with results among them."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin the conversation, and go on: its result is asked for later, by `Await`."""

    conversation: Conversation[Any]


@dataclass(frozen=True, slots=True)
class Await:
    """The result of the conversation that began first among those that were not asked for yet, or its error."""


@dataclass(frozen=True, slots=True)
class Call:
    """What `call` gives, or its error. It may block, on files: no event loop has to wait for it."""

    call: Callable[[], Any]


Transfer: TypeAlias = Generator[Send | Pause | Begin | Await | Call, Any, T]
"""A conversation with files in it, of which several parts may be under way at once."""
