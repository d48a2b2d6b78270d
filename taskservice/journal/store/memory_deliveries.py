"""Deliveries of the table in memory: SQLite's must equal them."""

from __future__ import annotations

from collections.abc import Sequence

from taskservice.core.deliveries import Delivery, DeliveryKey, EndpointKey
from taskservice.core.types import TaskNo


class MemoryDeliveries:
    """A `Deliveries`. Takes time with all of them: simulations have few."""

    def __init__(self) -> None:
        self._all: dict[DeliveryKey, Delivery] = {}

    def copied_from(self, other: MemoryDeliveries) -> None:
        """It holds the same."""
        self._all = dict(other._all)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        self._all.update((one.key, one) for one in deliveries)

    def get(self, keys: Sequence[DeliveryKey]) -> list[Delivery]:
        return [self._all[key] for key in keys if key in self._all]

    def of_task(self, no: TaskNo) -> list[Delivery]:
        return sorted((one for one in self._all.values() if one.no == no), key=lambda one: one.run)

    def owed(self, endpoint: EndpointKey, until_ms: int, limit: int) -> list[Delivery]:
        due = [(at_ms, one) for at_ms, one in self._owed_to(endpoint) if at_ms <= until_ms]
        return [one for _, one in sorted(due, key=lambda each: each[0])][:limit]

    def next_ms(self, endpoint: EndpointKey) -> int | None:
        return min((at_ms for at_ms, _ in self._owed_to(endpoint)), default=None)

    def endpoints(self) -> dict[EndpointKey, int]:
        first: dict[EndpointKey, int] = {}
        for one in self._all.values():
            if one.next_ms is not None:
                first[one.endpoint] = min(one.next_ms, first.get(one.endpoint, one.next_ms))
        return first

    def old(self, before_ms: int, limit: int) -> list[DeliveryKey]:
        found = sorted((one.ended_ms, *key) for key, one in self._all.items() if one.ended_ms < before_ms)
        return [DeliveryKey(no, run) for _, no, run in found[:limit]]

    def drop(self, keys: Sequence[DeliveryKey]) -> None:
        for key in keys:
            self._all.pop(key, None)

    def _owed_to(self, endpoint: EndpointKey) -> list[tuple[int, Delivery]]:
        return [
            (one.next_ms, one) for one in self._all.values() if one.next_ms is not None and one.endpoint == endpoint
        ]
