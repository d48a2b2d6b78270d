"""Callbacks as users see them."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.callback_events import DeliveriesAnswer
from taskservice.core.deliveries import Delivery, DeliveryState, Endpoint
from taskservice.gateway.times import iso


class AttemptView(Struct, frozen=True):
    """An attempt to deliver: the HTTP status of the answer, or null and why there was none."""

    at: str
    status: int | None
    message: str


class DeliveryView(Struct, frozen=True, kw_only=True):
    """What is to be told of the end of a run, and what became of that."""

    id: str
    """The `webhook-id`, the same however often it is sent."""
    run: int
    type: str
    """For example `task.succeeded`."""
    url: str
    state: DeliveryState
    ended_at: str
    next_at: str | None
    """When it is tried next; null: it is delivered or given up, or its endpoint is disabled."""
    attempts: list[AttemptView]
    """The last ones, in their order."""


class EndpointView(Struct, frozen=True, kw_only=True):
    """Where a tenant's callbacks go: one for each scheme, host and port."""

    tenant: str
    origin: str
    failures: int
    """In a row."""
    failing_since: str | None
    disabled_at: str | None
    """Since when nothing is sent there; null: it is."""
    reason: str
    """Why the last attempt failed, or why it is disabled."""


class DeliveriesView(Struct, frozen=True):
    """A task's callbacks, the first run's first, and the endpoint of the last."""

    deliveries: list[DeliveryView]
    endpoint: EndpointView | None


class EndpointsView(Struct, frozen=True):
    """The endpoints that fail or are disabled."""

    endpoints: list[EndpointView]


class SecretView(Struct, frozen=True):
    """A new signing secret; this answer is the only one that ever holds it."""

    tenant: str
    secret: str
    """`whsec_...`, as libraries of Standard Webhooks take it."""
    previous_until: str | None
    """Until when the one before signs as well; null: there was none."""


MODELS = (DeliveriesView, EndpointsView, SecretView)
"""All of them that the OpenAPI document describes; what they hold is found by itself."""


def deliveries_view(answer: DeliveriesAnswer) -> DeliveriesView:
    """A task's callbacks, of a task that there is."""
    endpoint = answer.endpoint
    disabled = endpoint is not None and endpoint.disabled_ms is not None
    found = [_delivery_view(each, held=disabled) for each in answer.deliveries or ()]
    return DeliveriesView(found, None if endpoint is None else endpoint_view(endpoint))


def _delivery_view(delivery: Delivery, *, held: bool) -> DeliveryView:
    return DeliveryView(
        id=delivery.webhook_id,
        run=delivery.run,
        type=f"task.{delivery.state_told}",
        url=delivery.url,
        state=delivery.state,
        ended_at=iso(delivery.ended_ms),
        next_at=None if delivery.next_ms is None or held else iso(delivery.next_ms),
        attempts=[AttemptView(iso(each.at_ms), each.status or None, each.message) for each in delivery.tries],
    )


def endpoint_view(endpoint: Endpoint) -> EndpointView:
    """An endpoint."""
    return EndpointView(
        tenant=endpoint.tenant,
        origin=endpoint.origin,
        failures=endpoint.failures,
        failing_since=None if endpoint.failing_ms is None else iso(endpoint.failing_ms),
        disabled_at=None if endpoint.disabled_ms is None else iso(endpoint.disabled_ms),
        reason=endpoint.reason,
    )
