"""What tasks cost, in machine seconds: reckoned when they are leased, made good when it is known.

A task's cost is its dominant share of the pool (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011) times its duration:
of the resources that it takes, the one of which it takes the largest part counts. Written in CPUs, so that
for a pool of nothing but CPUs it is CPU seconds, and does not change when the pool grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from taskservice.core.types import Leaf, Token

UNKNOWN_S = 0.1
"""What an attempt is taken to last while nothing is known of its function."""


def dominant_cpus(need: Mapping[str, int], pool: Mapping[str, int]) -> float:
    """How many CPUs of the pool correspond to the largest part of any resource that the need takes of it.

    At least a thousandth: what takes nothing is not for nothing. A resource that the pool does not have does not count.
    """
    cpus = pool.get("CPU", 0)
    parts = [value * cpus / pool[name] for name, value in need.items() if pool.get(name)]
    return max([need.get("CPU", 0), 1, *parts]) / 1000.0


@dataclass(slots=True)
class Charge:
    """What a lease was charged, and what is known of it by now."""

    leaf: Leaf
    rate: float
    """Machine seconds that one second of an attempt costs."""
    each_s: float
    """What one attempt was taken to last."""
    concurrency: int
    """Attempts that one such second is shared by."""
    began_ms: int
    left: int
    """Attempts of which nothing is known yet."""
    paid: float
    spent: float = 0.0
    late: bool = False
    """It has lasted longer than was paid for."""


@dataclass(slots=True)
class Costs:
    """The leases of which the price is still open. Volatile."""

    _open: dict[Token, Charge] = field(default_factory=dict)
    _late: list[tuple[int, Token]] = field(default_factory=list)
    """When each lease will have lasted as long as it was paid for."""

    def charge(
        self, token: Token, leaf: Leaf, tasks: int, rate: float, each_s: float, now_ms: int, concurrency: int = 1
    ) -> float:
        """The lease is charged for; gives the price."""
        charge = Charge(leaf, rate, each_s, concurrency, now_ms, tasks, tasks * each_s * rate)
        self._open[token] = charge
        self._watch(token, charge, now_ms)
        return charge.paid

    def report(self, token: Token, ended: int, attempts_s: float, back: int) -> float:
        """So many of its attempts ended, which took so many seconds together, and so many were handed back; gives how much more it
        costs than was paid so far, or less if this is negative."""
        charge = self._open.get(token)
        if charge is None:
            return 0.0
        charge.left -= ended + back
        charge.spent += attempts_s / charge.concurrency * charge.rate
        price = charge.spent + charge.left * charge.each_s * charge.rate
        if charge.late and charge.left:
            price = max(price, charge.paid)
        change, charge.paid = price - charge.paid, price
        return change

    def over(self, token: Token, held_s: float = 0.0) -> tuple[Leaf | None, float]:
        """The lease is over; gives its leaf, and how much more it costs than was paid so far, or less if this is negative. No leaf if
        the lease is not known here.

        It costs the time for which it had its machine: its start, an import, and places that nobody used as well. Where that is
        not known (0) it costs its attempts, and those of which nothing was ever told are taken to have lasted as was thought.
        """
        charge = self._open.pop(token, None)
        if charge is None:
            return None, 0.0
        if held_s:
            return charge.leaf, held_s * charge.rate - charge.paid
        return charge.leaf, min(0.0, charge.spent + charge.left * charge.each_s * charge.rate - charge.paid)

    def late(self, now_ms: int) -> list[tuple[Leaf, float, float]]:
        """Leases that have lasted longer than they were paid for: their leaves, how many seconds they have lasted, and what they
        pay now, which is as much again."""
        due: list[tuple[Leaf, float, float]] = []
        while self._late and self._late[0][0] <= now_ms:
            _, token = heappop(self._late)
            charge = self._open.get(token)
            if charge is None:
                continue
            seconds = (now_ms - charge.began_ms) / 1000.0
            price = 2 * seconds * charge.rate
            if price > 2 * charge.paid:
                due.append((charge.leaf, seconds, price - charge.paid))
                charge.paid = price
                charge.late = True
            self._watch(token, charge, now_ms)
        return due

    def _watch(self, token: Token, charge: Charge, now_ms: int) -> None:
        paid_ms = int(charge.paid / charge.rate * 1000.0)
        heappush(self._late, (max(now_ms + 1_000, charge.began_ms + paid_ms), token))
