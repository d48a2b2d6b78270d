"""Where a lease goes: for each demand, the runners with room for it in the order in which it would have them.

There are few distinct demands and many leases. So each demand has its order, a heap, and catches up with what has changed
when it is asked: a runner that has changed is ranked anew, and its old place in the heap is found stale later. What an
answer costs grows with the changes since the last one, and not with the number of runners.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from taskservice.core.demand import Demand
from taskservice.core.resources import fits, times
from taskservice.core.runner import Ledger, Runner

STALE_MAX = 64
"""Stale places that an order may have besides one for each runner; then it is made anew."""


Rank = tuple[int, bool, int, float, int]
"""A runner's place in the order of one demand; the least is the best. By these, in turn:

- how many leases of the function it has already, if that is to be spread;
- whether there is room behind short leases only;
- how many kinds of resources it has that are not asked for: GPUs are kept for those who need them;
- its dominant share, or how far it is from being full if leases are to be packed;
- when it joined.
"""


class Order:
    """The runners with room for one demand, best first."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.slots = 0
        """How many such leases the runners could have at once if they were empty."""
        self._need = dict(demand.need)
        self._ahead_max = 0
        self._seen = -1
        """The last change that is reckoned with."""
        self._suitable: dict[Runner, tuple[int, int]] = {}
        """Runners that the demand suits, with the `setup` for which that was seen and their part of `slots`."""
        self._ranks: dict[Runner, Rank] = {}
        """Those that have room for it now, and that it may use."""
        self._heap: list[tuple[Rank, Runner]] = []
        """All of `_ranks`, and stale ones."""

    def catch_up(self, ledger: Ledger, runners: Iterable[Runner], ahead_max: int | None = None) -> None:
        """The order is that of now. `ahead_max`: see `Runner.fits_behind`; None: as before."""
        another = ahead_max is not None and ahead_max != self._ahead_max
        number = ledger.number
        if self._seen == number and not another:
            return
        changed = ledger.since(self._seen)
        if ahead_max is not None and another:
            self._ahead_max = ahead_max
            changed = None
        self._seen = number
        if changed is None:
            self.slots = 0
            self._suitable.clear()
            self._ranks.clear()
            self._heap.clear()
            changed = list(runners)
        for runner in dict.fromkeys(changed) if len(changed) > 1 else changed:
            self._place(runner)

    def best(self) -> Runner | None:
        """The runner that suits best, or None if none has room."""
        while self._heap:
            rank, runner = self._heap[0]
            if self._ranks.get(runner) == rank:
                return runner
            heappop(self._heap)
        return None

    @property
    def suits(self) -> bool:
        """Whether there is any runner that could have such a lease if it were empty."""
        return bool(self._suitable)

    def suitable(self) -> Sequence[Runner]:
        """The runners that could have such a lease if they were empty."""
        return list(self._suitable)

    def _place(self, runner: Runner) -> None:
        known = self._suitable.get(runner)
        if known is not None and known[0] == runner.setup:
            rank = self._rank(runner)
        else:
            rank = self._rank(runner) if self._suits(runner, known) else None
        if rank == self._ranks.get(runner):
            return
        if rank is None:
            del self._ranks[runner]
            return
        self._ranks[runner] = rank
        heappush(self._heap, (rank, runner))
        if len(self._heap) > 2 * len(self._ranks) + STALE_MAX:
            self._heap = [(rank, runner) for runner, rank in self._ranks.items()]
            heapify(self._heap)

    def _suits(self, runner: Runner, known: tuple[int, int] | None) -> bool:
        if known is not None:
            self.slots -= known[1]
            del self._suitable[runner]
        if not runner.suits(self.demand):
            return False
        slots = times(self._need, runner.capacity)
        self.slots += slots
        self._suitable[runner] = (runner.setup, slots)
        return True

    def _rank(self, runner: Runner) -> Rank | None:
        demand = self.demand
        if runner.reserved_for is not None and runner.reserved_for != demand:
            return None
        waits = not fits(self._need, runner.used, runner.capacity)
        if waits and not (runner.used_short and runner.fits_behind(self._need, self._ahead_max)):
            return None
        return (
            runner.spread.get(demand.spread, 0) if demand.spread is not None else 0,
            waits,
            sum(name not in self._need for name in runner.special) if runner.special else 0,
            -runner.load if demand.pack else runner.load,
            runner.order,
        )
