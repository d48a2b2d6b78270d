"""Operations on all tasks that pass a filter: how one begins, which step is next, and what it keeps from being leased."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from msgspec.structs import replace

from taskservice.core.decision import Decision
from taskservice.core.effects import OperationAnswer, Refusal
from taskservice.core.events import BulkAsked, OperationAsked
from taskservice.core.filters import by_place, passes, touches
from taskservice.core.operations import SOURCES, Operation
from taskservice.core.queues import LeafQueue
from taskservice.core.records import OperationBegun, OperationCaught, OperationStep, Record, TasksDue
from taskservice.core.state import State
from taskservice.core.types import Leaf, ListFilter, Task, TaskNo, TaskState

LEAVES_MAX = 200
"""Leaves that one turn visits."""


def begin(state: State, event: BulkAsked, now_ms: int, rng: Random) -> Decision:
    """The operation holds from now on for all tasks that there are, or its answer is known already, or it is refused."""
    states = tuple(each for each in SOURCES[event.kind] if not event.filter.states or each in event.filter.states)
    wanted = replace(event.filter, states=states)
    upto_no = TaskNo(state.next_no - 1)
    matched = sum(_counts(state, wanted).values()) if by_place(wanted) else None
    if not states or (event.dry_run and matched is not None):
        known = Operation("", event.kind, wanted, upto_no, now_ms, event.dry_run, matched or 0, done_ms=now_ms)
        return Decision(answer=OperationAnswer(known))
    most = state.limits.operations_max
    if state.operations.under_way_of(wanted.tenant) >= most:
        message = f"{most} bulk operations are under way (operations_max); wait until one of them is done"
        return Decision(answer=OperationAnswer(None, Refusal.OPERATIONS_MAX, message, most))
    id = f"op-{rng.getrandbits(64):016x}"
    begun = OperationBegun(now_ms, id, event.kind, wanted, upto_no, event.dry_run, matched)
    return Decision((begun,), OperationAnswer(begun.operation))


def find(state: State, event: OperationAsked) -> OperationAnswer:
    """The operation as it is now, or None."""
    return OperationAnswer(state.operations.find(event.id, event.tenant))


def go_on(state: State, now_ms: int) -> Decision:
    """The operation whose turn it is takes its next steps: `operation_batch_max` tasks in all. They take turns, so that a
    small one is not kept waiting by a large one that began before it."""
    operation = next(iter(state.operations.under_way.values()), None)
    if operation is None:
        return Decision()
    counts = _counts(state, operation.filter)
    leaves = [
        leaf for leaf in dict.fromkeys(leaf for leaf, _ in counts) if operation.done_with(leaf) < operation.upto_no
    ]
    leaves.sort()
    steps: list[OperationStep] = []
    left = state.limits.operation_batch_max
    for at, leaf in enumerate(leaves[:LEAVES_MAX]):
        states = [each for each in operation.filter.states if (leaf, each) in counts]
        reach = state.table.reach(leaf, states, operation.done_with(leaf), operation.upto_no, left)
        last = at == len(leaves) - 1 and reach.to_no == operation.upto_no
        steps.append(OperationStep(now_ms, operation.id, leaf, reach.to_no, last))
        left -= reach.tasks
        if left <= 0 or reach.to_no < operation.upto_no:
            break
    return Decision(
        tuple(steps) or (OperationStep(now_ms, operation.id, operation.leaf, operation.upto_no, done=True),)
    )


def due(state: State, tasks: Iterable[Task], now_ms: int) -> tuple[Record, ...]:
    """Waiting tasks whose time has come are ready, but for those that an operation is still to come to: they end now."""
    ready: list[TaskNo] = []
    caught: dict[str, list[TaskNo]] = {}
    for task in tasks:
        operation = next((each for each in state.operations.under_way.values() if _wants(each, task)), None)
        (ready if operation is None else caught.setdefault(operation.id, [])).append(task.no)
    ended = tuple(OperationCaught(now_ms, id, tuple(nos)) for id, nos in caught.items())
    return (*ended, TasksDue(now_ms, tuple(ready))) if ready else ended


def leasable(state: State, queue: LeafQueue, size: int) -> tuple[TaskNo, ...]:
    """The next tasks of the queue, at most `size`, that no operation holds.

    They are the first of the queue if no operation may hold any of them. Else they are those near its head that no operation
    wants, and then tasks that were accepted after the operations began: these are found by their numbers, so they do not
    wait until the operations have come through the millions before them.
    """
    leaf = queue.leaf
    gates = [
        operation
        for operation in state.operations.under_way.values()
        if TaskState.QUEUED in operation.filter.states and operation.holds(leaf, operation.upto_no)
    ]
    if not gates:
        return tuple(entry.no for entry in queue.first(size))
    nos = _not_held(state, leaf, gates, [entry.no for entry in queue.first(state.limits.lease_tasks_max)])
    if len(nos) < size:
        newest = max(operation.upto_no for operation in gates)
        nos = list(dict.fromkeys([*nos, *state.table.queued_since(leaf, newest, size)]))
    return tuple(nos[:size])


def _not_held(state: State, leaf: Leaf, gates: list[Operation], nos: list[TaskNo]) -> list[TaskNo]:
    """Those of these queued tasks that none of the operations wants; only filters that ask for more than the leaf need the tasks
    themselves."""
    for operation in gates:
        if by_place(operation.filter):
            nos = [no for no in nos if not operation.holds(leaf, no)]
        else:
            nos = [task.no for task in state.table.load(nos) if not _wants(operation, task)]
    return nos


def _wants(operation: Operation, task: Task) -> bool:
    return operation.holds(task.leaf, task.no) and passes(task, operation.filter)


def _counts(state: State, wanted: ListFilter) -> dict[tuple[Leaf, TaskState], int]:
    """The places where tasks may be wanted, and how many are there."""
    return {
        (leaf, task_state): count
        for (leaf, task_state), count in state.table.counts(wanted.tenant).items()
        if count and task_state in wanted.states and touches(leaf, wanted)
    }
