"""What a task has gone through: what its own record says of that, and what its queue was kept back by meanwhile.

The record keeps the last attempt alone, and the last error; what earlier attempts waited for is told as unknown. What the queue
was kept back by is known as far as `waits` remembers it: not before this dispatcher has started.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from taskservice.core.fair.tree import path_of
from taskservice.core.insight import Stage, TimelineAnswer, TimelineAsked
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, Leaf, Task, TaskState
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
    queued = (
        () if task.started_ms is None else _waited(task, task.started_ms, [Span(UNKNOWN, task.due_ms, task.started_ms)])
    )
    return (*_before(task), *queued, *_attempt(task, None), *_end(task))


def _stages(state: State, task: Task, now_ms: int) -> Iterator[Stage]:
    yield from _before(task)
    if task.state in (TaskState.SCHEDULED, TaskState.RETRYING):
        yield _waits_for_clock(task)
        return
    if task.state is TaskState.PAUSED:
        yield Stage("waited", max(task.created_ms, min(task.due_ms, now_ms)), None, "task.paused")
        return
    until_ms = task.started_ms or task.ended_ms or now_ms
    spans = spans_of(state, task.leaf, task.due_ms, until_ms)
    yield from _waited(task, None if task.state is TaskState.QUEUED else until_ms, spans)
    held = None if task.token is None else state.leases.get(task.token)
    yield from _attempt(task, None if held is None else held.runner)
    yield from _end(task)


def _before(task: Task) -> Iterator[Stage]:
    """Up to where it was due the last time."""
    yield Stage("accepted", task.created_ms)
    if task.run > 1:
        yield Stage("waited", task.created_ms, task.due_ms, UNKNOWN, message=f"{task.run - 1} earlier runs")
        yield Stage("rerun", task.due_ms)
        return
    if task.error is None or (task.state is TaskState.FAILED and task.attempt <= 1):
        if task.due_ms > task.created_ms and task.state is not TaskState.SCHEDULED:
            yield Stage("waited", task.created_ms, task.due_ms, "task.due")
            yield Stage("due", task.due_ms)
        return
    if task.state is TaskState.RETRYING:
        return
    if task.state is not TaskState.FAILED:
        yield Stage("waited", task.created_ms, task.due_ms, UNKNOWN, message=_earlier(task))
        yield Stage("due", task.due_ms, cause=f"retry: {task.error.reason}", message=task.error.message)
    elif task.due_ms > task.created_ms:
        yield Stage("waited", task.created_ms, task.due_ms, UNKNOWN, message="earlier attempts")
        yield Stage("due", task.due_ms)


def _earlier(task: Task) -> str:
    """What is known of what came before the attempt that is to come, runs, or was the last."""
    assert task.error is not None
    return f"earlier attempts; the last of them ended: {task.error.reason}"


def _waits_for_clock(task: Task) -> Stage:
    if task.error is None or task.state is TaskState.SCHEDULED:
        return Stage("waited", task.created_ms, task.due_ms, "task.due")
    cause = "throttled" if task.error.reason == "throttled" else "task.retrying"
    message = f"{_earlier(task)}: {task.error.message}"
    return Stage("waited", task.created_ms, task.due_ms, cause, task.attempt, message=message)


def _waited(task: Task, until_ms: int | None, spans: Iterable[Span]) -> Iterator[Stage]:
    """What it waited for; `until_ms` None: it still does."""
    spans = list(spans)
    for at, span in enumerate(spans):
        last = at == len(spans) - 1
        yield Stage("waited", span.from_ms, None if last and until_ms is None else span.until_ms, span.cause)


def _attempt(task: Task, runner: object) -> Iterator[Stage]:
    if task.started_ms is None:
        return
    until_ms = task.ended_ms
    yield Stage("running", task.started_ms, until_ms, attempt=task.attempt, runner=runner)  # type: ignore[arg-type]


def _end(task: Task) -> Iterator[Stage]:
    if task.state in TERMINAL_STATES and task.ended_ms is not None:
        bad = task.error is not None and task.state is TaskState.FAILED
        cause, message = (task.error.reason, task.error.message) if bad and task.error is not None else ("", "")
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
