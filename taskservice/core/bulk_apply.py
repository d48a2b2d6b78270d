"""What the records of bulk operations make true: the part of `apply` that is theirs.

A step's record does not name its tasks: which they are follows from the table as it is then, alive and in recovery alike.
"""

from __future__ import annotations

from msgspec.structs import replace

from taskservice.core import records as r
from taskservice.core.effects import Effect, Ended
from taskservice.core.notes import note_operations
from taskservice.core.operations import Operation
from taskservice.core.state import State
from taskservice.core.table import Changed
from taskservice.core.types import Leaf, TaskState


def begun(state: State, record: r.OperationBegun) -> list[tuple[int, Effect]]:
    """The operation is under way."""
    _put(state, record.operation)
    return []


def stepped(state: State, record: r.OperationStep) -> list[tuple[int, Effect]]:
    """The operation has come to another place, and is done if the record says so."""
    before = state.operations.under_way[record.id]
    effects: list[tuple[int, Effect]] = []
    changed = before.changed
    if record.leaf is not None and before.dry_run:
        after_no = before.done_with(record.leaf)
        changed += state.table.count_between(record.leaf, before.filter, after_no, record.to_no)
    elif record.leaf is not None:
        after_no = before.done_with(record.leaf)
        cancelled = state.table.cancel_between(record.leaf, before.filter, after_no, record.to_no, record.at_ms)
        changed += len(cancelled.ids)
        effects = _ended(state, record.leaf, cancelled)
    now = replace(before, leaf=record.leaf, no=record.to_no, changed=changed)
    if record.done:
        now = replace(now, done_ms=record.at_ms, matched=changed if now.matched is None else now.matched)
    _put(state, now)
    state.operations.to_the_end(record.id)
    return effects


def caught(state: State, record: r.OperationCaught) -> None:
    """The operation has changed these tasks before it has come to them."""
    before = state.operations.under_way[record.id]
    _put(state, replace(before, changed=before.changed + len(record.nos)))


def _ended(state: State, leaf: Leaf, changed: Changed) -> list[tuple[int, Effect]]:
    if not changed.ids:
        return []
    state.unfinished[leaf.tenant] -= len(changed.ids)
    if changed.queued:
        # The next step may remove these as well: so no more of them are read than a lease may have.
        refill_max = state.limits.lease_tasks_max
        state.queue(leaf).remove(changed.queued, changed.queued_bytes, state.table, state.segment, refill_max)
        state.emptied(leaf)
    return [(state.segment, Ended(TaskState.CANCELLED, tuple((leaf.tenant, id) for id in changed.ids)))]


def _put(state: State, operation: Operation) -> None:
    note_operations(state.table, operation.owner, state.operations.put(operation))
