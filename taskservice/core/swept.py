"""What the records of bulk operations make true: the part of `apply` that is theirs.

A step's record does not name its tasks: which they are follows from the table as it is then, alive and in recovery alike.
"""

from __future__ import annotations

from msgspec.structs import replace

from taskservice.core import records as r
from taskservice.core.effects import Effect, Ended
from taskservice.core.notes import note_sweeps
from taskservice.core.state import State
from taskservice.core.sweep import Sweep
from taskservice.core.table import Swept
from taskservice.core.types import Leaf, TaskState


def begun(state: State, record: r.SweepBegun) -> list[tuple[int, Effect]]:
    """The sweep is under way."""
    _put(state, record.sweep)
    return []


def stepped(state: State, record: r.SweepStep) -> list[tuple[int, Effect]]:
    """The sweep has come to another place, and is done if the record says so."""
    before = state.sweeps.under_way[record.id]
    effects: list[tuple[int, Effect]] = []
    changed = before.changed
    if record.leaf is not None and before.dry_run:
        after_no = before.done_with(record.leaf)
        changed += state.table.count_between(record.leaf, before.filter, after_no, record.to_no)
    elif record.leaf is not None:
        after_no = before.done_with(record.leaf)
        swept = state.table.cancel_between(record.leaf, before.filter, after_no, record.to_no, record.at_ms)
        changed += len(swept.ids)
        effects = _ended(state, record.leaf, swept)
    now = replace(before, leaf=record.leaf, no=record.to_no, changed=changed)
    if record.done:
        now = replace(now, done_ms=record.at_ms, matched=changed if now.matched is None else now.matched)
    _put(state, now)
    return effects


def caught(state: State, record: r.SweepCaught) -> None:
    """The sweep has changed these tasks before it has come to them."""
    before = state.sweeps.under_way[record.id]
    _put(state, replace(before, changed=before.changed + len(record.nos)))


def _ended(state: State, leaf: Leaf, swept: Swept) -> list[tuple[int, Effect]]:
    if not swept.ids:
        return []
    state.unfinished[leaf.tenant] -= len(swept.ids)
    if swept.queued:
        # The next step may remove these as well: so no more of them are read than a lease may have.
        refill_max = state.limits.lease_tasks_max
        state.queue(leaf).remove(swept.queued, swept.queued_bytes, state.table, state.segment, refill_max)
    return [(state.segment, Ended(TaskState.CANCELLED, tuple((leaf.tenant, id) for id in swept.ids)))]


def _put(state: State, sweep: Sweep) -> None:
    note_sweeps(state.table, sweep.owner, state.sweeps.put(sweep))
