"""What follows for leases, counts and those who wait when attempts are over: the part of `apply` that is the same for all ends."""

from __future__ import annotations

from collections.abc import Sequence

from taskservice.core import records as r
from taskservice.core.callbacks_apply import owe
from taskservice.core.effects import Ended, Held
from taskservice.core.notes import note_deadlines, note_orders
from taskservice.core.orders import TasksStopped
from taskservice.core.state import Lease, State
from taskservice.core.types import TaskNo, TaskState


def ended(
    state: State, record: r.TasksSucceeded | r.TasksFailed | TasksStopped, nos: Sequence[TaskNo], how: TaskState
) -> list[Held]:
    """These tasks of the record's lease have ended like that, and whoever waits for them is told."""
    lease = state.leases[record.token]
    open_, tenant = lease.open, lease.leaf.tenant
    tasks = tuple([(tenant, open_[no].id) for no in nos])
    # What nobody wants any more has neither kept its deadline nor missed it.
    if lease.dated and how is not TaskState.CANCELLED:
        kept = state.deadlines.ended(lease.leaf, [open_[no].deadline_ms for no in nos], record.at_ms)
        if kept is not None:
            note_deadlines(state.table, lease.leaf, kept)
    state.unfinished[tenant] = state.unfinished.get(tenant, 0) - len(nos)
    hooked = [no for no in nos if open_[no].hooked] if lease.hooked else ()
    state.meters.ended(lease.leaf, how, len(nos))
    close(state, lease, nos)
    held: list[Held] = [(state.segment, Ended(how, tasks))]
    return held + owe(state, hooked) if hooked else held


def close(state: State, lease: Lease, nos: Sequence[TaskNo]) -> None:
    """These attempts of the lease are over; when all are, there is no such lease any more."""
    for no in nos:
        del lease.open[no]
        if lease.logs:
            lease.logs.pop(no, None)
    state.running.change(lease.leaf, -len(nos))
    state.turns.gates.freed(lease.leaf)
    if not lease.open:
        del state.leases[lease.token]
        if lease.orders:
            note_orders(state.table, lease.token, ())
