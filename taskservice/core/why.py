"""Why a task does not run yet: each of the gates that are closed to it, in the order in which scheduling meets them.

    its state (paused, not due)  ->  gates of its tenant, function, leaf  ->  room  ->  bulk operations, its time  ->  its turn

Everything is asked and nothing is changed (`looking`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from taskservice.core import forecast, lease, room
from taskservice.core.bulk import wanted_by
from taskservice.core.changes import is_over
from taskservice.core.demand import Demand
from taskservice.core.fair.node import Node
from taskservice.core.fair.tree import path_of
from taskservice.core.flow.gate import ROOM_MAX, Reason
from taskservice.core.insight import Place, WhyAnswer, WhyAsked
from taskservice.core.looking import Looking
from taskservice.core.order import Order
from taskservice.core.state import State
from taskservice.core.table import QueueKey
from taskservice.core.types import TERMINAL_STATES, Leaf, Task, TaskNo, TaskState

RANK_LOOKED_AT_MAX = 10_000
"""Tasks of a queue that are counted beyond its head."""


def why(state: State, event: WhyAsked, now_ms: int) -> WhyAnswer:
    """What keeps the task, where it stands, and when it may start; or where it runs; or only the task, if it has ended."""
    task = state.table.find(event.tenant, [event.id]).get(event.id)
    if task is None:
        return WhyAnswer(past=state.table.past.find(event.tenant, [event.id]).get(event.id))
    if task.state is TaskState.RUNNING:
        return _running(state, task)
    if task.state in TERMINAL_STATES:
        return WhyAnswer(task)
    if task.state is not TaskState.QUEUED:
        return _not_due(state, task)
    return _queued(state, task, now_ms)


def _running(state: State, task: Task) -> WhyAnswer:
    held = None if task.token is None else state.leases.get(task.token)
    runner = None if held is None else state.pool.runners.get(held.runner)
    return WhyAnswer(task, runner=None if held is None else held.runner, node="" if runner is None else runner.node)


def _not_due(state: State, task: Task) -> WhyAnswer:
    """It is scheduled, retrying or paused: none of its gates matters before that is over."""
    if task.state is TaskState.PAUSED:
        first = Reason("task.paused", 0, 0, task.resume_ms)
    elif task.state is TaskState.RETRYING:
        first = Reason("task.retrying", 0, 0, task.due_ms, cause="" if task.error is None else task.error.reason)
    else:
        first = Reason("task.due", 0, 0, task.due_ms)
    start, unknown = forecast.by_state(first.clears_ms, first.gate)
    return WhyAnswer(task, closed=(first, *_operation(state, task)), start=start, no_estimate=unknown)


def _queued(state: State, task: Task, now_ms: int) -> WhyAnswer:
    look = Look.at(state, task.leaf, now_ms)
    order = forecast.order_of(state, look.looking)
    place = _place(state, task, look, order)
    closed = [*look.closed_gates(task.press_ms)]
    lacks = look.lacking()
    if lacks is not None:
        closed.append(lacks)
    closed += _operation(state, task)
    if is_over(task.expires_ms, now_ms):
        closed.append(Reason("task.expired", 0, 0, now_ms))
    if place.rank > 1 or place.before:
        closed.append(Reason("turn", 0, place.rank - 1 if place.before is None else place.before))
    start, unknown = forecast.start(state, look.nodes, place, closed, look.looking, order, task.press_ms)
    return WhyAnswer(task, None, tuple(closed), place, start, unknown)


def _operation(state: State, task: Task) -> Iterator[Reason]:
    operation = wanted_by(state, task)
    if operation is not None:
        yield Reason("operation", 0, 0, cause=f"{operation.kind.value} {operation.id}")


@dataclass(frozen=True, slots=True)
class Look:
    """What the next lease of a leaf has to pass, as it is now."""

    state: State
    leaf: Leaf
    nodes: tuple[Node, ...]
    """Of its class, its tenant, its function and itself: in the order in which they are met."""
    looking: Looking

    @classmethod
    def at(cls, state: State, leaf: Leaf, now_ms: int) -> Look:
        path = path_of(leaf)
        found = [state.turns.tree.find(path[:depth]) for depth in range(1, len(path) + 1)]
        return cls(state, leaf, tuple(node for node in found if node is not None), Looking(now_ms))

    def closed_gates(self, press_ms: int | None) -> Iterator[Reason]:
        """Those that let none of its tasks through now, for one that is pressed at that time."""
        for node in self.nodes:
            for line in node.lines:
                if not self.looking.keeps(line, node):
                    continue
                reason = forecast.pressed(self.looking.reason(line), press_ms)
                ahead = line.waiting().index(node) if self.looking.free(line) > 0 else 0
                yield replace(reason, cause=f"line {ahead}") if ahead else reason

    def lacking(self) -> Reason | None:
        """What is missing for its next lease on the runners."""
        state, demand = self.state, self.state.turns.demand_of(self.leaf)
        return room.lacking(
            state.pool, demand, state.limits.lease_ahead_max, self.looking.now_ms, self._lasts_ms(demand)
        )

    def _lasts_ms(self, demand: Demand) -> int | None:
        """How long its next lease would be expected to last: see `schedule`."""
        state = self.state
        function, speed = state.functions[self.leaf.function], state.speeds.get(self.leaf.function)
        could = room.slots(room.suitable(state.pool, demand), demand)
        slots = max(1, max(1, could) // max(1, len(state.queues)))
        size = lease.lease_size(state.queues[self.leaf], slots, speed, function, state.limits)
        gates = [self.looking.free(line) for node in self.nodes for line in node.lines]
        return lease.lasts_ms(max(1, min([size, ROOM_MAX, *gates])), speed, function)


def _place(state: State, task: Task, look: Look, order: Order) -> Place:
    rank, exact = _rank(state, task)
    before = forecast.before(state, look.nodes, rank - 1, order) if exact else None
    return Place(rank, exact, state.queues[task.leaf].count, before)


def _rank(state: State, task: Task) -> tuple[int, bool]:
    """The task's place in its queue, and whether it was found."""
    queue = state.queues[task.leaf]
    for at, entry in enumerate(queue.head, start=1):
        if entry.no == task.no:
            return at, True
    last = queue.head[-1]
    rank, after = len(queue.head), QueueKey(last.due_ms, last.no)
    while rank < len(queue.head) + RANK_LOOKED_AT_MAX:
        page = state.table.next_queued(task.leaf, after, queue.head_max)
        found = _index(page, task.no)
        if found is not None:
            return rank + found + 1, True
        if not page:
            break
        rank, after = rank + len(page), page[-1]
    return rank + 1, False


def _index(page: list[QueueKey], no: TaskNo) -> int | None:
    return next((at for at, key in enumerate(page) if key.no == no), None)
