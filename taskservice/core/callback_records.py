"""The records of callbacks. See `records`: the same rules hold."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.deliveries import DeliveryKey, DeliveryState, Endpoint, SigningSecret, Try
from taskservice.core.types import TaskNo


class TriedRow(Struct, frozen=True, array_like=True, gc=False):
    """An attempt to deliver, and what follows from it."""

    no: TaskNo
    run: int
    attempt: Try
    state: DeliveryState
    next_ms: int | None


class DeliveriesTried(Struct, frozen=True, array_like=True, tag="deliveries_tried"):
    """owed -> delivered, given up, or owed with another time."""

    at_ms: int
    rows: tuple[TriedRow, ...]


class DeliveryRenewed(Struct, frozen=True, array_like=True, tag="delivery_renewed"):
    """Any -> owed, from now on: somebody has asked for it again."""

    at_ms: int
    no: TaskNo
    run: int


class DeliveriesForgotten(Struct, frozen=True, array_like=True, tag="deliveries_forgotten"):
    """These are not known any more."""

    at_ms: int
    keys: tuple[DeliveryKey, ...]


class EndpointSet(Struct, frozen=True, array_like=True, tag="endpoint"):
    """The endpoint fails, is disabled, or all is well with it again."""

    at_ms: int
    endpoint: Endpoint


class SecretSet(Struct, frozen=True, array_like=True, tag="signing_secret"):
    """The tenant's callbacks are signed with this."""

    at_ms: int
    secret: SigningSecret


CallbackRecord = DeliveriesTried | DeliveryRenewed | DeliveriesForgotten | EndpointSet | SecretSet
