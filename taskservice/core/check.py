"""The invariants, as one function: run after every step of every test, and by `doctor`'s deeper looks.

Each line says what can never be seen; a violation is a bug, and prints the story of the task that shows it.
"""

from __future__ import annotations

from taskservice.core.queues import LeafQueue
from taskservice.core.resources import Amounts, add
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, Leaf, TaskNo, TaskState, TenantId


class Corrupt(Exception):
    """Two things that the shard knows contradict each other."""


def check(state: State) -> None:
    """Nothing that the shard knows contradicts the rest; raises Corrupt otherwise."""
    counts = state.table.counts()
    _check_queues(state, counts)
    _check_leases(state, counts)
    _check_tenants(state, counts)
    _check_pool(state)
    _check_past(state)
    _check_operations(state)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise Corrupt(message)


def _check_queues(state: State, counts: dict[tuple[Leaf, TaskState], int]) -> None:
    for (leaf, task_state), count in counts.items():
        if task_state is TaskState.QUEUED and count:
            _require(leaf in state.queues, f"{leaf} has {count} queued tasks and no queue")
    waiting = state.fairness.waiting()
    _require(len(waiting) == len(dict.fromkeys(waiting)), "a leaf stands twice in the order")
    for leaf, queue in state.queues.items():
        queued = counts.get((leaf, TaskState.QUEUED), 0)
        _require(queue.count == queued, f"{leaf}: the queue counts {queue.count}, the table {queued}")
        _require(not queued or leaf in waiting, f"{leaf} has work and does not stand in the order")
        if queued or queue.head:
            _check_head(state, queue)


def _check_head(state: State, queue: LeafQueue) -> None:
    head = [(entry.due_ms, entry.no, entry.expires_ms) for entry in queue.head]
    _require(bool(head) or not queue.count, f"{queue.leaf}: {queue.count} tasks are queued and the head is empty")
    table = [tuple(key) for key in state.table.next_queued(queue.leaf, None, len(head))]
    _require(head == table, f"{queue.leaf}: the head is {head[:5]}..., the table begins {table[:5]}...")
    _require(
        not queue.complete or queue.payload_bytes == _queued_bytes(state, queue), f"{queue.leaf}: its bytes are wrong"
    )
    _require(queue.complete == (len(head) == queue.count), f"{queue.leaf}: 'complete' is wrong")


def _queued_bytes(state: State, queue: LeafQueue) -> int:
    return sum(len(task.payload) for task in state.table.load([entry.no for entry in queue.head]))


def _check_leases(state: State, counts: dict[tuple[Leaf, TaskState], int]) -> None:
    seen: dict[TaskNo, bool] = {}
    for token, lease in state.leases.items():
        _require(bool(lease.open), f"lease {token} has no open attempt and is kept")
        for task in state.table.load(list(lease.open)):
            _require(task.no not in seen, f"task {task.no} is in two leases")
            seen[task.no] = True
            _require(
                lease.open[task.no].expires_ms == task.expires_ms, f"lease and table know {task.no} to expire otherwise"
            )
            _require(task.state is TaskState.RUNNING and task.token == token, f"{token} does not hold {task}")
            known = lease.open[task.no]
            _require(
                (known.attempt, known.crashes, known.losses) == (task.attempt, task.crashes, task.losses),
                f"task {task.no}: lease and table count its attempts differently",
            )
    running = sum(count for (_, task_state), count in counts.items() if task_state is TaskState.RUNNING)
    _require(running == len(seen), f"{running} tasks are running and {len(seen)} are leased")


def _check_tenants(state: State, counts: dict[tuple[Leaf, TaskState], int]) -> None:
    unfinished: dict[TenantId, int] = {}
    running: dict[TenantId, int] = {}
    for (leaf, task_state), count in counts.items():
        if task_state not in TERMINAL_STATES:
            unfinished[leaf.tenant] = unfinished.get(leaf.tenant, 0) + count
        if task_state is TaskState.RUNNING:
            running[leaf.tenant] = running.get(leaf.tenant, 0) + count
    for what, known, counted in (
        ("unfinished", state.unfinished, unfinished),
        ("running", state.running, running),
    ):
        positive = {tenant: count for tenant, count in known.items() if count}
        recounted = {tenant: count for tenant, count in counted.items() if count}
        _require(positive == recounted, f"{what} tasks by tenant: known {positive}, counted {recounted}")


def _check_pool(state: State) -> None:
    for runner in state.pool.runners.values():
        used: Amounts = {}
        for occupied in runner.leases.values():
            add(used, occupied.need)
        _require(used == runner.used, f"{runner.id}: {runner.used} is booked, its leases take {used}")


def _check_past(state: State) -> None:
    files, entries = state.table.past.files(), state.table.past.entries()
    _require(sum(files.values()) == entries, f"{entries} tasks are known in history, and of its files {files}")
    counted = sum(state.table.past.counts().values())
    _require(counted == entries, f"{entries} tasks are known in history, and {counted} are counted")


def _check_operations(state: State) -> None:
    operations = state.operations
    remembered = {id: each for group in operations.by_owner.values() for id, each in group.items()}
    under_way = {id: each for id, each in remembered.items() if each.done_ms is None}
    _require(operations.under_way == under_way, f"{list(operations.under_way)} are under way, and not {list(under_way)}")
    places = [each.upto_no for each in operations.under_way.values()]
    _require(places == sorted(places), "operations under way are not in the order in which they began")
    _require(not under_way or operations.next() is not None, "all operations under way wait for others")
    for each in under_way.values():
        _require(each.upto_no < state.next_no, f"{each.id} means tasks that there are not yet")
