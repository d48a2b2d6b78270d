"""What runs next, and where: the next lease to grant, or none."""

from __future__ import annotations

from taskservice.core import lease
from taskservice.core.bulk import leasable
from taskservice.core.fairness import CLASS_WEIGHTS
from taskservice.core.records import LeaseGranted
from taskservice.core.resources import amounts
from taskservice.core.state import State
from taskservice.core.types import Leaf, Token


def next_lease(state: State, passed_over: list[Leaf], now_ms: int) -> LeaseGranted | None:
    """The next lease by fair share that some runner has room for, or None.

    Leaves whose turn it was but for which there is no room, or whose tasks a bulk operation holds or have expired, are added to
    `passed_over`; the caller puts them back (`Fairness.put_back`) when its round is over.
    """
    while (leaf := state.fairness.next()) is not None:
        queue = state.queue(leaf)
        if not queue.count:
            continue
        granted = _grant(state, leaf, now_ms)
        if granted is not None:
            return granted
        passed_over.append(leaf)
    return None


def _grant(state: State, leaf: Leaf, now_ms: int) -> LeaseGranted | None:
    function = state.functions[leaf.function]
    need = amounts(function.resources)
    runner = state.pool.best_for(need, state.limits.lease_ahead_max)
    if runner is None:
        return None
    queue = state.queue(leaf)
    slots = state.pool.slots(need)
    size = lease.lease_size(queue, slots, state.speeds.get(leaf.function), function, state.limits)
    size = min(size, _running_left(state, leaf))
    if size <= 0:
        return None
    nos = leasable(state, queue, size, now_ms)
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
    short = lease.is_short(len(granted.nos), speed, function, state.limits)
    state.pool.runners[granted.runner].occupy(granted.token, amounts(function.resources), short=short)
    share = state.weight(leaf.tenant) * CLASS_WEIGHTS[leaf.priority]
    state.fairness.charge(leaf, lease.cost_s(len(granted.nos), speed, function), share)
    if state.queue(leaf).count:
        state.fairness.wake(leaf)
