"""How many tasks of each leaf are in each state: kept while they move, so that nobody counts rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from taskservice.core.types import TERMINAL_STATES, FunctionName, Leaf, TaskState, TenantId

LeafState = tuple[Leaf, TaskState]


class Tally:
    """Counts above zero, found by tenant in the time that the tenant's own leaves take."""

    def __init__(self) -> None:
        self._by_tenant: dict[TenantId, dict[LeafState, int]] = {}
        self._totals: dict[TenantId, dict[tuple[FunctionName, TaskState], int]] = {}
        """The sums over the leaves of each function."""

    def change(self, place: LeafState, by: int) -> None:
        """So many more tasks are in this place."""
        tenant = place[0].tenant
        group = self._by_tenant.get(tenant)
        if group is None:
            group = self._by_tenant[tenant] = {}
        number = group.get(place, 0) + by
        if number:
            group[place] = number
        else:
            group.pop(place, None)
        totals = self._totals.get(tenant)
        if totals is None:
            totals = self._totals[tenant] = {}
        total = place[0].function, place[1]
        totals[total] = totals.get(total, 0) + by

    def step(self, before: LeafState, after: LeafState) -> None:
        """One task, of the same tenant as ever, is in the one place instead of the other."""
        leaf, state = before
        group, totals = self._by_tenant[leaf.tenant], self._totals[leaf.tenant]
        left = group[before] - 1
        if left:
            group[before] = left
        else:
            del group[before]
        group[after] = group.get(after, 0) + 1
        totals[leaf.function, state] -= 1
        total = leaf.function, after[1]
        totals[total] = totals.get(total, 0) + 1

    def items(self, tenant: TenantId | None = None) -> Iterator[tuple[LeafState, int]]:
        """Places and counts: one tenant's, or all."""
        groups = self._by_tenant.values() if tenant is None else (self._by_tenant.get(tenant, {}),)
        for group in groups:
            yield from group.items()

    def totals(self, tenant: TenantId) -> dict[tuple[FunctionName, TaskState], int]:
        """The tenant's counts by function and state; zero where there was something once."""
        return dict(self._totals.get(tenant, {}))

    def of_leaf(self, leaf: Leaf, states: Sequence[TaskState]) -> list[int]:
        """The leaf's counts of these states, in their order."""
        group = self._by_tenant.get(leaf.tenant, {})
        return [group.get((leaf, state), 0) for state in states]


class Counts:
    """What is counted of one table: its tasks, those known in history, and what the queued tasks' payloads come to."""

    def __init__(self) -> None:
        self._here = Tally()
        self._past = Tally()
        self._queued_bytes: dict[Leaf, int] = {}
        self._touched: dict[Leaf, None] = {}

    def came(self, leaf: Leaf, state: TaskState) -> None:
        """One more task is in this place."""
        self._touched[leaf] = None
        self._here.change((leaf, state), +1)

    def went(self, leaf: Leaf, state: TaskState) -> None:
        """One task fewer is in this place."""
        self._touched[leaf] = None
        self._here.change((leaf, state), -1)

    def weighs(self, leaf: Leaf, change: int) -> None:
        """The payloads of its queued tasks have so many bytes more, or fewer if that is below 0."""
        self._queued_bytes[leaf] = self._queued_bytes.get(leaf, 0) + change
        self._touched[leaf] = None

    def stepped(self, before: LeafState, after: LeafState) -> None:
        """A task that was in the one place is in the other now."""
        self._touched[before[0]] = self._touched[after[0]] = None
        self._here.step(before, after)

    def added(self, places: Iterable[LeafState]) -> None:
        """As many more tasks are in these places."""
        self._change(self._here, places, +1)

    def moved(self, places: Iterable[LeafState], target: TaskState) -> None:
        """The tasks that were in these places are in state `target` now."""
        for (leaf, state), number in _count(places).items():
            self._touched[leaf] = None
            self._here.change((leaf, state), -number)
            self._here.change((leaf, target), number)

    def changed(self, before: Iterable[LeafState], after: Iterable[LeafState]) -> None:
        """As many tasks as were in the one places are in the others now."""
        self.removed(before)
        self.added(after)

    def removed(self, places: Iterable[LeafState]) -> None:
        """As many fewer tasks are in these places."""
        self._change(self._here, places, -1)

    def archived(self, places: Iterable[LeafState]) -> None:
        """As many tasks have left these places for history."""
        places = list(places)
        self.removed(places)
        self._change(self._past, ((leaf.plain, state) for leaf, state in places), +1)

    def forgotten(self, places: Iterable[LeafState]) -> None:
        """As many tasks of history that had left these places are not known any more."""
        self._change(self._past, places, -1)

    def queued(self, sizes: Iterable[tuple[Leaf, int]], sign: int) -> None:
        """Payloads of so many bytes are queued (sign +1), or are not any more (-1)."""
        for leaf, size in sizes:
            self.weighs(leaf, sign * size)

    def are(self, leaf: Leaf, counts: Sequence[int]) -> None:
        """The leaf's counts, of which there are none yet, are these: what `of_leaf` gave."""
        *numbers, self._queued_bytes[leaf] = counts
        here = [(self._here, state) for state in TaskState]
        past = [(self._past, state) for state in TERMINAL_STATES]
        for (tally, state), number in zip(here + past, numbers, strict=True):
            tally.change((leaf, state), number)

    def items(self, tenant: TenantId | None = None) -> Iterator[tuple[LeafState, int]]:
        """Places of the table's tasks, and counts: one tenant's, or all."""
        return self._here.items(tenant)

    def totals(self, tenant: TenantId) -> dict[tuple[FunctionName, TaskState], int]:
        """The tenant's tasks in the table, counted by function and state."""
        return self._here.totals(tenant)

    def past_items(self, tenant: TenantId | None = None) -> Iterator[tuple[LeafState, int]]:
        """The same of the tasks in history."""
        return self._past.items(tenant)

    def queued_bytes(self, leaf: Leaf) -> int:
        return self._queued_bytes.get(leaf, 0)

    def of_leaf(self, leaf: Leaf) -> list[int]:
        """The leaf's counts: of its tasks in the order of the states, of those in history in that of the terminal states;
        and what its queued tasks' payloads come to."""
        return [
            *self._here.of_leaf(leaf, tuple(TaskState)),
            *self._past.of_leaf(leaf, TERMINAL_STATES),
            self._queued_bytes.get(leaf, 0),
        ]

    def touched(self) -> list[Leaf]:
        """The leaves that have changed since this was last asked."""
        leaves = list(self._touched)
        self._touched.clear()
        return leaves

    def _change(self, tally: Tally, places: Iterable[LeafState], sign: int) -> None:
        for place, number in _count(places).items():
            self._touched[place[0]] = None
            tally.change(place, sign * number)


def _count(places: Iterable[LeafState]) -> dict[LeafState, int]:
    """How many times each place is named. A `Counter` takes longer to make than the few places there are take to count."""
    counts: dict[LeafState, int] = {}
    for place in places:
        counts[place] = counts.get(place, 0) + 1
    return counts
