"""What runs next, and where: the next lease to grant, or none."""

from __future__ import annotations

from taskservice.core import lease
from taskservice.core.bulk import leasable
from taskservice.core.demand import Demand, demand_for
from taskservice.core.fairness import CLASS_WEIGHTS
from taskservice.core.records import LeaseGranted
from taskservice.core.state import State
from taskservice.core.types import Leaf, Token


def next_lease(state: State, passed_over: dict[Leaf, Demand | None], now_ms: int) -> LeaseGranted | None:
    """The next lease by fair share that some runner has room for, or None.

    Leaves whose turn it was are added to `passed_over`: with what they ask for if there is no room for it, with None if
    their tasks are held by a bulk operation, or their tenant may run no more. The caller puts them back
    (`Fairness.put_back`) when its round is over.
    """
    while (leaf := state.fairness.next()) is not None:
        queue = state.queue(leaf)
        if not queue.count:
            continue
        granted = _grant(state, leaf, now_ms)
        if isinstance(granted, LeaseGranted):
            return granted
        passed_over[leaf] = granted
    return None


def _grant(state: State, leaf: Leaf, now_ms: int) -> LeaseGranted | Demand | None:
    """The leaf's next lease; or its demand if there is no room for it; or None if it may have no lease."""
    function = state.functions[leaf.function]
    speed = state.speeds.get(leaf.function)
    demand = demand_for(function.resources)
    queue = state.queue(leaf)
    size = lease.lease_size(queue, state.pool.slots(demand), speed, function, state.limits)
    size = min(size, _running_left(state, leaf))
    if size <= 0:
        return None
    lasts_ms = lease.lasts_ms(size, speed, function)
    runner = state.pool.place(demand, state.limits.lease_ahead_max, now_ms, lasts_ms)
    if runner is None:
        return demand
    nos = leasable(state, queue, size)
    if not nos:
        return None
    return LeaseGranted(now_ms, Token(state.epoch, state.next_lease), runner.id, leaf, nos)


def _running_left(state: State, leaf: Leaf) -> int:
    """How many tasks more the tenant may have running."""
    tenant = state.tenants.get(leaf.tenant)
    if tenant is None or tenant.running_max is None:
        return state.limits.lease_tasks_max
    return tenant.running_max - state.running.get(leaf.tenant, 0)


def charge(state: State, granted: LeaseGranted) -> None:
    """The lease occupies its runner, and its leaf has paid for it and stands in the order again."""
    leaf = granted.leaf
    function = state.functions[leaf.function]
    speed = state.speeds.get(leaf.function)
    lasts_ms = lease.lasts_ms(len(granted.nos), speed, function)
    state.pool.occupy(
        granted.runner,
        granted.token,
        demand_for(function.resources),
        short=lease.is_short(lasts_ms, state.limits),
        now_ms=granted.at_ms,
        lasts_ms=lasts_ms,
    )
    share = state.weight(leaf.tenant) * CLASS_WEIGHTS[leaf.priority]
    state.fairness.charge(leaf, lease.cost_s(len(granted.nos), speed, function), share)
    if state.queue(leaf).count:
        state.fairness.wake(leaf)
