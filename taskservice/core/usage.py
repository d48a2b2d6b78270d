"""Who has how much of what: shares and what is due by weights, quotas, rates, windows, budgets, queues. A look that changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from taskservice.core.downstreams import Downstreams
from taskservice.core.flow.gate import Reason
from taskservice.core.flow.quota import Owner
from taskservice.core.flow.running import AtMost
from taskservice.core.insight import FunctionUse, OwnUse, UsageAnswer, UsageAsked, WindowChange, WindowUse
from taskservice.core.looking import asked
from taskservice.core.specs import ClassPolicy, FunctionPolicy, Quota
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, FunctionName, Priority, TenantId

CHANGES_SHOWN = 10
"""Of a window."""

Spent = Mapping[tuple[Priority, TenantId], float]
"""By class and tenant."""


def usage(state: State, event: UsageAsked, now_ms: int) -> UsageAnswer:
    """What the tenant has and may have; or everybody, and the classes."""
    turns, tenant = state.turns, event.tenant
    counts = _counts(state, tenant)
    spent = turns.spent.total(now_ms)
    due = _due(state, spent)
    by_class, by_tenant = (_Shares.by(at, spent, due) for at in (0, 1))
    tenants = [id for id in state.tenants if tenant in (None, id)]
    names = [name for name in state.functions if tenant is None or name in counts]
    windows = turns.gates.downstreams.windows if tenant is None else _windows_of(turns.gates.downstreams, names)
    callers = _callers(state)
    return UsageAnswer(
        turns.spent.span_s(now_ms),
        _sorted(state.pool.capacity()),
        tuple(_tenant(state, id, by_tenant, now_ms) for id in tenants),
        tuple(_class(state, each, by_class) for each in Priority) if tenant is None else (),
        tuple(_function(state, name, counts.get(name, {}), now_ms) for name in sorted(names)),
        tuple(_window(state, name, callers.get(name, ()), now_ms) for name in sorted(windows)),
    )


def _counts(state: State, tenant: TenantId | None) -> dict[FunctionName, dict[str, int]]:
    """Unfinished tasks by function and state."""
    counts: dict[FunctionName, dict[str, int]] = {}
    for (leaf, task_state), count in state.table.counts(tenant).items():
        if count and task_state not in TERMINAL_STATES:
            by_state = counts.setdefault(leaf.function, {})
            by_state[task_state.value] = by_state.get(task_state.value, 0) + count
    return counts


def _due(state: State, spent: Spent) -> Spent:
    """What each is due by weights, of those that had work: that used something, or stand in the order now."""
    working = dict.fromkeys([*(whose for whose, seconds in spent.items() if seconds > 0), *_standing(state)])
    tree_weight = state.turns.weight_of
    classes = {priority: tree_weight((priority,)) for priority in dict.fromkeys(priority for priority, _ in working)}
    weights = {whose: tree_weight(whose) for whose in working}
    sums: dict[Priority, float] = {}
    for (priority, _), weight in weights.items():
        sums[priority] = sums.get(priority, 0.0) + weight
    total = sum(classes.values())
    return {whose: classes[whose[0]] / total * weight / sums[whose[0]] for whose, weight in weights.items()}


def _standing(state: State) -> Iterable[tuple[Priority, TenantId]]:
    """The classes and tenants that have queued tasks."""
    return dict.fromkeys((leaf.priority, leaf.tenant) for leaf in state.queues)


class _Shares(NamedTuple):
    """Machine seconds by who used them, and the parts of all that are due."""

    used_s: dict[str, float]
    due: dict[str, float]
    total_s: float

    @classmethod
    def by(cls, at: int, spent: Spent, due: Spent) -> _Shares:
        """Of tenants (`at` 1) or classes (0)."""
        sums: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for into, amounts in zip(sums, (spent, due), strict=True):
            for whose, amount in amounts.items():
                into[whose[at]] = into.get(whose[at], 0.0) + amount
        return cls(*sums, sum(spent.values()))

    def of(self, name: str) -> tuple[float, float, float | None]:
        """Machine seconds, their part of all, and the part that is due."""
        used_s = self.used_s.get(name, 0.0)
        return used_s, used_s / self.total_s if self.total_s else 0.0, self.due.get(name)


def _tenant(state: State, id: TenantId, shares: _Shares, now_ms: int) -> OwnUse:
    tenant, running = state.tenants[id], state.running.tenants
    gates = _levels(state, ("tenant.rate", "tenant.submit_rate"), id, now_ms)
    gates += _at_most("tenant.running_max", running, id, tenant.running_max, now_ms)
    return OwnUse(
        id,
        tenant.weight,
        *shares.of(id),
        running.get(id, 0),
        tenant.quota,
        _held(state, ("tenant", id)),
        tuple(gates),
        state.unfinished.get(id, 0),
        tenant.queued_max,
    )


def _class(state: State, name: Priority, shares: _Shares) -> OwnUse:
    policy = state.policies.get(("class", name))
    quota = policy.quota if isinstance(policy, ClassPolicy) else Quota()
    return OwnUse(
        name, state.turns.weight_of((name,)), *shares.of(name), quota=quota, holds=_held(state, ("class", name))
    )


def _function(state: State, name: FunctionName, counts: dict[str, int], now_ms: int) -> FunctionUse:
    function, speed, running = state.functions[name], state.speeds.get(name), state.running.functions
    found = state.policies.get(("function", name))
    policy = found if isinstance(found, FunctionPolicy) else FunctionPolicy(name)
    max_running = function.max_running if policy.max_running is None else policy.max_running
    gates = _levels(state, ("function.rate", "function.submit_rate"), name, now_ms)
    gates += _at_most("function.max_running", running, name, max_running, now_ms)
    budget = state.turns.gates.downstreams.known_budget(name)
    return FunctionUse(
        name,
        counts,
        None if speed is None or speed.mean_us is None else speed.mean_us / 1e6,
        running.get(name, 0),
        policy.paused,
        function.downstream,
        policy.quota,
        _held(state, ("function", name)),
        tuple(gates),
        None if budget is None else asked(budget).reason(now_ms),
    )


def _levels(state: State, names: Iterable[str], of: str, now_ms: int) -> list[Reason]:
    """How full the buckets are."""
    buckets = (state.turns.gates.buckets.get((name, of)) for name in names)
    return [asked(bucket).reason(now_ms) for bucket in buckets if bucket is not None]


def _at_most(name: str, counts: Mapping[str, int], of: str, most: int | None, now_ms: int) -> list[Reason]:
    return [] if most is None else [AtMost(name, counts, of, most).reason(now_ms)]


def _held(state: State, owner: Owner) -> tuple[tuple[str, int], ...]:
    return _sorted(state.turns.usage.used(owner))


def _sorted(amounts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(amounts.items()))


def _windows_of(downstreams: Downstreams, names: Iterable[FunctionName]) -> list[str]:
    """The windows that tasks of these functions pass."""
    passed = dict.fromkeys(downstreams.name_of(name) for name in names)
    return [name for name in passed if name in downstreams.windows]


def _callers(state: State) -> dict[str, list[FunctionName]]:
    """Functions by the downstream that they call."""
    callers: dict[str, list[FunctionName]] = {}
    for each in sorted(state.functions):
        callers.setdefault(state.turns.gates.downstreams.name_of(each), []).append(each)
    return callers


def _window(state: State, name: str, callers: Iterable[FunctionName], now_ms: int) -> WindowUse:
    view = state.turns.gates.downstreams.windows[name].view(now_ms)
    changes = [WindowChange(change.at_ms, change.limit, change.why.value) for change in view.changes[-CHANGES_SHOWN:]]
    return WindowUse(
        name,
        tuple(callers),
        view.limit,
        view.in_flight,
        view.floor,
        view.ceiling,
        view.frozen,
        view.round_trip_ms / 1000,
        view.reason,
        tuple(changes),
    )
