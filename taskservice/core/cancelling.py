"""Tasks that run and are to be cancelled: each has an order on record, and is cancelled when its attempt has ended."""

from __future__ import annotations

from collections.abc import Iterable

from taskservice.core.orders import Order, OrderKind, OrdersGiven
from taskservice.core.state import State
from taskservice.core.types import Task, TaskNo, Token

WHY = "somebody has cancelled it"


def orders_to_cancel(state: State, tasks: Iterable[Task], now_ms: int) -> OrdersGiven | None:
    """What the leases of these running tasks are to be told; None: they have all been told."""
    by_lease: dict[Token, dict[TaskNo, None]] = {}
    for task in tasks:
        assert task.token is not None, f"{task.id} does not run"
        by_lease.setdefault(task.token, {})[task.no] = None
    orders: list[Order] = []
    for token, nos in by_lease.items():
        lease = state.leases[token]
        known = lease.cancelling
        news = tuple(no for no in nos if no not in known)
        if news:
            grace_ms = state.functions[lease.leaf.function].grace_ms
            orders.append(Order(token, OrderKind.CANCEL, grace_ms, WHY, news))
    return OrdersGiven(now_ms, tuple(orders)) if orders else None


def cancelling(state: State, tasks: Iterable[Task]) -> tuple[TaskNo, ...]:
    """Those of these tasks that run and are to be cancelled."""
    by_lease = {token: state.leases[token].cancelling for token in {task.token: None for task in tasks} if token}
    return tuple(task.no for task in tasks if task.token is not None and task.no in by_lease[task.token])
