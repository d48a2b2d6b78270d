"""What people ask about the scheduler itself, and what they are told: why a task waits, what it waited for, who has how much.

Asking changes nothing. What is told of the past is volatile: it begins anew with each dispatcher.
"""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.backlog import BacklogAnswer, BacklogAsked
from taskservice.core.flow.gate import Reason
from taskservice.core.past import Past
from taskservice.core.specs import Quota
from taskservice.core.types import FunctionName, RunnerId, Task, TaskId, TenantId

# Questions


class WhyAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know why a task does not run, or where it runs."""

    ref: int
    tenant: TenantId
    id: TaskId


class TimelineAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know what a task has gone through."""

    ref: int
    tenant: TenantId
    id: TaskId


class UsageAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know who has how much of what; `tenant` None: of everybody."""

    ref: int
    tenant: TenantId | None = None


Insight = WhyAsked | TimelineAsked | UsageAsked | BacklogAsked

# Why


class Place(Struct, frozen=True):
    """Where a queued task stands."""

    rank: int
    """In its queue, from 1."""
    exact: bool
    """False: `rank` is the least that it can be."""
    queued: int
    """Tasks in its queue."""
    before: int | None
    """Tasks, its own queue's and others', whose turns come first by fair order as things stand; None: too many queues to tell."""


class Estimate(Struct, frozen=True):
    """When a task is expected to start, and by what that was reckoned."""

    p50_ms: int
    p90_ms: int
    bound: str
    """The gate, `pool` or `clock` that lets it through last."""
    tasks: int = 0
    """That pass there before it."""
    at_once: float | None = None
    """How many of them at a time."""
    each_s: float | None = None
    """How long each of them takes."""
    per_s: float | None = None
    """How many pass in a second, where that is a setting."""


class WhyAnswer(Struct, frozen=True):
    """A task; what keeps it, in the order in which it has to pass; and where it stands. No task: there is none, or it is in history."""

    task: Task | None = None
    past: Past | None = None
    closed: tuple[Reason, ...] = ()
    place: Place | None = None
    start: Estimate | None = None
    no_estimate: str = ""
    """Why there is none, if it waits."""
    runner: RunnerId | None = None
    """Where it runs."""
    node: str = ""


# Timeline


class Stage(Struct, frozen=True):
    """Something that a task went through, or a moment of it if it took no time."""

    what: str
    """`accepted`, `due`, `rerun`, `waited`, `running`, or a state in which it is or has ended."""
    from_ms: int
    until_ms: int | None = None
    """None: it still lasts, or `from_ms` is a moment."""
    cause: str = ""
    """Of waiting: what for; `unknown` if that is not known (any more). Of an end: why."""
    attempt: int | None = None
    runner: RunnerId | None = None
    message: str = ""
    version: int = 0
    """Of an attempt: that of the code; 0: it has none."""


class TimelineAnswer(Struct, frozen=True):
    """What a task has gone through, in order. No task: as in `WhyAnswer`."""

    task: Task | None = None
    past: Past | None = None
    stages: tuple[Stage, ...] = ()
    known_since_ms: int = 0
    """What tasks waited for before is not known."""


# Usage


class OwnUse(Struct, frozen=True):
    """What a tenant or a class has, may have, and is due. Ratios are parts of what all used in `span_s` until now."""

    name: str
    weight: float
    used_s: float
    """Machine seconds in that time."""
    used_ratio: float
    due_ratio: float | None
    """Its share by weights among those that had work; None: it had none."""
    running: int = 0
    quota: Quota = Quota()
    holds: tuple[tuple[str, int], ...] = ()
    """What its leases occupy now, as in `Quota`."""
    gates: tuple[Reason, ...] = ()
    """How its rates and counts stand."""
    unfinished: int = 0
    queued_max: int | None = None


class FunctionUse(Struct, frozen=True):
    """What waits and runs of a function, how fast it is, and how its gates stand."""

    name: FunctionName
    counts: dict[str, int]
    """Unfinished tasks by state, of the tenant asked about."""
    mean_s: float | None
    """How long its attempts take; None: not known yet."""
    running: int
    """Of all tenants."""
    paused: bool
    downstream: str
    quota: Quota = Quota()
    holds: tuple[tuple[str, int], ...] = ()
    gates: tuple[Reason, ...] = ()
    retries: Reason | None = None
    """Its retry budget; None: none of its tasks has started since the dispatcher did."""


class WindowChange(Struct, frozen=True):
    """A moment at which a window's limit became another, and why."""

    at_ms: int
    limit: int
    why: str


class WindowUse(Struct, frozen=True):
    """A downstream's window."""

    name: str
    functions: tuple[FunctionName, ...]
    limit: int
    in_flight: int
    floor: int
    ceiling: int
    frozen: int | None
    round_trip_s: float
    state: Reason
    changes: tuple[WindowChange, ...] = ()
    """The last ones, the newest last."""


class UsageAnswer(Struct, frozen=True):
    """Who has how much of what."""

    span_s: float
    """How far back shares are counted."""
    capacity: tuple[tuple[str, int], ...]
    """What all runners have together, as in `Quota`."""
    tenants: tuple[OwnUse, ...]
    classes: tuple[OwnUse, ...]
    functions: tuple[FunctionUse, ...]
    windows: tuple[WindowUse, ...]


InsightAnswer = WhyAnswer | TimelineAnswer | UsageAnswer | BacklogAnswer
