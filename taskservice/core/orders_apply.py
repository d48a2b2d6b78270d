"""What records of orders make true."""

from __future__ import annotations

from taskservice.core.effects import Held, Ordered
from taskservice.core.notes import note_orders
from taskservice.core.orders import OrdersGiven
from taskservice.core.state import State


def given(state: State, record: OrdersGiven) -> list[Held]:
    """The leases have these orders, and their runners are told."""
    held: list[Held] = []
    for order in record.orders:
        lease = state.leases[order.token]
        lease.orders = (*lease.orders, order)
        note_orders(state.table, order.token, lease.orders)
        held.append((state.segment, Ordered(lease.runner, order)))
    return held
