"""What follows from tasks that were changed on request, or whose time is over: the part of `apply` that is the same for
those that are named and for the steps of operations on all that pass a filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from taskservice.core import records as r
from taskservice.core.callbacks_apply import owe
from taskservice.core.changes import Change
from taskservice.core.effects import Deleted, Effect, Ended, Held, ValuesDropped
from taskservice.core.operations import OperationKind
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.state import State
from taskservice.core.table import Changed
from taskservice.core.types import TaskId, TaskState, TenantId

Tell = Callable[[tuple[tuple[TenantId, TaskId], ...]], Effect]
"""What whoever waits for these tasks is told."""

TOLD: dict[OperationKind, Tell] = {
    OperationKind.CANCEL: partial(Ended, TaskState.CANCELLED),
    OperationKind.DELETE: Deleted,
}
"""Of the changes that are worth telling."""


def cancelled(state: State, record: r.TasksCancelled) -> list[Held]:
    """The tasks are cancelled."""
    change = Change(OperationKind.CANCEL, record.at_ms)
    return follow(state, state.table.change(change, record.nos), TOLD.get(change.kind))


def changed(state: State, record: r.TasksChanged) -> list[Held]:
    """What was asked for is done to the tasks."""
    return follow(state, state.table.change(record.change, record.nos), TOLD.get(record.action))


def expired(state: State, record: r.TasksExpired) -> list[Held]:
    """The tasks have expired."""
    return follow(state, state.table.expire(record.nos, record.at_ms), partial(Ended, TaskState.EXPIRED))


def pressed(state: State, record: TasksPressed) -> list[Held]:
    """The tasks have left the off-peak lanes."""
    return follow(state, state.table.press(record.nos), None)


def put_off(state: State, record: PressesPutOff) -> list[Held]:
    """The tasks may stay in the off-peak lanes for longer."""
    state.table.put_off(record.rows)
    return []


def follow(state: State, found: Sequence[Changed], tell: Tell | None, refill_max: int | None = None) -> list[Held]:
    """Queues and counts are as the table is after these changes. `refill_max`: how much of a queue is read whose head has been
    changed away, if not as much as fits."""
    effects: list[Held] = []
    for each in found:
        tenant = each.leaf.tenant
        state.unfinished[tenant] = state.unfinished.get(tenant, 0) + each.unfinished
        if each.left:
            state.queue(each.leaf).remove(each.left, each.left_bytes, state.table, state.segment, refill_max)
            state.emptied(each.leaf)
        if each.entered:
            state.queue(each.leaf).add_all(each.entered, each.entered_bytes, state.segment)
        effects += drop_values(state, each.values)
        effects += owe(state, each.hooked)
    tasks = tuple((each.leaf.tenant, id) for each in found for id in each.ids)
    if tell is not None and tasks:
        told = tell(tasks)
        effects.append((state.segment, told))
        if isinstance(told, Ended):
            for each in found:
                state.meters.ended(each.leaf, told.state, len(each.ids))
    return effects


def drop_values(state: State, keys: tuple[str, ...]) -> list[Held]:
    """Nothing refers to the values of these keys any more: for records that take tasks or results away."""
    if not keys:
        return []
    state.table.drop_references(keys)
    return [(state.segment, ValuesDropped(keys))]
