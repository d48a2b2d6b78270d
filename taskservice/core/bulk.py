"""Operations on all tasks that pass a filter: how one begins, which step is next, and what it keeps from being leased."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from taskservice.core.changes import is_over
from taskservice.core.decision import Decision
from taskservice.core.effects import OperationAnswer, Refusal
from taskservice.core.events import BulkAsked, OperationAsked
from taskservice.core.filters import by_place, ended_only, passes, touches
from taskservice.core.operations import SOURCES, Operation, OperationKind
from taskservice.core.past import Past
from taskservice.core.queues import LeafQueue
from taskservice.core.records import HistoryForgotten, OperationBegun, OperationCaught, OperationStep
from taskservice.core.state import State
from taskservice.core.stretches import Reach, Stretch
from taskservice.core.types import Leaf, ListFilter, Task, TaskId, TaskNo, TaskState

LEAVES_MAX = 200
"""Leaves that one turn visits."""

EFFORT = {OperationKind.DELETE: 4}
"""Of one task, where it is not about that of all others: so many fewer are changed in a turn."""


def begin(state: State, event: BulkAsked, now_ms: int, rng: Random) -> Decision:
    """The operation holds from now on for all tasks that there are, or its answer is known already, or it is refused."""
    states = tuple(each for each in SOURCES[event.kind] if not event.filter.states or each in event.filter.states)
    wanted = replace(event.filter, states=states)
    running = 0 if event.filter.states else state.table.count_running(wanted)
    matched = sum(_counts(state, event.kind, wanted).values()) if by_place(wanted) else None
    begun = OperationBegun(
        now_ms,
        f"op-{rng.getrandbits(64):016x}",
        event.kind,
        wanted,
        TaskNo(state.next_no - 1),
        event.dry_run,
        matched,
        event.resume_ms,
        running,
    )
    if not states or (event.dry_run and matched is not None):
        known = replace(begun.operation, id="", matched=matched or 0, done_ms=now_ms)
        return Decision(answer=OperationAnswer(known))
    most = state.limits.operations_max
    if state.operations.under_way_of(wanted.tenant) >= most:
        message = f"{most} bulk operations are under way (operations_max); wait until one of them is done"
        return Decision(answer=OperationAnswer(None, Refusal.OPERATIONS_MAX, message, most))
    return Decision((begun,), OperationAnswer(begun.operation))


def find(state: State, event: OperationAsked) -> OperationAnswer:
    """The operation as it is now, or None."""
    return OperationAnswer(state.operations.find(event.id, event.tenant))


def go_on(state: State, now_ms: int) -> Decision:
    """The operation whose turn it is takes its next steps: `operation_batch_max` tasks in all. They take turns, so that a
    small one is not kept waiting by a large one that began before it and has to do with other tasks."""
    operation = state.operations.next()
    if operation is None:
        return Decision()
    places: dict[Leaf, list[_Place]] = {}
    for place in _counts(state, operation.kind, operation.filter):
        places.setdefault(place.leaf, []).append(place)
    leaves = sorted(leaf for leaf in places if operation.done_with(leaf) < operation.upto_no)
    steps: list[OperationStep] = []
    left = max(1, state.limits.operation_batch_max // EFFORT.get(operation.kind, 1))
    for at, leaf in enumerate(leaves[:LEAVES_MAX]):
        reach = _reach(state, operation, places[leaf], left)
        last = at == len(leaves) - 1 and reach.to_no == operation.upto_no
        steps.append(OperationStep(now_ms, operation.id, leaf, reach.to_no, last, operation.kind))
        left -= reach.tasks
        if left <= 0 or reach.to_no < operation.upto_no:
            break
    if not steps:
        done = OperationStep(now_ms, operation.id, operation.leaf, operation.upto_no, done=True, action=operation.kind)
        steps.append(done)
    return Decision(tuple(steps))


def _reach(state: State, operation: Operation, places: list[_Place], limit: int) -> Reach:
    """How far the next step goes in the leaf of these places, of which each has its share of the tasks that may be met."""
    leaf = places[0].leaf
    here, past = ([place.state for place in places if place.past is past] for past in (False, True))
    after_no = operation.done_with(leaf)
    reach = state.table.reach(leaf, here, after_no, operation.upto_no, limit * len(here) // len(places))
    if not past:
        return reach
    gone = state.table.past.reach(leaf, past, after_no, reach.to_no, limit * len(past) // len(places))
    return Reach(gone.to_no, reach.tasks + gone.tasks)


def make_way(
    state: State, known: dict[TaskId, Task], past: dict[TaskId, Past], now_ms: int
) -> tuple[OperationCaught | HistoryForgotten, ...]:
    """Those of these tasks that are to be deleted are deleted now, and known no more: whoever submits such an id means a
    new task, and must not be told that there is one which goes a moment later."""
    caught: dict[str, list[TaskNo]] = {}
    forgotten: list[TaskNo] = []
    for operation in deletions(state):
        gone = [id for id, task in known.items() if wants(operation, task)]
        caught[operation.id] = [known.pop(id).no for id in gone]
        forgettable = [id for id, each in past.items() if _wants_past(state, operation, each)]
        forgotten += [past.pop(id).no for id in forgettable]
    records = [OperationCaught(now_ms, id, tuple(nos), OperationKind.DELETE) for id, nos in caught.items() if nos]
    return (*records, HistoryForgotten(now_ms, tuple(forgotten))) if forgotten else tuple(records)


def deletions(state: State) -> list[Operation]:
    """Those under way that delete."""
    under_way = state.operations.under_way.values()
    return [each for each in under_way if each.kind is OperationKind.DELETE and not each.dry_run]


def wants(operation: Operation, task: Task) -> bool:
    """Whether the operation will change the task when it comes to it, if the task stays as it is."""
    return _wants(operation, task) and operation.concerns(task)


def _wants_past(state: State, operation: Operation, past: Past) -> bool:
    """The same of a task in history, for one that deletes."""
    leaf = Leaf(past.tenant, past.function, past.priority)
    if past.state not in operation.filter.states or not operation.holds(leaf, past.no):
        return False
    alone = Stretch(leaf, TaskNo(past.no - 1), past.no)
    return by_place(operation.filter) or state.table.past.count_between(alone, ended_only(operation.filter)) > 0


def ahead_of(state: State, task: Task, kind: OperationKind) -> Operation | None:
    """An operation that is still to come to the task and would undo what is done to it now, or be escaped by it."""
    return next((each for each in state.operations.under_way.values() if _is_ahead(each, task, kind)), None)


def _is_ahead(operation: Operation, task: Task, kind: OperationKind) -> bool:
    if kind in (operation.kind, OperationKind.DELETE):
        return False
    if kind is OperationKind.CANCEL and operation.kind is not OperationKind.DELETE:
        return False  # what has ended is not paused or resumed any more
    return may_come_to(operation, task)


def may_come_to(operation: Operation, task: Task) -> bool:
    """Whether the operation would change the task if it were in another state by then."""
    return operation.holds(task.leaf, task.no) and passes(task, replace(operation.filter, states=()))


def wanted_by(state: State, task: Task) -> Operation | None:
    """The first of the operations that are still to come to the task, and mean it as it is now."""
    return next((each for each in state.operations.under_way.values() if _wants(each, task)), None)


def leasable(state: State, queue: LeafQueue, size: int, now_ms: int) -> tuple[TaskNo, ...]:
    """The next tasks of the queue, at most `size`, that have not expired and that no operation holds.

    They are the first of the queue if no operation may hold any of them. Else those that `Searches` finds among what was there
    when the operations began, and then tasks that were accepted later: these are found by their numbers, so they do not wait
    until the operations have come through the millions before them.

    A round of leases looks at about `head_tasks_max` tasks at the heads of all queues, and as many behind them; the next one goes
    on from there, and each step of an operation brings a round. So a task that no operation wants is leased in the first
    round with room for it if fewer wanted ones than that are before it, in its own queue and at the heads of others; and
    behind n of them in about the n / `head_tasks_max`th, however far the operations have come.
    """
    leaf, under_way = queue.leaf, state.operations.under_way
    gates = [
        operation
        for operation in (under_way.values() if under_way else ())
        if TaskState.QUEUED in operation.filter.states and operation.holds(leaf, operation.upto_no)
    ]
    if not gates:
        return tuple([entry.no for entry in queue.first(size, now_ms)])
    nos = state.searches.free(state.table, queue, gates, state.limits, size, now_ms)
    if len(nos) < size:
        newest = max(operation.upto_no for operation in gates)
        later = [key.no for key in state.table.queued_since(leaf, newest, size) if not is_over(key.expires_ms, now_ms)]
        nos = list(dict.fromkeys([*nos, *later]))
    return tuple(nos[:size])


def _wants(operation: Operation, task: Task) -> bool:
    return operation.holds(task.leaf, task.no) and passes(task, operation.filter)


class _Place(NamedTuple):
    """Where tasks may be that an operation wants."""

    leaf: Leaf
    state: TaskState
    past: bool
    """In history."""


def _counts(state: State, kind: OperationKind, wanted: ListFilter) -> dict[_Place, int]:
    """The places where tasks may be wanted, and how many are there."""
    found = [(state.table.counts(wanted.tenant), False)]
    if kind is OperationKind.DELETE:
        found.append((state.table.past.counts(wanted.tenant), True))
    return {
        _Place(leaf, task_state, past): count
        for counts, past in found
        for (leaf, task_state), count in counts.items()
        if count and task_state in wanted.states and touches(leaf, wanted)
    }
