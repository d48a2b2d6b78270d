"""From what a request says of a schedule to a `ScheduleSpec` that the dispatcher can take."""

from __future__ import annotations

import asyncio

from msgspec import UNSET, Raw
from msgspec.structs import replace

from taskservice.core.effects import Refusal
from taskservice.core.limits import Limits
from taskservice.core.recurrence import BadTiming, check_timing
from taskservice.core.schedules import ScheduleSpec
from taskservice.core.types import Hooks, NewTask, TaskId
from taskservice.gateway.access import Gateway
from taskservice.gateway.admit import Admission, duration_ms, instant_ms
from taskservice.gateway.problems import INTERNAL_ERROR, REFUSALS, FieldError, Problem, invalid, too_large
from taskservice.gateway.requests import SchedulePatch, TaskRequest
from taskservice.gateway.settings import GatewaySettings

TASK_FIELDS = tuple(name for name in TaskRequest.__struct_fields__ if name in SchedulePatch.__struct_fields__)
"""What is said of the schedule's tasks."""

_ANY_PERIOD = Limits(schedule_period_ms_min=1)
_FIELD_OF = {Refusal.CRON_INVALID: "$.cron", Refusal.ZONE_UNKNOWN: "$.zone"}


async def spec_of(gateway: Gateway, said: SchedulePatch, before: ScheduleSpec | None) -> ScheduleSpec:
    """What is wanted: what was before, or nothing, with what is said in its place. Raises Problem."""
    task = None if before is None else before.task
    if task is None or any(getattr(said, name) is not UNSET for name in TASK_FIELDS):
        task = await _task(gateway, said, task)
    spec = ScheduleSpec(task) if before is None else replace(before, task=task)
    spec = replace(spec, **_times(said, gateway.settings, ScheduleSpec(task)))
    try:
        # Not by the dispatcher, though it does so as well: that an expression has no time may take long to find out.
        await asyncio.to_thread(check_timing, spec, _ANY_PERIOD)
    except BadTiming as why:
        raise refused(why.refusal, why.message) from None
    return spec


def refused(refusal: Refusal | None, message: str, limit: int | None = None) -> Problem:
    """The problem that a refused schedule is."""
    kind = INTERNAL_ERROR if refusal is None else REFUSALS[refusal]
    field = None if refusal is None else _FIELD_OF.get(refusal)
    return Problem(kind, message, value=limit, errors=[] if field is None else [FieldError(field, message)])


async def _task(gateway: Gateway, said: SchedulePatch, before: NewTask | None) -> NewTask:
    """What the tasks are to be like, with a payload that their function takes."""
    settings = gateway.settings
    fields = {} if before is None else _as_said(before)
    fields |= {name: value for name in TASK_FIELDS if (value := getattr(said, name)) is not UNSET}
    task = await Admission(gateway.catalog, settings).admit(TaskRequest(**fields))  # type: ignore[arg-type]
    if len(task.payload) > settings.inline_bytes_max:
        message = f"The payload has {len(task.payload)} bytes; that of a schedule may have {settings.inline_bytes_max}."
        raise too_large(message, "inline_bytes_max", settings.inline_bytes_max)
    if task.deadline_ms is not None:
        raise invalid("$.deadline", "the deadline of a schedule's tasks is a duration: each is made at another time")
    return replace(task, id=TaskId(""))


def _as_said(task: NewTask) -> dict[str, object]:
    """What a request would have said of such tasks."""
    hooks = task.hooks or Hooks()
    return {
        "function": task.function,
        "payload": Raw(task.payload),
        "priority": task.priority,
        "max_attempts": task.max_attempts,
        "timeout": None if task.timeout_ms is None else task.timeout_ms / 1000,
        "ttl": None if task.ttl_ms is None else task.ttl_ms / 1000,
        "deadline": None if task.deadline_in_ms is None else task.deadline_in_ms / 1000,
        "off_peak": task.off_peak,
        "tags": dict(task.tags),
        "callback_url": hooks.callback_url or None,
        "on_success": hooks.on_success or None,
        "on_failure": hooks.on_failure or None,
    }


def _times(said: SchedulePatch, settings: GatewaySettings, unsaid: ScheduleSpec) -> dict[str, object]:
    """The fields of the spec that the request speaks of; null is as in `unsaid`."""
    given: dict[str, object] = {}
    for name in ("cron", "zone", "overlap", "catch_up", "paused"):
        value = getattr(said, name)
        if value is not UNSET:
            given[name] = getattr(unsaid, name) if value is None else value
    for name, at_least_ms in (("interval", 1), ("jitter", 0)):
        value = getattr(said, name)
        if value is not UNSET:
            ms = duration_ms(f"$.{name}", value, settings, at_least_ms=at_least_ms)
            given[f"{name}_ms"] = getattr(unsaid, f"{name}_ms") if ms is None else ms
    for name, field in (("anchor", "anchor_ms"), ("starts_at", "starts_ms"), ("ends_at", "ends_ms")):
        value = getattr(said, name)
        if value is not UNSET:
            given[field] = instant_ms(f"$.{name}", value)
    # One takes the place of the other, unless both are given: then that is refused.
    if given.get("interval_ms") is not None:
        given = {"cron": None, "zone": unsaid.zone} | given
    elif given.get("cron") is not None:
        given = {"interval_ms": None, "anchor_ms": None} | given
    return given
