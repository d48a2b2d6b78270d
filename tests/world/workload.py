"""What the simulated tasks do. A task's whole behaviour follows from its id, so that a checker knows what must come out."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.specs import Bundle, FunctionSpec, Resources, RetryPolicy
from taskservice.core.types import FunctionName, OutcomeKind, Priority, TaskId


class Behaviour(StrEnum):
    OK = "ok"
    FLAKY = "flaky"
    """Fails in its first charged attempt, then succeeds."""
    HOPELESS = "hopeless"
    REFUSED = "refused"
    """Not retryable."""
    THROTTLED = "throttled"
    """Throttled three times, then succeeds."""
    CRASHER = "crasher"


WEIGHTS = [
    (Behaviour.OK, 60),
    (Behaviour.FLAKY, 12),
    (Behaviour.HOPELESS, 6),
    (Behaviour.REFUSED, 6),
    (Behaviour.THROTTLED, 8),
    (Behaviour.CRASHER, 8),
]

MAX_ATTEMPTS = 4
MAX_CRASHES = 2

_BUNDLE = Bundle("world", "app", "/")


def _function(
    name: str, cpu_m: int, *, concurrency: int = 1, priority: Priority = Priority.NORMAL, grace_ms: int = 5_000
) -> FunctionSpec:
    return FunctionSpec(
        name=FunctionName(name),
        bundle=_BUNDLE,
        payload_schema=b"{}",
        resources=Resources(cpu_m=cpu_m),
        retry=RetryPolicy(max_attempts=MAX_ATTEMPTS, base_ms=50, max_ms=2_000),
        is_async=concurrency > 1,
        concurrency=concurrency,
        max_crashes=MAX_CRASHES,
        priority=priority,
        grace_ms=grace_ms,
    )


FUNCTIONS = (
    _function("world.quick", 1000),
    _function("world.slow", 1000),
    _function("world.wide", 2000),
    _function("world.many", 1000, concurrency=10),
    _function("world.lengthy", 1000, priority=Priority.BATCH, grace_ms=300),
    _function("world.urgent", 1000, priority=Priority.CRITICAL),
    _function("world.brief", 1000),
)
BRIEF = FUNCTIONS[-1].name
"""Only tasks of this function are ever deleted: of the others it is known that they are there for ever."""
_MEAN_MS = {
    "world.quick": 1,
    "world.slow": 400,
    "world.wide": 30,
    "world.many": 20,
    "world.brief": 100,
    "world.urgent": 20,
    "world.lengthy": 1_500,
}


def _draw(id: TaskId, what: str, below: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{what}:{id}".encode(), digest_size=6).digest()) % below


def behaviour(id: TaskId) -> Behaviour:
    """What the task of this id will do."""
    point = _draw(id, "behaviour", sum(weight for _, weight in WEIGHTS))
    for kind, weight in WEIGHTS:
        point -= weight
        if point < 0:
            return kind
    raise AssertionError("unreachable")


def duration_ms(function: str, id: TaskId) -> int:
    """How long an attempt takes: 0 to twice the function's mean."""
    return _draw(id, "duration", 2 * _MEAN_MS[function] + 1)


def outcome(task: LeaseTask, throttled_before: int, started_ms: int, took_ms: int) -> Outcome:
    """How this attempt ends."""
    kind = behaviour(task.id)
    done = {"no": task.no, "started_ms": started_ms, "duration_us": took_ms * 1000 + 5}
    if kind is Behaviour.HOPELESS or (kind is Behaviour.FLAKY and task.attempt == 1):
        return Outcome(kind=OutcomeKind.HANDLER_ERROR, message="boom", **done)
    if kind is Behaviour.REFUSED:
        return Outcome(kind=OutcomeKind.NON_RETRYABLE, message="no", **done)
    if kind is Behaviour.CRASHER:
        return Outcome(kind=OutcomeKind.CRASHED, message="exit code 1", **done)
    if kind is Behaviour.THROTTLED and throttled_before < 3:
        return Outcome(kind=OutcomeKind.THROTTLED, message="busy", retry_after_ms=200, **done)
    return Outcome(kind=OutcomeKind.SUCCEEDED, result=b'"%d"' % task.no, **done)
