"""What people ask of schedules: to set, change, remove, show and list them."""

from __future__ import annotations

from heapq import nsmallest

from msgspec.structs import replace

from taskservice.core.admit import unfit
from taskservice.core.decision import Decision
from taskservice.core.effects import Refusal, ScheduleAnswer, SchedulesAnswer
from taskservice.core.events import ScheduleAsked, SchedulePut, ScheduleRemoveAsked, SchedulesListed
from taskservice.core.recurrence import BadTiming, check_timing, passed, times_after
from taskservice.core.schedule_records import ScheduleRemoved, ScheduleSet
from taskservice.core.schedules import Progress, Schedule, ScheduleKey, ScheduleSpec, ScheduleState
from taskservice.core.state import State


def put(state: State, event: SchedulePut, now_ms: int) -> Decision:
    """The schedule is as it is wanted, or refused. A new one that is wanted twice is there once."""
    known = state.schedules.find(ScheduleKey(event.tenant, event.id))
    if known is not None and known.schedule.spec == event.spec and event.version in (None, known.schedule.version):
        return Decision(answer=ScheduleAnswer(known, known=True))
    refused = _refusal(state, event, known, now_ms)
    if refused is not None:
        return Decision(answer=refused)
    version, created_ms = (1, now_ms) if known is None else (known.schedule.version + 1, known.schedule.created_ms)
    schedule = Schedule(event.id, event.tenant, event.spec, created_ms, version)
    try:
        check_timing(event.spec, state.limits)
        progress = _progress(schedule, known, now_ms)
    except BadTiming as why:
        return Decision(answer=ScheduleAnswer(None, why.refusal, why.message, why.limit))
    return Decision((ScheduleSet(now_ms, schedule, progress),), ScheduleAnswer(ScheduleState(schedule, progress)))


def _refusal(state: State, event: SchedulePut, known: ScheduleState | None, now_ms: int) -> ScheduleAnswer | None:
    if event.version is not None and known is None:
        return _not_found(event.id)
    if event.version is None and known is not None:
        message = f"there is another schedule {event.id!r}; change it, or choose another id"
        return ScheduleAnswer(known, Refusal.SCHEDULE_EXISTS, message)
    if known is not None and event.version != known.schedule.version:
        message = f"schedule {event.id!r} was changed meanwhile; look at it again"
        return ScheduleAnswer(known, Refusal.SCHEDULE_CHANGED, message)
    if event.tenant not in state.tenants:
        return ScheduleAnswer(None, Refusal.UNKNOWN_TENANT, f"there is no tenant {event.tenant!r}")
    most = state.limits.schedules_max
    if known is None and len(state.schedules.by_tenant.get(event.tenant, {})) >= most:
        message = f"tenant {event.tenant!r} has as many schedules as it may (schedules_max {most})"
        return ScheduleAnswer(None, Refusal.SCHEDULES_MAX, message, most)
    why = unfit(state, event.spec.task, now_ms)
    return None if why is None else ScheduleAnswer(None, *why)


def _not_found(id: str) -> ScheduleAnswer:
    return ScheduleAnswer(None, Refusal.NOT_FOUND, f"there is no schedule {id!r}")


def _progress(schedule: Schedule, known: ScheduleState | None, now_ms: int) -> Progress:
    """How far the schedule has come when it is like that from now on. Raises BadTiming if it has no time to come."""
    before = Progress() if known is None else known.progress
    spec = schedule.spec
    if known is not None and not spec.paused and _timing(spec) == _timing(known.schedule.spec):
        return before
    skipped, waiting_ms = before.skipped, before.waiting_ms
    if known is not None and before.next_ms is not None and before.next_ms <= now_ms:
        missed = passed(known.schedule, before.next_ms, now_ms, 1)
        skipped = replace(skipped, late=skipped.late + missed.dropped + len(missed.times))
    if spec.paused:
        skipped = replace(skipped, overlap=skipped.overlap + (waiting_ms is not None))
        return replace(before, next_ms=None, waiting_ms=None, retry_ms=None, skipped=skipped)
    next_ms = next(times_after(schedule, now_ms), None)
    if next_ms is None:
        raise BadTiming(Refusal.SCHEDULE_INVALID, "it has no time after now: see when it starts and ends")
    return replace(before, next_ms=next_ms, retry_ms=None, skipped=skipped)


def _timing(spec: ScheduleSpec) -> tuple[object, ...]:
    """What the next time follows from."""
    return (
        spec.cron,
        spec.zone,
        spec.interval_ms,
        spec.anchor_ms,
        spec.starts_ms,
        spec.ends_ms,
        spec.paused,
    )


def remove(state: State, event: ScheduleRemoveAsked, now_ms: int) -> Decision:
    """There is no such schedule any more; the answer shows it as it was."""
    key = ScheduleKey(event.tenant, event.id)
    known = state.schedules.find(key)
    if known is None:
        return Decision(answer=_not_found(event.id))
    return Decision((ScheduleRemoved(now_ms, *key),), ScheduleAnswer(known))


def find(state: State, event: ScheduleAsked) -> ScheduleAnswer:
    """The schedule as it is now."""
    known = state.schedules.find(ScheduleKey(event.tenant, event.id))
    return _not_found(event.id) if known is None else ScheduleAnswer(known)


def listing(state: State, event: SchedulesListed) -> SchedulesAnswer:
    """A page of schedules, by tenant and id."""
    after = event.after
    wanted = (each for each in state.schedules.of(event.tenant) if after is None or each.schedule.key > after)
    page = nsmallest(event.limit + 1, wanted, key=lambda each: each.schedule.key)
    return SchedulesAnswer(tuple(page[: event.limit]), more=len(page) > event.limit)
