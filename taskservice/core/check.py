"""The invariants, as one function: run after every step of every test, and by `doctor`'s deeper looks.

Each line says what can never be seen; a violation is a bug, and prints the story of the task that shows it.
"""

from __future__ import annotations

from collections import Counter

from taskservice.core.queues import LeafQueue
from taskservice.core.resources import Amounts, add
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, FunctionName, Leaf, TaskNo, TaskState, TenantId


class Corrupt(Exception):
    """Two things that the shard knows contradict each other."""


def check(state: State) -> None:
    """Nothing that the shard knows contradicts the rest; raises Corrupt otherwise."""
    counts = state.table.counts()
    _check_queues(state, counts)
    _check_leases(state, counts)
    _check_tenants(state, counts)
    _check_totals(state, counts)
    _check_pool(state)
    _check_gates(state)
    _check_past(state)
    _check_operations(state)
    _check_schedules(state)
    _check_outbox(state)
    _check_versions(state, counts)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise Corrupt(message)


def _check_queues(state: State, counts: dict[tuple[Leaf, TaskState], int]) -> None:
    for (leaf, task_state), count in counts.items():
        if task_state is TaskState.QUEUED and count:
            _require(leaf in state.queues, f"{leaf} has {count} queued tasks and no queue")
    for leaf, queue in state.queues.items():
        queued = counts.get((leaf, TaskState.QUEUED), 0)
        _require(queue.count == queued, f"{leaf}: the queue counts {queue.count}, the table {queued}")
        _require(queued > 0, f"{leaf} has a queue and no queued task")
        _check_head(state, queue)
    stock = {leaf: (group.tasks, group.queues) for leaf, group in state.stock.groups.items()}
    _require(stock == _stocked(state), f"the stock says {stock}, the queues {_stocked(state)}")
    standing = [leaf for leaf, _ in state.turns.tree.leaves()]
    _require(sorted(standing) == sorted(state.queues), f"of {list(state.queues)} only {standing} have their turns")


def _check_totals(state: State, counts: dict[tuple[Leaf, TaskState], int]) -> None:
    for tenant in state.tenants:
        summed = Counter[tuple[FunctionName, TaskState]]()
        for (leaf, task_state), count in counts.items():
            if leaf.tenant == tenant:
                summed[leaf.function, task_state] += count
        totals = {place: count for place, count in state.table.totals(tenant).items() if count}
        _require(totals == +summed, f"{tenant}: the totals are {totals}, the counts {dict(summed)}")


def _stocked(state: State) -> dict[Leaf, tuple[int, int]]:
    """Tasks and queues by group."""
    found: dict[Leaf, tuple[int, int]] = {}
    for leaf, queue in state.queues.items():
        tasks, queues = found.get(leaf.group, (0, 0))
        found[leaf.group] = tasks + queue.count, queues + 1
    return found


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
            _require(
                task.version == lease.version, f"task {task.no} runs on {task.version}, its lease on {lease.version}"
            )
            known = lease.open[task.no]
            _require(
                (known.attempt, known.crashes, known.losses, known.preempted, known.throttles)
                == (task.attempt, task.crashes, task.losses, task.preempted, task.throttles),
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
        ("running", state.running.tenants, running),
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
        for token in runner.leases:
            _require(state.pool.holds(token), f"{runner.id} has lease {token}, and the pool does not know")


def _check_gates(state: State) -> None:
    downstreams, counts = state.turns.gates.downstreams, state.running.functions
    for name, window in downstreams.windows.items():
        callers = [function for function in state.functions if downstreams.name_of(function) == name]
        running = sum(counts.get(function, 0) for function in callers)
        _require(window.in_flight == running, f"{name}: its window counts {window.in_flight} in flight, {running} run")
    known = {token for runner in state.pool.runners.values() for token in runner.leases}
    for token, leaf in state.turns.usage.leases():
        _require(token in known, f"{token} of {leaf} counts for quotas, and no runner has it")


def _check_past(state: State) -> None:
    files, entries = state.table.past.files(), state.table.past.entries()
    _require(sum(files.values()) == entries, f"{entries} tasks are known in history, and of its files {files}")
    counted = sum(state.table.past.counts().values())
    _require(counted == entries, f"{entries} tasks are known in history, and {counted} are counted")


def _check_operations(state: State) -> None:
    operations = state.operations
    remembered = {id: each for group in operations.by_owner.values() for id, each in group.items()}
    under_way = {id: each for id, each in remembered.items() if each.done_ms is None}
    _require(
        operations.under_way == under_way, f"{list(operations.under_way)} are under way, and not {list(under_way)}"
    )
    places = [each.upto_no for each in operations.under_way.values()]
    _require(places == sorted(places), "operations under way are not in the order in which they began")
    _require(not under_way or operations.next() is not None, "all operations under way wait for others")
    for each in under_way.values():
        _require(each.upto_no < state.next_no, f"{each.id} means tasks that there are not yet")


def _check_outbox(state: State) -> None:
    known, owed = state.outbox.first_ms, state.table.deliveries.endpoints()
    _require(known == owed, f"of endpoints something is due at {known}, and in the table at {owed}")
    open_ = sorted(key for key in owed if not state.outbox.is_disabled(key))
    _require(sorted(state.outbox.due(2**62)) == open_, f"of {open_} only {list(state.outbox.due(2**62))} have a turn")


def _check_versions(state: State, counts: dict[tuple[Leaf, TaskState], int]) -> None:
    apps = state.apps
    for app, rollout in apps.rollouts.items():
        versions = apps.versions.get(app, {})
        for number in (rollout.current, *([rollout.canary] if rollout.canary else [])):
            _require(number in versions, f"app {app} runs version {number}, and there is none")
        _require(
            max(versions) <= rollout.last, f"app {app} has version {max(versions)}, and gave {rollout.last} numbers"
        )
    for (leaf, task_state), count in counts.items():
        if leaf.pin and count and task_state not in TERMINAL_STATES:
            known = (leaf.function, leaf.pin) in apps.specs
            _require(known, f"tasks of {leaf} stay on a version that there is not")


def _check_schedules(state: State) -> None:
    schedules = state.schedules
    earliest_ms = min(schedules.turns.values(), default=None)
    _require(schedules.next_ms() == earliest_ms, f"the next turn is {schedules.next_ms()}, and one is {earliest_ms}")
    for (tenant, id), key in schedules.watched.items():
        last = state.table.find(tenant, [id]).get(id)
        _require(last is not None and last.state not in TERMINAL_STATES, f"{key} waits for {id}, which has ended")
    for known in schedules.of(None):
        key, progress = known.schedule.key, known.progress
        planned, waits = key in schedules.turns, progress.waiting_ms is not None
        _require(planned or progress.next_ms is None, f"{key} has a next time and no turn")
        _require(planned or not waits or key in schedules.watched.values(), f"{key} has a time that waits for nothing")
