"""Callbacks: whom the end of a task's run is still to be told, and what became of it. Kept beside the tasks, and for longer.

    a run ends --> owed --tried--> delivered
                     ^       ├───> owed, at its next time
                     └renewed┴───> given up

What is told is fixed when the run ends: the task may have left the table, been run again or deleted when it is told at last.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from taskservice.core.types import TaskId, TaskNo, TaskState, TenantId


class EndpointKey(NamedTuple):
    """Whom a tenant's callbacks go to: all URLs with the same scheme, host and port are one endpoint."""

    tenant: TenantId
    origin: str
    """For example `https://example.com:8443`."""


class DeliveryKey(NamedTuple):
    """A run of a task."""

    no: TaskNo
    run: int


class DeliveryState(StrEnum):
    OWED = "owed"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Try(Struct, frozen=True, array_like=True, gc=False):
    """An attempt to deliver, and what came of it."""

    at_ms: int
    status: int
    """Of the HTTP answer; 0: there was none."""
    message: str
    """Why it was no success; empty if it was."""


class Delivery(Struct, frozen=True, array_like=True):
    """What an endpoint is to be told. A field is added at the end with a default, never removed or moved."""

    no: TaskNo
    run: int
    tenant: TenantId
    id: TaskId
    url: str
    state_told: TaskState
    """How the run has ended."""
    ended_ms: int
    task: bytes
    """The task, as JSON text."""
    state: DeliveryState = DeliveryState.OWED
    next_ms: int | None = None
    """When it is tried next; None unless it is owed."""
    tries: tuple[Try, ...] = ()
    owed_ms: int = 0
    """Since when it is owed: since the run's end, or since somebody asked for it again."""
    owed_tries: int = 0
    """How often it was tried since then."""

    @property
    def key(self) -> DeliveryKey:
        return DeliveryKey(self.no, self.run)

    @property
    def endpoint(self) -> EndpointKey:
        return EndpointKey(self.tenant, origin_of(self.url))

    @property
    def webhook_id(self) -> str:
        """The event's name, the same however often it is sent, and no other event's."""
        text = f"{self.tenant}/{self.id}/{self.no}/{self.run}"
        return f"msg_{blake2b(text.encode(), digest_size=16).hexdigest()}"


class Endpoint(Struct, frozen=True, array_like=True):
    """An endpoint with which something is wrong. A field is added at the end with a default, never removed or moved."""

    tenant: TenantId
    origin: str
    failures: int = 0
    """In a row."""
    failing_ms: int | None = None
    """Since when."""
    disabled_ms: int | None = None
    """Since when nothing is sent there; None: it is."""
    reason: str = ""
    """Why the last attempt failed, or why it is disabled."""

    @property
    def key(self) -> EndpointKey:
        return EndpointKey(self.tenant, self.origin)


class SigningSecret(Struct, frozen=True, array_like=True):
    """What a tenant's callbacks are signed with. A field is added at the end with a default, never removed or moved."""

    tenant: TenantId
    whsec: bytes
    created_ms: int
    previous_whsec: bytes = b""
    """Signs as well, until then."""
    previous_until_ms: int = 0

    def signing(self, now_ms: int) -> tuple[bytes, ...]:
        """Those that sign now, the newest first."""
        both = self.previous_whsec and now_ms < self.previous_until_ms
        return (self.whsec, self.previous_whsec) if both else (self.whsec,)

    def __repr__(self) -> str:
        """Without what is secret: it may get into a log."""
        return f"SigningSecret({self.tenant!r}, created_ms={self.created_ms})"


def renewed(delivery: Delivery, now_ms: int) -> Delivery:
    """The delivery when somebody has asked for it again."""
    return replace(delivery, state=DeliveryState.OWED, next_ms=now_ms, owed_ms=now_ms, owed_tries=0)


def origin_of(url: str) -> str:
    """Scheme, host and port, as they are in a URL that the gateway has accepted."""
    scheme, _, rest = url.partition("://")
    for end in "/?":
        rest = rest.partition(end)[0]
    return f"{scheme}://{rest}".lower()


class Deliveries(Protocol):
    """The part of a task table that knows deliveries."""

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """They are like that, whatever was known under their keys."""

    def get(self, keys: Sequence[DeliveryKey]) -> list[Delivery]:
        """Those of these that are known, in the order given."""

    def of_task(self, no: TaskNo) -> list[Delivery]:
        """Those of all runs of the task, the first run first."""

    def owed(self, endpoint: EndpointKey, until_ms: int, limit: int) -> list[Delivery]:
        """Those that are owed to the endpoint and whose time has come by then, the longest due first."""

    def next_ms(self, endpoint: EndpointKey) -> int | None:
        """When the first of those that are owed to the endpoint is due; None: nothing is owed to it."""

    def endpoints(self) -> dict[EndpointKey, int]:
        """All endpoints to which something is owed, and `next_ms` of each. Takes time with what is owed."""

    def old(self, before_ms: int, limit: int) -> list[DeliveryKey]:
        """Those of runs that ended before then, the first that ended first."""

    def drop(self, keys: Sequence[DeliveryKey]) -> None:
        """They are not known any more. One that is not known is no error."""
