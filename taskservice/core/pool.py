"""The shared pool: which runners there are, and what their leases occupy. Volatile: told anew after a restart.

A lease occupies its resources from the moment it is granted until its runner says it is over, whoever holds its tasks
by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from taskservice.core.lease_wire import HeldLease
from taskservice.core.resources import Amounts, add, amounts, fits, subtract
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId, Token


@dataclass(slots=True)
class Occupied:
    """What one lease takes of its runner."""

    need: Amounts
    short: bool
    """It will be over soon: others may be pushed to wait behind it."""


@dataclass(slots=True)
class Runner:
    """One runner, as far as granting leases needs to know it."""

    id: RunnerId
    node: str
    capacity: Amounts
    draining: bool = False
    leases: dict[Token, Occupied] = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)
    """The sum over `leases`."""
    used_short: Amounts = field(default_factory=dict)
    """The sum over the short ones of `leases`."""

    def room_for(self, need: Amounts, ahead_max: int) -> bool:
        """Whether a lease may be pushed: it fits, or will as soon as short leases that run before it are over."""
        if self.draining:
            return False
        if fits(need, self.used, self.capacity):
            return True
        if not ahead_max or not fits(need, {}, self.capacity):
            return False
        soon = {
            name: total + ahead_max * min(total, self.used_short.get(name, 0)) for name, total in self.capacity.items()
        }
        return fits(need, self.used, soon)

    def occupy(self, token: Token, need: Amounts, *, short: bool) -> None:
        """The lease is on this runner."""
        if token in self.leases:
            return
        self.leases[token] = Occupied(need, short)
        add(self.used, need)
        if short:
            add(self.used_short, need)

    def straggles(self, token: Token) -> None:
        """The lease takes longer than was thought: nobody is to wait behind it."""
        lease = self.leases.get(token)
        if lease is not None and lease.short:
            lease.short = False
            subtract(self.used_short, lease.need)

    def free(self, token: Token) -> None:
        """The lease is over; nothing happens if it was not here."""
        gone = self.leases.pop(token, None)
        if gone is None:
            return
        subtract(self.used, gone.need)
        if gone.short:
            subtract(self.used_short, gone.need)


@dataclass(slots=True)
class Pool:
    """All runners, in the order in which they joined."""

    runners: dict[RunnerId, Runner] = field(default_factory=dict)
    over_early: dict[RunnerId, list[Token]] = field(default_factory=dict)
    """Leases that runners said are over before they joined: their list of leases may be older than that."""

    def join(self, runner: RunnerId, node: str, capacity: Resources, held: Iterable[HeldLease]) -> None:
        """The runner is known, with the leases that it holds."""
        known = self.runners.get(runner)
        if known is None:
            known = self.runners[runner] = Runner(runner, node, amounts(capacity))
        known.capacity = amounts(capacity)
        over = self.over_early.pop(runner, [])
        for lease in held:
            if lease.token not in over:
                known.occupy(lease.token, amounts(lease.resources), short=False)

    def lease_over(self, runner: RunnerId, token: Token) -> None:
        """What the lease occupied is free."""
        known = self.runners.get(runner)
        if known is None:
            self.over_early.setdefault(runner, []).append(token)
        else:
            known.free(token)

    def leave(self, runner: RunnerId) -> None:
        """The runner and whatever was on it are gone."""
        self.runners.pop(runner, None)
        self.over_early.pop(runner, None)

    def holds(self, token: Token) -> bool:
        """Whether some runner has this lease."""
        return any(token in runner.leases for runner in self.runners.values())

    def best_for(self, need: Amounts, ahead_max: int) -> Runner | None:
        """The least loaded runner with room, or None. Loaded: by the CPUs that its leases take, relative to its own."""
        with_room = [runner for runner in self.runners.values() if runner.room_for(need, ahead_max)]
        return min(with_room, key=_load, default=None)

    @property
    def capacity(self) -> Amounts:
        """What all runners have together."""
        total: Amounts = {}
        for runner in self.runners.values():
            add(total, runner.capacity)
        return total

    def slots(self, need: Amounts) -> int:
        """How many such leases the pool could run at once if it were empty; at least 1."""
        total = 0
        for runner in self.runners.values():
            if not runner.draining and need:
                total += min(runner.capacity.get(name, 0) // value for name, value in need.items())
        return max(1, total)


def _load(runner: Runner) -> float:
    return runner.used.get("CPU", 0) / max(1, runner.capacity.get("CPU", 0))
