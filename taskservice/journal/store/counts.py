"""How many tasks of each leaf are in each state: kept while they move, so that nobody counts rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from taskservice.core.types import Leaf, TaskState, TenantId

LeafState = tuple[Leaf, TaskState]


class Counts:
    """Counts above zero, found by tenant in the time that the tenant's own leaves take."""

    def __init__(self) -> None:
        self._by_tenant: dict[TenantId, dict[LeafState, int]] = {}

    def added(self, places: Iterable[LeafState]) -> None:
        """As many more tasks are in these places."""
        for place, number in Counter(places).items():
            self._change(place, number)

    def moved(self, places: Iterable[LeafState], target: TaskState) -> None:
        """The tasks that were in these places are in state `target` now."""
        for (leaf, state), number in Counter(places).items():
            self._change((leaf, state), -number)
            self._change((leaf, target), number)

    def items(self, tenant: TenantId | None = None) -> Iterator[tuple[LeafState, int]]:
        """Places and counts: one tenant's, or all."""
        groups = self._by_tenant.values() if tenant is None else (self._by_tenant.get(tenant, {}),)
        for group in groups:
            yield from group.items()

    def _change(self, place: LeafState, by: int) -> None:
        group = self._by_tenant.setdefault(place[0].tenant, {})
        number = group.get(place, 0) + by
        if number:
            group[place] = number
        else:
            del group[place]
