"""Triggers and what comes of events, as users say and see them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from taskservice.core.triggers import TextFilter, Trigger
from taskservice.core.types import Priority
from taskservice.gateway.problems import ProblemDocument
from taskservice.gateway.requests import FunctionText, JsonObject, ScheduleIdText
from taskservice.gateway.times import iso

FilterText = Annotated[str, Meta(max_length=1_000)]


class FilterSaid(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an attribute has to be like."""

    exact: FilterText | None = None
    prefix: FilterText | None = None
    suffix: FilterText | None = None


FiltersSaid = Annotated[dict[str, FilterText | FilterSaid], Meta(max_length=20, examples=[{"type": "order.placed"}])]


class TriggerRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A trigger to be set."""

    function: FunctionText
    filter: FiltersSaid
    """By the names of attributes: the text itself, or how it begins (`prefix`) or ends (`suffix`). All have to pass."""
    payload: JsonObject | UnsetType = UNSET
    """A template: `$.data.NAME` and `$.ATTRIBUTE` stand for what the event has there. Absent: the event's data."""
    priority: Priority | UnsetType | None = UNSET
    id: ScheduleIdText | UnsetType | None = UNSET
    """Made up (UUIDv7) if absent. The same trigger under the same id again is there once."""


class TriggerView(Struct, frozen=True, kw_only=True):
    """A trigger. `payload` is its template; null: the event's data."""

    id: str
    tenant: str
    function: str
    filter: dict[str, str | FilterSaid]
    payload: Raw | None
    priority: Priority | None
    created_at: str


class TriggerPage(Struct, frozen=True):
    """Triggers by tenant and id. `next_cursor` is null on the last page."""

    triggers: list[TriggerView]
    next_cursor: str | None


class TriggeredTask(Struct, frozen=True):
    """A trigger that the event matched, and the id of its task."""

    trigger: str
    task: str


class TriggerRefusedView(Struct, frozen=True):
    """A trigger that the event matched, and why there is no task."""

    trigger: str
    error: ProblemDocument


class EventView(Struct, frozen=True):
    """What came of an event. If all three are empty it is accepted, and matched nothing."""

    id: str
    source: str
    matched: int
    """How many triggers."""
    tasks: list[TriggeredTask]
    duplicates: list[TriggeredTask]
    """Tasks that were known already."""
    refused: list[TriggerRefusedView]


class EventsView(Struct, frozen=True):
    """What came of events, in the order in which they were sent."""

    events: list[EventView]


MODELS = (TriggerRequest, TriggerView, TriggerPage, EventsView)
"""All of them that the OpenAPI document describes; what they hold is found by itself."""


def trigger_view(trigger: Trigger) -> TriggerView:
    spec = trigger.spec
    return TriggerView(
        id=trigger.id,
        tenant=trigger.tenant,
        function=spec.function,
        filter={name: _said(wanted) for name, wanted in spec.filters},
        payload=None if spec.template is None else msgspec.Raw(spec.template),
        priority=spec.priority,
        created_at=iso(trigger.created_ms),
    )


def _said(wanted: TextFilter) -> str | FilterSaid:
    said = FilterSaid(wanted.exact, wanted.prefix, wanted.suffix)
    return said if wanted.exact is None or said != FilterSaid(wanted.exact) else wanted.exact
