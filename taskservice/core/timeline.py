"""What a task has gone through: what its own record says of that, and what its queue was kept back by meanwhile.

The record keeps the last attempt alone, and the last error; what earlier attempts waited for is told as unknown. What the queue
was kept back by is known as far as `waits` remembers it: not before this dispatcher has started.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from taskservice.core.fair.tree import path_of
from taskservice.core.insight import Stage, TimelineAnswer, TimelineAsked
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, ErrorInfo, Leaf, RunnerId, Task, TaskState
from taskservice.core.waits import HELD, JOURNAL, ROOM, Waits

UNKNOWN = "unknown"
TURN = "turn"
"""Nothing kept the queue back: others had their turns before, or scheduling had not come to it."""


def timeline(state: State, event: TimelineAsked, now_ms: int) -> TimelineAnswer:
    """The task's stages, each with its cause."""
    task = state.table.find(event.tenant, [event.id]).get(event.id)
    if task is None:
        return TimelineAnswer(past=state.table.past.find(event.tenant, [event.id]).get(event.id))
    stages = tuple(_stages(state, task, now_ms))
    return TimelineAnswer(task, None, stages, state.turns.tree.waits.since_ms)


def past_stages(task: Task) -> tuple[Stage, ...]:
    """The same of a task in history: what it waited for is not known any more."""
    until_ms = _waited_until_ms(task)
    spans = [Span(UNKNOWN, task.due_ms, until_ms)] if until_ms is not None and until_ms > task.due_ms else []
    return (*_before(task), *_waited(spans), *_attempt(task, None), *_end(task))


def _stages(state: State, task: Task, now_ms: int) -> Iterator[Stage]:
    if task.state in (TaskState.SCHEDULED, TaskState.RETRYING, TaskState.PAUSED):
        yield Stage("accepted", task.created_ms)
        yield _waits(task)
        return
    yield from _before(task)
    until_ms = _waited_until_ms(task)
    end_ms = now_ms if until_ms is None else until_ms
    spans = spans_of(state, task.leaf, task.due_ms, end_ms) if end_ms > task.due_ms else []
    yield from _waited(spans, lasts=until_ms is None)
    held = None if task.token is None else state.leases.get(task.token)
    yield from _attempt(task, None if held is None else held.runner)
    yield from _end(task)


def _waited_until_ms(task: Task) -> int | None:
    """When the last attempt started, or the task ended without one; None: it still waits."""
    return task.ended_ms if task.started_ms is None else task.started_ms


def _waits(task: Task) -> Stage:
    """Of a task that waits for the clock, or for somebody to resume it. Since when is not kept."""
    cause, message = "task.due", ""
    if task.state is TaskState.PAUSED:
        return Stage("waited", task.created_ms, task.resume_ms, "task.paused", message="since when is not kept")
    if task.error is not None and task.state is TaskState.RETRYING:
        cause = "throttled" if task.error.reason == "throttled" else "task.retrying"
        message = f"{_earlier(task.error)}: {task.error.message}"
    return Stage("waited", task.created_ms, task.due_ms, cause, task.attempt or None, message=message)


def _before(task: Task) -> Iterator[Stage]:
    """Up to where it was due the last time, or ended before that."""
    yield Stage("accepted", task.created_ms)
    until_ms = task.due_ms if task.started_ms is not None or task.ended_ms is None else min(task.due_ms, task.ended_ms)
    earlier = task.error if task.state is not TaskState.FAILED or task.attempt > 1 else None
    cause, message = "task.due", ""
    if earlier is not None:
        cause, message = UNKNOWN, _earlier(earlier) if task.state is not TaskState.FAILED else "earlier attempts"
    elif task.run > 1:
        cause, message = UNKNOWN, f"it ran before; this is run {task.run}"
    retried = earlier is not None and task.state is not TaskState.FAILED
    if until_ms > task.created_ms:
        yield Stage("waited", task.created_ms, until_ms, cause, message=message)
    elif not retried:
        return
    if until_ms == task.due_ms:
        again = f"retry: {earlier.reason}" if retried and earlier is not None else ""
        yield Stage("rerun" if task.run > 1 and earlier is None else "due", until_ms, cause=again)


def _earlier(error: ErrorInfo) -> str:
    """What is known of what came before the attempt that is to come, runs, or was the last."""
    return f"earlier attempts; the last that failed: {error.reason}"


def _waited(spans: Sequence[Span], *, lasts: bool = False) -> Iterator[Stage]:
    """What it waited for; with `lasts` it still does."""
    for at, span in enumerate(spans):
        open_end = lasts and at == len(spans) - 1
        yield Stage("waited", span.from_ms, None if open_end else span.until_ms, span.cause)


def _attempt(task: Task, runner: RunnerId | None) -> Iterator[Stage]:
    if task.started_ms is not None:
        yield Stage(
            "running", task.started_ms, task.ended_ms, attempt=task.attempt, runner=runner, version=task.version
        )


def _end(task: Task) -> Iterator[Stage]:
    if task.state in TERMINAL_STATES and task.ended_ms is not None:
        error = task.error if task.state is TaskState.FAILED else None
        cause, message = ("", "") if error is None else (error.reason, error.message)
        yield Stage(task.state.value, task.ended_ms, cause=cause, message=message)


class Span(NamedTuple):
    """A time, and what was waited for in it."""

    cause: str
    from_ms: int
    until_ms: int


def spans_of(state: State, leaf: Leaf, from_ms: int, until_ms: int) -> list[Span]:
    """What the leaf's tasks waited for in that time, without gaps: of several closed gates it is the first that is met."""
    waits = state.turns.tree.waits
    things = _things(state, leaf)
    closed = [
        [
            (stretch.gate, stretch.from_ms, until_ms if stretch.until_ms is None else stretch.until_ms)
            for stretch in waits.of(each)
        ]
        for each in things
    ]
    known_ms = max(_known_since(waits, things), from_ms)
    edges = {from_ms, until_ms, min(known_ms, until_ms)}
    edges.update(edge for layer in closed for _, *pair in layer for edge in pair if from_ms < edge < until_ms)
    spans: list[Span] = []
    ordered = sorted(edges)
    for begin, end in pairwise(ordered):
        found = (gate for layer in closed for gate, low, high in layer if low <= begin and end <= high)
        cause = next(found, UNKNOWN if begin < known_ms else TURN)
        if spans and spans[-1].cause == cause:
            spans[-1] = spans[-1]._replace(until_ms=end)
        else:
            spans.append(Span(cause, begin, end))
    return spans


def _things(state: State, leaf: Leaf) -> list[Hashable]:
    """All that may keep back the leaf's tasks, in the order in which scheduling meets it."""
    path = path_of(leaf)
    nodes: list[Hashable] = [tuple(reversed(path[:depth])) for depth in range(1, len(path) + 1)]
    return [JOURNAL, *nodes, (ROOM, state.turns.demand_of(leaf)), (HELD, leaf)]


def _known_since(waits: Waits, things: Iterable[Hashable]) -> int:
    return max(waits.known_since_ms(each) for each in things)
