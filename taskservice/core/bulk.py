"""Operations on all tasks that pass a filter: how one begins, which step is next, and what it keeps from being leased."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from msgspec.structs import replace

from taskservice.core.decision import Decision
from taskservice.core.effects import OperationAnswer, Refusal
from taskservice.core.events import BulkAsked, OperationAsked
from taskservice.core.filters import by_place, passes, touches
from taskservice.core.queues import LeafQueue
from taskservice.core.records import Record, SweepBegun, SweepCaught, SweepStep, TasksDue
from taskservice.core.state import State
from taskservice.core.sweep import SOURCES, Sweep
from taskservice.core.types import Leaf, ListFilter, Task, TaskNo, TaskState

LEAVES_MAX = 200
"""Leaves that one turn visits."""


def begin(state: State, event: BulkAsked, now_ms: int, rng: Random) -> Decision:
    """The sweep holds from now on for all tasks that there are, or its answer is known already, or it is refused."""
    states = tuple(each for each in SOURCES[event.kind] if not event.filter.states or each in event.filter.states)
    wanted = replace(event.filter, states=states)
    upto_no = TaskNo(state.next_no - 1)
    matched = sum(_counts(state, wanted).values()) if by_place(wanted) else None
    if not states or (event.dry_run and matched is not None):
        known = Sweep("", event.kind, wanted, upto_no, now_ms, event.dry_run, matched or 0, done_ms=now_ms)
        return Decision(answer=OperationAnswer(known))
    most = state.limits.operations_max
    if state.sweeps.under_way_of(wanted.tenant) >= most:
        message = f"{most} bulk operations are under way (operations_max); wait until one of them is done"
        return Decision(answer=OperationAnswer(None, Refusal.OPERATIONS_MAX, message, most))
    id = f"op-{rng.getrandbits(64):016x}"
    begun = SweepBegun(now_ms, id, event.kind, wanted, upto_no, event.dry_run, matched)
    return Decision((begun,), OperationAnswer(begun.sweep))


def find(state: State, event: OperationAsked) -> OperationAnswer:
    """The operation as it is now, or None."""
    return OperationAnswer(state.sweeps.find(event.id, event.tenant))


def go_on(state: State, now_ms: int) -> Decision:
    """The sweep that has done least so far takes its next steps: `sweep_batch_max` tasks in all. So a small one is not
    kept waiting by a large one that began before it."""
    sweep = min(state.sweeps.under_way.values(), key=lambda each: (each.changed, each.upto_no, each.id), default=None)
    if sweep is None:
        return Decision()
    counts = _counts(state, sweep.filter)
    leaves = [leaf for leaf in dict.fromkeys(leaf for leaf, _ in counts) if sweep.done_with(leaf) < sweep.upto_no]
    leaves.sort()
    steps: list[SweepStep] = []
    left = state.limits.sweep_batch_max
    for at, leaf in enumerate(leaves[:LEAVES_MAX]):
        states = [each for each in sweep.filter.states if (leaf, each) in counts]
        reach = state.table.reach(leaf, states, sweep.done_with(leaf), sweep.upto_no, left)
        last = at == len(leaves) - 1 and reach.to_no == sweep.upto_no
        steps.append(SweepStep(now_ms, sweep.id, leaf, reach.to_no, last))
        left -= reach.tasks
        if left <= 0 or reach.to_no < sweep.upto_no:
            break
    return Decision(tuple(steps) or (SweepStep(now_ms, sweep.id, sweep.leaf, sweep.upto_no, done=True),))


def due(state: State, tasks: Iterable[Task], now_ms: int) -> tuple[Record, ...]:
    """Waiting tasks whose time has come are ready, but for those that a sweep is still to come to: they end now."""
    ready: list[TaskNo] = []
    caught: dict[str, list[TaskNo]] = {}
    for task in tasks:
        sweep = next((each for each in state.sweeps.under_way.values() if _wants(each, task)), None)
        (ready if sweep is None else caught.setdefault(sweep.id, [])).append(task.no)
    ended = tuple(SweepCaught(now_ms, id, tuple(nos)) for id, nos in caught.items())
    return (*ended, TasksDue(now_ms, tuple(ready))) if ready else ended


def leasable(state: State, queue: LeafQueue, size: int) -> tuple[TaskNo, ...]:
    """The next tasks of the queue, at most `size`, that no sweep holds.

    They are the first of the queue if no sweep may hold any of them. Else they are those near its head that no sweep
    wants, and then tasks that were accepted after the sweeps began: these are found by their numbers, so they do not
    wait until the sweeps have come through the millions before them.
    """
    leaf = queue.leaf
    gates = [
        sweep
        for sweep in state.sweeps.under_way.values()
        if TaskState.QUEUED in sweep.filter.states and sweep.holds(leaf, sweep.upto_no)
    ]
    if not gates:
        return tuple(entry.no for entry in queue.first(size))
    nos = _not_held(state, leaf, gates, [entry.no for entry in queue.first(state.limits.lease_tasks_max)])
    if len(nos) < size:
        newest = max(sweep.upto_no for sweep in gates)
        nos = list(dict.fromkeys([*nos, *state.table.queued_since(leaf, newest, size)]))
    return tuple(nos[:size])


def _not_held(state: State, leaf: Leaf, gates: list[Sweep], nos: list[TaskNo]) -> list[TaskNo]:
    """Those of these queued tasks that none of the sweeps wants; only filters that ask for more than the leaf need the tasks
    themselves."""
    for sweep in gates:
        if by_place(sweep.filter):
            nos = [no for no in nos if not sweep.holds(leaf, no)]
        else:
            nos = [task.no for task in state.table.load(nos) if not _wants(sweep, task)]
    return nos


def _wants(sweep: Sweep, task: Task) -> bool:
    return sweep.holds(task.leaf, task.no) and passes(task, sweep.filter)


def _counts(state: State, wanted: ListFilter) -> dict[tuple[Leaf, TaskState], int]:
    """The places where tasks may be wanted, and how many are there."""
    return {
        (leaf, task_state): count
        for (leaf, task_state), count in state.table.counts(wanted.tenant).items()
        if count and task_state in wanted.states and touches(leaf, wanted)
    }
