"""Nodes kept for those who need much of one: so that large tasks are not starved by small ones, and no slot idles for them.

A lease that fits nowhere waits for a node to become empty enough, and while others fit into what becomes free there, it never
does. So one runner is reserved for it: the one that is expected to have room first. Until then others may use that
runner if they are expected to be over by then, or fit beside it. This is EASY backfilling (Lifka, JSSPP 1995; Mu'alem and
Feitelson, TPDS 2001): one reservation for who is next, and no promise to the rest. Here whoever has waited very long
gets one, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from taskservice.core.demand import Demand
from taskservice.core.resources import Amounts, add, fits
from taskservice.core.runner import Runner
from taskservice.core.types import RunnerId

RESERVED_RATIO_MAX = 0.1
"""Of all runners, those that may be reserved for who waits; one may be in any case."""

RESERVE_AFTER_MS = 250
"""How long the first in turn has waited before a runner is reserved for it: most are served before that."""

RESERVE_OTHERS_AFTER_MS = 30_000
"""How long the others have. Not at once: whoever has a runner to itself is served before its turn."""

OVERDUE_MS_MAX = 60_000
"""How long a reservation outlives the time for which it was made, at least; else as long as it was to wait for that. Then the
estimates were wrong, and another runner may be better."""

LOOKED_AT_MAX = 64
"""Runners among which the first to have room is looked for; the next time it is among the next ones."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A runner is kept for such a lease."""

    runner: Runner
    demand: Demand
    made_ms: int
    at_ms: int
    """When there is expected to be room."""
    cleared: int = 0
    """For so many such leases others were stopped there: it stands until they have come, or nobody waits for one."""

    def lapsed(self, now_ms: int) -> bool:
        """Whether it has waited in vain, or the clock has gone back, so that nobody knows how long."""
        patience_ms = max(OVERDUE_MS_MAX, self.at_ms - self.made_ms)
        return not self.made_ms <= now_ms < self.at_ms + patience_ms

    def admits(self, need: Amounts, ahead_max: int, now_ms: int, lasts_ms: int | None) -> bool:
        """Whether another lease has room now, and will be over in time or fit beside the one that is waited for."""
        runner = self.runner
        if runner.fits(need):
            start_ms = now_ms
        elif runner.fits_behind(need, ahead_max):
            start_ms = max(lease.expected_end_ms(now_ms) for lease in runner.leases.values() if lease.short)
        else:
            return False
        in_time = lasts_ms is not None and start_ms + lasts_ms <= self.at_ms
        return in_time or self._fits_beside(need, now_ms)

    def _fits_beside(self, need: Amounts, now_ms: int) -> bool:
        taken = {name: value * max(1, self.cleared) for name, value in self.demand.need}
        for lease in self.runner.leases.values():
            if lease.expected_end_ms(now_ms) > self.at_ms:
                add(taken, lease.need)
        return fits(need, taken, self.runner.capacity)


class Reservations:
    """Which runners are reserved, and who waits for one."""

    def __init__(self) -> None:
        self.by_runner: dict[RunnerId, Reservation] = {}
        """In the order in which they were made."""
        self._since_ms: dict[Demand, int] = {}
        """Who waits, in the order of their turns, and since when, or since it was last placed."""
        self._looked_at = 0

    def waiting(self, demands: Iterable[Demand], now_ms: int) -> None:
        """These wait, in the order of their turns. What is reserved for others is not any more, nor what has lapsed.

        Who was placed elsewhere in the meantime keeps what it has only if it is the first in turn all the same: else it would
        have one runner after the other cleared, whatever its share.
        """
        before = self._since_ms
        self._since_ms = {demand: min(now_ms, before.get(demand, now_ms)) for demand in demands}
        first = next(iter(self._since_ms), None)
        for kept in list(self.by_runner.values()):
            entitled = kept.demand == first or kept.demand in before or kept.cleared
            if kept.lapsed(now_ms) or kept.demand not in self._since_ms or not entitled:
                self.drop(kept.runner)

    def unmet(self, now_ms: int) -> list[Demand]:
        """Those who have waited long enough for a reservation and have none, in turn."""
        met = {kept.demand for kept in self.by_runner.values()}
        return [
            demand
            for turn, (demand, since_ms) in enumerate(self._since_ms.items())
            if now_ms - since_ms >= (RESERVE_OTHERS_AFTER_MS if turn else RESERVE_AFTER_MS) and demand not in met
        ]

    def choose(self, demand: Demand, suitable: Sequence[Runner], now_ms: int) -> None:
        """Of some of these runners, the one expected first to have gathered enough room is reserved.

        None is if on none of them room has to be gathered: what a single lease frees is enough, and whose turn it is gets it. It
        is looked again after as long a wait.
        """
        free = [runner for runner in suitable if runner.reserved_for is None]
        first = self._looked_at % max(1, len(free))
        self._looked_at = first + LOOKED_AT_MAX
        need = dict(demand.need)
        choices = [
            (at_ms, runner.order, runner)
            for runner in (free[first:] + free[:first])[:LOOKED_AT_MAX]
            if (at_ms := runner.gathers_by_ms(need, now_ms)) is not None
        ]
        if choices:
            at_ms, _, runner = min(choices)
            self._reserve(Reservation(runner, demand, now_ms, at_ms))
        else:
            self._since_ms[demand] = now_ms

    def clear(self, runner: Runner, demand: Demand, at_ms: int, now_ms: int) -> None:
        """Others are stopped there for one such lease (more), and will be gone by `at_ms`: the runner is reserved for it."""
        before = self.by_runner.get(runner.id)
        leases = before.cleared if before is not None and before.demand == demand else 0
        self._reserve(Reservation(runner, demand, now_ms, at_ms, leases + 1))

    def drop(self, runner: Runner) -> None:
        """The runner is not reserved; nothing happens if it was not."""
        if self.by_runner.pop(runner.id, None) is not None:
            runner.reserve(None)

    def placed(self, runner: Runner, demand: Demand) -> None:
        """Such a lease has got a place there: what was reserved for it there has served, and its wait begins anew."""
        self._since_ms.pop(demand, None)
        kept = self.by_runner.get(runner.id)
        if kept is not None and kept.demand == demand:
            self.drop(runner)
            if kept.cleared > 1:
                self._reserve(replace(kept, cleared=kept.cleared - 1))

    def backfill(self, demand: Demand, ahead_max: int, now_ms: int, lasts_ms: int | None) -> Runner | None:
        """A runner that is reserved for somebody else and may be used all the same, or None."""
        need = dict(demand.need)
        for kept in self.by_runner.values():
            if kept.demand != demand and kept.runner.suits(demand) and kept.admits(need, ahead_max, now_ms, lasts_ms):
                return kept.runner
        return None

    def _reserve(self, reservation: Reservation) -> None:
        self.by_runner[reservation.runner.id] = reservation
        reservation.runner.reserve(reservation.demand)
