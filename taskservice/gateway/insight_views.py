"""What users are told of the scheduler: why a task waits, what it has gone through, who has how much."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from taskservice.core.insight import (
    Estimate,
    FunctionUse,
    OwnUse,
    Stage,
    UsageAnswer,
    WhyAnswer,
    WindowUse,
)
from taskservice.core.types import TERMINAL_STATES, Task, TaskState
from taskservice.core.versions import name_of
from taskservice.gateway.amounts import QuotaView, amounts_view, quota_view
from taskservice.gateway.answers import ErrorView
from taskservice.gateway.reasons import ReasonView, how_of, reason_view
from taskservice.gateway.times import iso


class StartView(Struct, frozen=True):
    """When a task is expected to start: in half of such cases by p50, in nine of ten by p90."""

    p50: str
    p90: str
    how: str
    """How that was reckoned."""


class WhyView(Struct, frozen=True, kw_only=True):
    """Why a task does not run yet; where it runs; or how it ended. The first of `reasons` is also told by `gate` to `clears_at`."""

    id: str
    state: TaskState
    since: str
    """It was accepted, was due, has started, or has ended then."""
    gate: str | None
    """What keeps it, by name; null: nothing, or it does not wait."""
    text: str
    limit: float | None
    value: float | None
    clears_at: str | None
    reasons: list[ReasonView]
    """All that is closed to it now, in the order in which it has to pass."""
    rank: int | None
    """Its place in its queue, from 1."""
    rank_exact: bool | None
    """False: `rank` is the least that it can be."""
    queued: int | None
    """Tasks in its queue."""
    before: int | None
    """Tasks whose turns come first by fair order, as things stand."""
    estimated_start: StartView | None
    no_estimate: str | None
    """Why there is no estimate, if it waits."""
    expires_at: str | None
    may_expire: bool
    """It is expected to start later than it expires."""
    attempt: int
    runner: str | None
    """Where it runs; told to admins."""
    node: str | None
    deadline: str | None
    """Its attempt is stopped then."""
    error: ErrorView | None


class StageView(Struct, frozen=True, kw_only=True):
    """Something that a task went through."""

    stage: str
    """`accepted`, `waited`, `due`, `rerun`, `running`, or how it has ended."""
    at: str
    until: str | None
    """Null: a moment, or it still lasts."""
    seconds: float | None
    cause: str | None
    """Of waiting: the closed gate; `turn`: others came before; `unknown`: not known any more. Of an end: why."""
    attempt: int | None
    runner: str | None
    """Told to admins."""
    version: str | None
    """Of an attempt: the version of its app that it runs."""
    message: str | None


class TimelineView(Struct, frozen=True, kw_only=True):
    """What a task has gone through, in order, and the time spent by stage."""

    id: str
    state: TaskState
    stages: list[StageView]
    spent_s: dict[str, float]
    """Seconds by what was waited for, and of running."""
    known_since: str | None
    """What tasks waited for before is not known."""


class UseView(Struct, frozen=True, kw_only=True):
    """What a tenant or a priority class has, may have, and is due."""

    name: str
    weight: float
    used_s: float
    """Machine seconds in the last `span_s`."""
    used_ratio: float
    """Their part of what all have used."""
    due_ratio: float | None
    """Its share by weights among those that had work; null: it had none."""
    running: int
    unfinished: int
    queued_max: int | None
    quota: QuotaView
    holds: dict[str, float]
    """What its leases occupy now."""
    gates: list[ReasonView]
    """Its rates and counts: how much of each limit is taken."""


class FunctionUseView(Struct, frozen=True, kw_only=True):
    """What waits and runs of a function."""

    name: str
    counts: dict[str, int]
    """Unfinished tasks by state."""
    mean_s: float | None
    """How long its attempts take; null: not known yet."""
    running: int
    """Of all tenants."""
    paused: bool
    downstream: str | None
    quota: QuotaView
    holds: dict[str, float]
    gates: list[ReasonView]
    retries: ReasonView | None
    """Its retry budget."""


class WindowChangeView(Struct, frozen=True):
    """A moment at which a window became another size, and why."""

    at: str
    limit: int
    why: str


class WindowView(Struct, frozen=True, kw_only=True):
    """How many tasks may be in flight to a downstream."""

    name: str
    functions: list[str]
    limit: int
    in_flight: int
    floor: int
    ceiling: int
    frozen: int | None
    round_trip_s: float
    """How long an attempt takes on average."""
    closed_until: str | None
    """It has asked to be left alone until then."""
    changes: list[WindowChangeView]
    """The last ones, the newest last."""


class UsageView(Struct, frozen=True, kw_only=True):
    """Who has how much of what: one's own, or for admins everybody's."""

    at: str
    span_s: float
    """How far back shares are counted."""
    capacity: dict[str, float]
    tenants: list[UseView]
    classes: list[UseView]
    functions: list[FunctionUseView]
    downstreams: list[WindowView]


MODELS = (WhyView, TimelineView, UsageView, WindowView)


def why_view(answer: WhyAnswer, task: Task, *, machines: bool) -> WhyView:
    """Why the task is where it is; `machines`: also where it runs."""
    reasons = [reason_view(reason) for reason in answer.closed]
    first = reasons[0] if reasons else None
    place, start = answer.place, answer.start
    expires_ms = task.expires_ms if task.state not in TERMINAL_STATES else None
    runs = task.state is TaskState.RUNNING and task.started_ms is not None
    return WhyView(
        id=task.id,
        state=task.state,
        since=iso(_since_ms(task)),
        gate=None if first is None else first.gate,
        text=first.text if first is not None else _state_text(task),
        limit=None if first is None else first.limit,
        value=None if first is None else first.value,
        clears_at=None if first is None else first.clears_at,
        reasons=reasons,
        rank=None if place is None else place.rank,
        rank_exact=None if place is None else place.exact,
        queued=None if place is None else place.queued,
        before=None if place is None else place.before,
        estimated_start=None if start is None else _start_view(start),
        no_estimate=answer.no_estimate or None,
        expires_at=None if expires_ms is None else iso(expires_ms),
        may_expire=start is not None and expires_ms is not None and start.p50_ms >= expires_ms,
        attempt=task.attempt,
        runner=answer.runner if machines else None,
        node=(answer.node or None) if machines else None,
        deadline=iso((task.started_ms or 0) + task.timeout_ms) if runs else None,
        error=None if task.error is None else ErrorView(task.error.reason, task.error.message, task.error.detail),
    )


def _start_view(start: Estimate) -> StartView:
    return StartView(iso(start.p50_ms), iso(start.p90_ms), how_of(start))


def _since_ms(task: Task) -> int:
    if task.ended_ms is not None:
        return task.ended_ms
    if task.started_ms is not None:
        return task.started_ms
    return task.due_ms if task.state is TaskState.QUEUED else task.created_ms


def _state_text(task: Task) -> str:
    """Of a task to which nothing is closed."""
    if task.state is TaskState.RUNNING:
        return f"It runs: attempt {task.attempt} of {task.max_attempts}."
    if task.state is TaskState.FAILED and task.error is not None:
        return f"It failed ({task.error.reason}): {task.error.message}"
    if task.state is TaskState.EXPIRED:
        return "It has expired: it had not started in time."
    if task.state in TERMINAL_STATES:
        return f"It has ended: {task.state.value}."
    return "Nothing keeps it: it starts when scheduling comes to it."


def timeline_view(
    task: Task, stages: Iterable[Stage], known_since_ms: int | None, now_ms: int, *, machines: bool
) -> TimelineView:
    """What the task has gone through."""
    views = [_stage_view(stage, now_ms, machines=machines) for stage in stages]
    spent: dict[str, float] = {}
    for view in views:
        if view.seconds is not None:
            name = view.cause or view.stage
            spent[name] = spent.get(name, 0.0) + view.seconds
    known = None if known_since_ms is None else iso(known_since_ms)
    return TimelineView(id=task.id, state=task.state, stages=views, spent_s=spent, known_since=known)


def _stage_view(stage: Stage, now_ms: int, *, machines: bool) -> StageView:
    return StageView(
        stage=stage.what,
        at=iso(stage.from_ms),
        until=None if stage.until_ms is None else iso(stage.until_ms),
        seconds=None if stage.until_ms is None or stage.until_ms > now_ms else (stage.until_ms - stage.from_ms) / 1000,
        cause=stage.cause or None,
        attempt=stage.attempt,
        runner=stage.runner if machines else None,
        version=name_of(stage.version) if stage.version else None,
        message=stage.message or None,
    )


def usage_view(answer: UsageAnswer, now_ms: int) -> UsageView:
    """Who has how much."""
    return UsageView(
        at=iso(now_ms),
        span_s=answer.span_s,
        capacity=amounts_view(answer.capacity),
        tenants=[_use_view(one) for one in answer.tenants],
        classes=[_use_view(one) for one in answer.classes],
        functions=[_function_use_view(one) for one in answer.functions],
        downstreams=[window_view(one) for one in answer.windows],
    )


def _use_view(one: OwnUse) -> UseView:
    return UseView(
        name=one.name,
        weight=one.weight,
        used_s=one.used_s,
        used_ratio=one.used_ratio,
        due_ratio=one.due_ratio,
        running=one.running,
        unfinished=one.unfinished,
        queued_max=one.queued_max,
        quota=quota_view(one.quota),
        holds=amounts_view(one.holds),
        gates=[reason_view(reason) for reason in one.gates],
    )


def _function_use_view(one: FunctionUse) -> FunctionUseView:
    return FunctionUseView(
        name=one.name,
        counts=one.counts,
        mean_s=one.mean_s,
        running=one.running,
        paused=one.paused,
        downstream=one.downstream or None,
        quota=quota_view(one.quota),
        holds=amounts_view(one.holds),
        gates=[reason_view(reason) for reason in one.gates],
        retries=None if one.retries is None else reason_view(one.retries),
    )


def window_view(one: WindowUse) -> WindowView:
    """A downstream's window as users see it."""
    closed = one.state.cause == "retry_after" and one.state.clears_ms is not None
    return WindowView(
        name=one.name,
        functions=list(one.functions),
        limit=one.limit,
        in_flight=one.in_flight,
        floor=one.floor,
        ceiling=one.ceiling,
        frozen=one.frozen,
        round_trip_s=one.round_trip_s,
        closed_until=iso(one.state.clears_ms) if closed and one.state.clears_ms is not None else None,
        changes=[WindowChangeView(iso(change.at_ms), change.limit, change.why) for change in one.changes],
    )
