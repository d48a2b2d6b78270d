"""The shared pool: which runners there are, and what their leases occupy. Volatile: told anew after a restart.

A lease occupies its resources from the moment it is granted until its runner says it is over, whoever holds its tasks
by then.

A round of the scheduler:

    place(demand, ...)   where a lease goes, or None: then `number` is worth remembering
    occupy(...)          it is granted
    waiting(demands)     at its end: who was refused, in the order of their turns, now or in a round before

Who was refused need not be asked again before `freed_since(demand, number)`, with the number of then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from taskservice.core.costs import dominant_cpus
from taskservice.core.demand import Demand
from taskservice.core.lease_wire import HeldLease
from taskservice.core.placement import Order
from taskservice.core.reservation import RESERVED_RATIO_MAX, Reservations
from taskservice.core.resources import Amounts, add, amounts
from taskservice.core.runner import Ledger, Runner
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId, Token

ORDERS_MAX = 256
"""Demands for which the order of the runners is kept; the oldest makes place for a new one."""


@dataclass(slots=True)
class Pool:
    """All runners, in the order in which they joined."""

    runners: dict[RunnerId, Runner] = field(default_factory=dict)
    over_early: dict[RunnerId, list[Token]] = field(default_factory=dict)
    """Leases that runners said are over before they joined: their list of leases may be older than that."""
    reservations: Reservations = field(default_factory=Reservations)
    _ledger: Ledger = field(default_factory=Ledger)
    _orders: dict[Demand, Order] = field(default_factory=dict)
    _joined: int = 0
    _capacity: Amounts | None = None
    """What `capacity` gives, once it was asked."""
    _most: dict[tuple[Demand, str], int] = field(default_factory=dict)
    """What `most` gives, likewise."""
    _rates: dict[Demand, float] = field(default_factory=dict)
    """What `rate` gives, likewise."""
    _slots: dict[Demand, int] = field(default_factory=dict)
    """What `slots` gives, likewise."""

    # What happens to it

    def join(
        self,
        runner: RunnerId,
        node: str,
        capacity: Resources,
        held: Iterable[HeldLease] = (),
        labels: Iterable[tuple[str, str]] = (),
        now_ms: int = 0,
    ) -> None:
        """The runner is known, with the leases that it holds."""
        known = self.runners.get(runner)
        if known is None:
            self._joined += 1
            known = self.runners[runner] = Runner(runner, node, self._joined, self._ledger)
        self.reservations.drop(known)
        known.set_up(amounts(capacity), labels)
        self._changed()
        over = self.over_early.pop(runner, [])
        for lease in held:
            if lease.token not in over:
                known.occupy(lease.token, amounts(lease.resources), short=False, started_ms=now_ms)

    def drain(self, runner: RunnerId) -> None:
        """The runner gets no more leases; nothing happens if it is not known."""
        known = self.runners.get(runner)
        if known is not None:
            self.reservations.drop(known)
            known.close()
            self._changed()

    def leave(self, runner: RunnerId) -> None:
        """The runner and whatever was on it are gone."""
        self.over_early.pop(runner, None)
        self.drain(runner)
        gone = self.runners.pop(runner, None)
        for token in gone.leases if gone is not None else ():
            self._ledger.holds_no_more(runner, token)

    def occupy(
        self, runner: RunnerId, token: Token, demand: Demand, *, short: bool, now_ms: int, lasts_ms: int | None = None
    ) -> None:
        """The lease is on this runner, and expected to be there for so long; None: nobody knows."""
        known = self.runners[runner]
        self.reservations.placed(known, demand)
        ends_ms = None if lasts_ms is None else now_ms + lasts_ms
        known.occupy(token, dict(demand.need), short=short, started_ms=now_ms, ends_ms=ends_ms, spread=demand.spread)

    def straggles(self, runner: RunnerId, token: Token) -> None:
        """The lease takes longer than was thought; nothing happens if it is not known."""
        known = self.runners.get(runner)
        if known is not None:
            known.straggles(token)

    def lease_over(self, runner: RunnerId, token: Token) -> None:
        """What the lease occupied is free."""
        known = self.runners.get(runner)
        if known is None:
            self.over_early.setdefault(runner, []).append(token)
        else:
            known.free(token)

    def waiting(self, demands: Iterable[Demand], now_ms: int) -> None:
        """These demands, and no others, wait for room, in the order of their turns: runners are reserved for some of them.

        A demand whose queues are empty, or closed for other reasons, does not wait.
        """
        self.reservations.waiting(demands, now_ms)
        most = max(1, int(RESERVED_RATIO_MAX * len(self.runners)))
        for demand in self.reservations.unmet(now_ms):
            if len(self.reservations.by_runner) >= most:
                break
            self.reservations.choose(demand, self._order(demand).suitable(), now_ms)

    def clear(self, runner: RunnerId, demand: Demand, at_ms: int, now_ms: int) -> None:
        """Others are being stopped there to make room for one such lease by then: the runner is kept for it."""
        self.reservations.clear(self.runners[runner], demand, at_ms, now_ms)

    # What is asked

    def holds(self, token: Token) -> bool:
        """Whether some runner has this lease."""
        return token in self._ledger.holders

    def place(self, demand: Demand, ahead_max: int, now_ms: int, lasts_ms: int | None = None) -> Runner | None:
        """The runner that suits the demand best, or None if no runner has room for it or may be used by it.

        `ahead_max`: how often over a runner's resources may be taken by short leases that wait there. `lasts_ms`: how long the
        lease is expected to last, if that is known: what is over in time may go before who has a runner reserved.
        """
        runner = self._order(demand, ahead_max).best()
        if runner is None and self.reservations.by_runner:
            runner = self.reservations.backfill(demand, ahead_max, now_ms, lasts_ms)
        return runner

    def capacity(self) -> Amounts:
        """What all runners have that take leases: what shares are shares of."""
        if self._capacity is None:
            self._capacity = {}
            for runner in self.runners.values():
                add(self._capacity, {} if runner.draining else runner.capacity)
        return self._capacity

    def rate(self, demand: Demand) -> float:
        """How many machine seconds a second of such a lease costs."""
        known = self._rates.get(demand)
        if known is None:
            known = self._rates[demand] = dominant_cpus(dict(demand.need), self.capacity())
        return known

    def most(self, demand: Demand, name: str) -> int:
        """The most that a runner has of that resource which could meet the demand; 0 if there is none."""
        known = self._most.get((demand, name))
        if known is None:
            suitable = [runner for runner in self.runners.values() if runner.suits(demand)]
            known = max((runner.capacity.get(name, 0) for runner in suitable), default=0)
            self._most[demand, name] = known
        return known

    def suits(self, demand: Demand) -> bool:
        """Whether any runner could have such a lease if it were empty."""
        return self._order(demand).suits

    def slots(self, demand: Demand) -> int:
        """How many such leases the pool could run at once if it were empty; at least 1."""
        known = self._slots.get(demand)
        if known is None:
            known = self._slots[demand] = max(1, self._order(demand).slots)
        return known

    @property
    def number(self) -> int:
        """How many changes there were: what to remember of a moment."""
        return self._ledger.number

    def freed_since(self, demand: Demand, number: int) -> bool:
        """Whether there may be room now for a demand that was refused when the number was that. In constant time."""
        return self._ledger.freed_since(demand.need, number)

    def _changed(self) -> None:
        self._capacity = None
        self._most.clear()
        self._rates.clear()
        self._slots.clear()

    def _order(self, demand: Demand, ahead_max: int | None = None) -> Order:
        order = self._orders.get(demand)
        if order is None:
            if len(self._orders) >= ORDERS_MAX:
                del self._orders[next(iter(self._orders))]
            order = self._orders[demand] = Order(demand)
        order.catch_up(self._ledger, self.runners.values(), ahead_max)
        return order
