"""A shard's state from its table alone: what the file that a commit left is good for.

    State --commit--> table ... file ... table --restore--> State

What is restored is the durable half of what was committed. Records that came later are folded on top, by the same `apply`.
"""

from __future__ import annotations

from taskservice.core import notes
from taskservice.core.limits import Limits
from taskservice.core.queues import LeafQueue
from taskservice.core.schedules_apply import place
from taskservice.core.state import Lease, State, lease_of
from taskservice.core.table import Grant, Mark, TaskTable
from taskservice.core.types import TERMINAL_STATES, TaskState


def commit(state: State, mark: Mark) -> None:
    """The table is committed, and holds all that the state knows that is durable. `mark`: the place of its last record."""
    numbers = notes.Numbers(state.epoch, state.next_no, state.next_lease, state.catalog_version)
    notes.note_numbers(state.table, numbers)
    state.table.commit(mark)


def restore(table: TaskTable, limits: Limits) -> State:
    """The state whose last `commit` the table holds; a new shard's if the table is empty.

    Takes time with the leaves there are and the tasks that run, and not with the tasks that wait or have ended.
    """
    numbers = notes.numbers(table)
    state = State(
        table,
        limits,
        epoch=numbers.epoch,
        next_no=numbers.next_no,
        next_lease=numbers.next_lease,
        catalog_version=numbers.catalog_version,
        tenants=notes.tenants(table),
        keys=notes.keys(table),
        functions=notes.functions(table),
        policies=notes.policies(table),
        operations=notes.operations(table),
        deadlines=notes.deadlines(table),
        outbox=notes.outbox(table),
        apps=notes.apps(table),
        triggers=notes.triggers(table),
    )
    state.leases = {grant.token: _lease(table, grant) for grant in table.grants()}
    for token, orders in notes.orders(table).items():
        state.leases[token].orders = orders
    for (leaf, task_state), count in table.counts().items():
        if task_state not in TERMINAL_STATES:
            state.unfinished[leaf.tenant] = state.unfinished.get(leaf.tenant, 0) + count
        if task_state is TaskState.RUNNING:
            state.running.change(leaf, count)
        if task_state is TaskState.QUEUED and count:
            _restore_queue(state, state.queue(leaf), count)
    for known in notes.schedules(table):
        place(state, known.schedule, known.progress)
    return state


def _lease(table: TaskTable, grant: Grant) -> Lease:
    tasks = table.load(grant.nos)
    return lease_of(grant.token, grant.runner, tasks[0].leaf, tasks, tasks[0].version)


def _restore_queue(state: State, queue: LeafQueue, count: int) -> None:
    """The head is as long as a lease may be: the rest is read when it is wanted."""
    limits = state.limits
    queue.restore(count, state.table.queued_bytes(queue.leaf))
    first = state.table.next_queued(queue.leaf, None, min(limits.lease_tasks_max, limits.head_tasks_max))
    queue.fill(first, state.segment)
