"""What is asked of a shard about callbacks, and what it answers."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from taskservice.core.deliveries import Delivery, DeliveryKey, Endpoint, EndpointKey
from taskservice.core.types import TaskId, TaskNo, TenantId


class Busy(NamedTuple):
    """A delivery that is being made."""

    endpoint: EndpointKey
    key: DeliveryKey


class Attempted(NamedTuple):
    """What came of an attempt to deliver."""

    no: TaskNo
    run: int
    status: int
    """Of the HTTP answer; 0: there was none."""
    message: str
    """Why it was no success; empty if it was."""
    retry_after_ms: int = 0
    """How long the endpoint wants to be left alone."""


class CallbacksAsked(Struct, frozen=True, tag=True):
    """The sender wants what can be delivered now, at most so many, beside what it is delivering."""

    ref: int
    limit: int
    busy: tuple[Busy, ...] = ()


class CallbacksAttempted(Struct, frozen=True, tag=True):
    """The sender tells what came of its attempts."""

    ref: int
    attempts: tuple[Attempted, ...]


class DeliveriesAsked(Struct, frozen=True, tag=True):
    """Somebody wants to see the deliveries of a task."""

    ref: int
    tenant: TenantId
    id: TaskId


class RedeliveryAsked(Struct, frozen=True, tag=True):
    """The end of the task's last run that ended is to be told again, or at last."""

    ref: int
    tenant: TenantId
    id: TaskId


class EndpointsAsked(Struct, frozen=True, tag=True):
    """Somebody wants to see the endpoints that fail or are disabled: the tenant's, or all."""

    ref: int
    tenant: TenantId | None


class EndpointEnabled(Struct, frozen=True, tag=True):
    """The endpoint is to be told again what it is owed."""

    ref: int
    tenant: TenantId
    origin: str


class SecretPut(Struct, frozen=True, tag=True):
    """The tenant's callbacks are to be signed with this, unless it has a secret and this is not to take its place."""

    ref: int
    tenant: TenantId
    secret: bytes
    rotate: bool


CallbackEvent = (
    CallbacksAsked
    | CallbacksAttempted
    | DeliveriesAsked
    | RedeliveryAsked
    | EndpointsAsked
    | EndpointEnabled
    | SecretPut
)


class CallbacksAnswer(Struct, frozen=True):
    """What can be delivered now."""

    deliveries: tuple[Delivery, ...]
    secrets: dict[TenantId, tuple[bytes, ...]]
    """What those of each tenant are signed with; nothing for one that has no secret yet."""
    next_ms: int | None
    """When something is due that is not yet; None: nothing will be by itself."""


class DeliveriesAnswer(Struct, frozen=True):
    """A task's deliveries, the first run's first; None: there is no such task."""

    deliveries: tuple[Delivery, ...] | None
    endpoint: Endpoint | None = None
    """That of the last of them."""


class EndpointsAnswer(Struct, frozen=True):
    """Endpoints that fail or are disabled; or the one that was asked about."""

    endpoints: tuple[Endpoint, ...]


class SecretAnswer(Struct, frozen=True):
    """What became of a secret."""

    taken: bool
    previous_until_ms: int = 0
    """Until when the one before signs as well; 0: there was none."""


CallbackAnswer = CallbacksAnswer | DeliveriesAnswer | EndpointsAnswer | SecretAnswer
