"""What the records of bulk operations make true: the part of `apply` that is theirs.

A step's record does not name its tasks: which they are follows from the table as it is then, alive and in recovery alike.
"""

from __future__ import annotations

from msgspec.structs import replace

from taskservice.core import records as r
from taskservice.core.change_apply import TOLD, follow
from taskservice.core.changes import Change
from taskservice.core.effects import Held
from taskservice.core.filters import ended_only
from taskservice.core.notes import note_operations
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.state import State
from taskservice.core.stretches import Stretch


def begun(state: State, record: r.OperationBegun) -> list[Held]:
    """The operation is under way."""
    _put(state, record.operation)
    return []


def stepped(state: State, record: r.OperationStep) -> list[Held]:
    """The operation has come to another place, and is done if the record says so."""
    before = state.operations.under_way[record.id]
    since_ms = record.at_ms if before.since_ms is None else before.since_ms
    effects: list[Held] = []
    changed = before.changed
    if record.leaf is not None:
        stretch = Stretch(record.leaf, before.done_with(record.leaf), record.to_no)
        if before.dry_run:
            changed += _count(state, before, stretch, since_ms)
        else:
            found = state.table.change_between(_change(before, record.at_ms), stretch, before.filter, since_ms)
            changed += len(found.ids) + _forget(state, before, stretch)
            # The next step may change these as well: so no more of them are read than a lease may have.
            effects = follow(state, [found], TOLD.get(before.kind), state.limits.lease_tasks_max)
    now = replace(before, leaf=record.leaf, no=record.to_no, changed=changed, since_ms=since_ms)
    if record.done:
        now = replace(now, done_ms=record.at_ms, matched=changed if now.matched is None else now.matched)
    _put(state, now)
    state.operations.to_the_end(record.id)
    return effects


def caught(state: State, record: r.OperationCaught) -> list[Held]:
    """The operation has changed these tasks before it has come to them."""
    before = state.operations.under_way[record.id]
    found = state.table.change(_change(before, record.at_ms), record.nos)
    _put(state, replace(before, changed=before.changed + len(record.nos)))
    return follow(state, found, TOLD.get(before.kind))


def _count(state: State, operation: Operation, stretch: Stretch, since_ms: int) -> int:
    """How many tasks of the stretch it would change."""
    here = state.table.count_between(stretch, operation.filter, since_ms)
    ended = ended_only(operation.filter)
    if operation.kind is not OperationKind.DELETE or not ended.states:
        return here
    return here + state.table.past.count_between(stretch, ended)


def _forget(state: State, operation: Operation, stretch: Stretch) -> int:
    """What passes in history is known no longer, if the operation deletes; gives how many tasks these are."""
    ended = ended_only(operation.filter)
    if operation.kind is not OperationKind.DELETE or not ended.states:
        return 0  # a filter without states would mean any
    return state.table.past.forget_between(stretch, ended)


def _change(operation: Operation, at_ms: int) -> Change:
    return Change(operation.kind, at_ms, operation.resume_ms)


def _put(state: State, operation: Operation) -> None:
    note_operations(state.table, operation.owner, state.operations.put(operation))
