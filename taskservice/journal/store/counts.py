"""How many tasks of each leaf are in each state: kept while they move, so that nobody counts rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from taskservice.core.types import Leaf, TaskState, TenantId

LeafState = tuple[Leaf, TaskState]


class Counts:
    """Counts above zero, found by tenant in the time that the tenant's own leaves take; and what the queued tasks' payloads
    come to."""

    def __init__(self) -> None:
        self._by_tenant: dict[TenantId, dict[LeafState, int]] = {}
        self._queued_bytes: dict[Leaf, int] = {}
        self._touched: dict[Leaf, None] = {}

    def came(self, leaf: Leaf, state: TaskState) -> None:
        """One more task is in this place."""
        self._change((leaf, state), +1)

    def went(self, leaf: Leaf, state: TaskState, target: TaskState) -> None:
        """A task of the leaf that was in one state is in another."""
        self._change((leaf, state), -1)
        self._change((leaf, target), +1)

    def weighs(self, leaf: Leaf, change: int) -> None:
        """The payloads of its queued tasks have so many bytes more, or fewer if that is below 0."""
        self._queued_bytes[leaf] = self._queued_bytes.get(leaf, 0) + change
        self._touched[leaf] = None

    def added(self, places: Iterable[LeafState]) -> None:
        """As many more tasks are in these places."""
        for place, number in _tally(places).items():
            self._change(place, number)

    def moved(self, places: Iterable[LeafState], target: TaskState) -> None:
        """The tasks that were in these places are in state `target` now."""
        for (leaf, state), number in _tally(places).items():
            self._change((leaf, state), -number)
            self._change((leaf, target), number)

    def removed(self, places: Iterable[LeafState]) -> None:
        """As many fewer tasks are in these places."""
        for place, number in _tally(places).items():
            self._change(place, -number)

    def queued(self, sizes: Iterable[tuple[Leaf, int]], sign: int) -> None:
        """Payloads of so many bytes are queued (sign +1), or are not any more (-1)."""
        for leaf, size in sizes:
            self.weighs(leaf, sign * size)

    def are(self, leaf: Leaf, counts: Sequence[int], queued_bytes: int) -> None:
        """The leaf's counts, in the order of the states, are these."""
        for state, number in zip(TaskState, counts, strict=True):
            if number:
                self._by_tenant.setdefault(leaf.tenant, {})[leaf, state] = number
        self._queued_bytes[leaf] = queued_bytes

    def items(self, tenant: TenantId | None = None) -> Iterator[tuple[LeafState, int]]:
        """Places and counts: one tenant's, or all."""
        groups = self._by_tenant.values() if tenant is None else (self._by_tenant.get(tenant, {}),)
        for group in groups:
            yield from group.items()

    def queued_bytes(self, leaf: Leaf) -> int:
        return self._queued_bytes.get(leaf, 0)

    def of_leaf(self, leaf: Leaf) -> list[int]:
        """The leaf's counts, in the order of the states."""
        group = self._by_tenant.get(leaf.tenant, {})
        return [group.get((leaf, state), 0) for state in TaskState]

    def touched(self) -> list[Leaf]:
        """The leaves that have changed since this was last asked."""
        leaves = list(self._touched)
        self._touched.clear()
        return leaves

    def _change(self, place: LeafState, by: int) -> None:
        leaf = place[0]
        self._touched[leaf] = None
        group = self._by_tenant.get(leaf.tenant)
        if group is None:
            group = self._by_tenant[leaf.tenant] = {}
        number = group.get(place, 0) + by
        if number:
            group[place] = number
        else:
            del group[place]


def _tally(places: Iterable[LeafState]) -> dict[LeafState, int]:
    """How many times each place is named. A `Counter` takes longer to make than the few places there are take to count."""
    counts: dict[LeafState, int] = {}
    for place in places:
        counts[place] = counts.get(place, 0) + 1
    return counts
