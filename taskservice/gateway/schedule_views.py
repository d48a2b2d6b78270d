"""Schedules as users see them."""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType

from taskservice.core.recurrence import fires_next
from taskservice.core.schedules import CatchUp, Overlap, Progress, ScheduleState, Skipped
from taskservice.core.types import Hooks, Priority
from taskservice.gateway.times import iso


class SkippedView(Struct, frozen=True):
    """How many times came to no task: they were too late, the last task had not ended, or the task was refused."""

    late: int
    overlap: int
    refused: int


class LastFireView(Struct, frozen=True):
    """The last time that came to a task: when it should have been, when it was, and the task's id."""

    scheduled_at: str
    fired_at: str
    task: str


class ScheduleErrorView(Struct, frozen=True):
    """Why a task of the schedule was refused."""

    at: str
    scheduled_at: str
    reason: str
    message: str


class ScheduleView(Struct, frozen=True, kw_only=True):
    """A schedule. Times are ISO 8601 in UTC. `payload` is left out of listings; null: not said."""

    id: str
    tenant: str
    function: str
    priority: Priority | None
    tags: dict[str, str]
    max_attempts: int | None
    timeout_s: float | None
    ttl_s: float | None
    deadline_s: float | None
    """Of each task, from when it is made."""
    off_peak: bool | None
    callback_url: str | None
    on_success: str | None
    on_failure: str | None
    cron: str | None
    zone: str | None
    interval_s: float | None
    anchor: str | None
    overlap: Overlap
    catch_up: CatchUp
    jitter_s: float
    paused: bool
    starts_at: str | None
    ends_at: str | None
    created_at: str
    version: int
    """One more with each change."""
    next_at: list[str]
    """When it fires next; empty: it is paused, or over."""
    last: LastFireView | None
    fired: int
    """How many times came to a task."""
    skipped: SkippedView
    waiting_since: str | None
    """A time that waits until the last task has ended."""
    retry_at: str | None
    """When a task that was refused is tried again."""
    error: ScheduleErrorView | None
    """Null once a task has been accepted again."""
    payload: Raw | UnsetType = UNSET


class SchedulePage(Struct, frozen=True):
    """Schedules by tenant and id. `next_cursor` is null on the last page."""

    schedules: list[ScheduleView]
    next_cursor: str | None


MODELS = (ScheduleView, SchedulePage)
"""All of them that the OpenAPI document describes; what they hold is found by itself."""


def schedule_view(known: ScheduleState, *, next_count: int, payload: bool) -> ScheduleView:
    """A schedule with its next so many times."""
    schedule, progress = known.schedule, known.progress
    spec, task = schedule.spec, schedule.spec.task
    hooks = task.hooks or Hooks()
    return ScheduleView(
        id=schedule.id,
        tenant=schedule.tenant,
        function=task.function,
        priority=task.priority,
        tags=dict(task.tags),
        max_attempts=task.max_attempts,
        timeout_s=_seconds(task.timeout_ms),
        ttl_s=_seconds(task.ttl_ms),
        deadline_s=_seconds(task.deadline_in_ms),
        off_peak=task.off_peak,
        callback_url=hooks.callback_url or None,
        on_success=hooks.on_success or None,
        on_failure=hooks.on_failure or None,
        cron=spec.cron,
        zone=spec.zone if spec.cron is not None else None,
        interval_s=_seconds(spec.interval_ms),
        anchor=_iso(spec.anchor_ms),
        overlap=spec.overlap,
        catch_up=spec.catch_up,
        jitter_s=spec.jitter_ms / 1000,
        paused=spec.paused,
        starts_at=_iso(spec.starts_ms),
        ends_at=_iso(spec.ends_ms),
        created_at=iso(schedule.created_ms),
        version=schedule.version,
        next_at=[iso(ms) for ms in fires_next(schedule, progress.next_ms, next_count)],
        last=_last(progress),
        fired=progress.fired,
        skipped=_skipped(progress.skipped),
        waiting_since=_iso(progress.waiting_ms),
        retry_at=_iso(progress.retry_ms),
        error=_error(progress),
        payload=Raw(task.payload) if payload else UNSET,
    )


def _last(progress: Progress) -> LastFireView | None:
    if progress.last_ms is None or progress.last_fired_ms is None or progress.last_task is None:
        return None
    return LastFireView(iso(progress.last_ms), iso(progress.last_fired_ms), progress.last_task)


def _skipped(skipped: Skipped) -> SkippedView:
    return SkippedView(skipped.late, skipped.overlap, skipped.refused)


def _error(progress: Progress) -> ScheduleErrorView | None:
    error = progress.error
    if error is None:
        return None
    return ScheduleErrorView(iso(error.at_ms), iso(error.nominal_ms), error.reason, error.message)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _iso(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
