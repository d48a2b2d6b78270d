"""One runner, as far as granting leases needs to know it: what it has, and what its leases take of it.

Whatever changes is written down in a ledger that all runners of a pool share. So those who need to know (which runners suit
a demand, whether room has appeared since) look there when they are asked, and nobody has to call them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from taskservice.core.demand import Demand
from taskservice.core.resources import Amounts, add, dominant_share, fits, subtract
from taskservice.core.types import FunctionName, RunnerId, Token

LEDGER_ENTRIES_MAX = 4096
"""Changes that are kept; who has not looked for longer looks at all runners."""

UNFORESEEN_MS_MIN = 100
"""What a lease of which no better is known is expected to take yet, at least."""


@dataclass(slots=True)
class Occupied:
    """What one lease takes of its runner."""

    need: Amounts
    short: bool
    """It will be over soon: others may be pushed to wait behind it."""
    started_ms: int
    ends_ms: int | None
    """When it was expected to be over; None: nobody knows."""
    spread: FunctionName | None

    def expected_end_ms(self, now_ms: int) -> int:
        """When it is expected to be over: later than now.

        One that has outlived what was expected of it, or of which nothing was, is expected to take as long again as it has
        taken. Estimates that are corrected when they prove wrong are good enough to backfill by (Tsafrir, Etsion,
        Feitelson, TPDS 2007).
        """
        if self.ends_ms is not None and self.ends_ms > now_ms:
            return self.ends_ms
        return now_ms + max(UNFORESEEN_MS_MIN, now_ms - self.started_ms)


class Ledger:
    """Which runners have changed, in order. Numbers count the changes: who remembers one can ask what came after it."""

    def __init__(self) -> None:
        self.holders: dict[Token, RunnerId] = {}
        """The runner of each lease."""
        self._changed: list[Runner] = []
        self._forgotten = 0
        """Changes that came before those in `_changed`."""
        self._freed: dict[str, int] = {}
        """Resource name -> number of the change that last freed some of it."""
        self._opened = 0
        """Number of the change that last opened a whole runner."""

    @property
    def number(self) -> int:
        """How many changes there were."""
        return self._forgotten + len(self._changed)

    def note(self, runner: Runner) -> None:
        """Something about the runner has changed."""
        changed = self._changed
        if len(changed) == LEDGER_ENTRIES_MAX:
            gone = LEDGER_ENTRIES_MAX // 2
            del changed[:gone]
            self._forgotten += gone
        changed.append(runner)

    def holds_no_more(self, runner: RunnerId, token: Token) -> None:
        """The runner does not have the lease; another one that has it keeps it."""
        if self.holders.get(token) == runner:
            del self.holders[token]

    def freed(self, runner: Runner, names: Iterable[str]) -> None:
        """Some of these resources was freed."""
        self.note(runner)
        number = self.number
        for name in names:
            self._freed[name] = number

    def opened(self, runner: Runner) -> None:
        """The runner may be used by more than before."""
        self.note(runner)
        self._opened = self.number

    def since(self, number: int) -> Sequence[Runner] | None:
        """The runners that have changed after the change of that number, or None if that is not known any more."""
        first = number - self._forgotten
        return self._changed[first:] if first >= 0 else None

    def freed_since(self, need: Iterable[tuple[str, int]], number: int) -> bool:
        """Whether any of the resources was freed, or a runner opened, after that change."""
        return self._opened > number or any(self._freed.get(name, 0) > number for name, _ in need)


@dataclass(slots=True, eq=False)
class Runner:
    """One runner. `set_up` says what it has."""

    id: RunnerId
    node: str
    order: int
    """Which of the pool's runners it was to join."""
    ledger: Ledger
    capacity: Amounts = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    special: tuple[str, ...] = ()
    """What it has beside CPUs and memory: GPUs, custom resources. Kept for those who need it while others will do."""
    setup: int = 0
    """One more whenever what it has, or whether it takes leases at all, has changed."""
    draining: bool = False
    """It gets no more leases."""
    reserved_for: Demand | None = None
    """Others may use it only as `reservation` says."""
    leases: dict[Token, Occupied] = field(default_factory=dict)
    used: Amounts = field(default_factory=dict)
    """The sum over `leases`."""
    used_short: Amounts = field(default_factory=dict)
    """The sum over the short ones of `leases`."""
    spread: dict[FunctionName, int] = field(default_factory=dict)
    """How many of `leases` are of each function that is to be spread."""
    load: float = 0.0
    """The dominant share of what it has that is used."""

    def set_up(self, capacity: Amounts, labels: Iterable[tuple[str, str]]) -> None:
        """The runner has this to give."""
        self.capacity = capacity
        self.labels = dict(labels)
        self.special = tuple(sorted(name for name in capacity if name not in {"CPU", "memory"}))
        self.load = dominant_share(self.used, capacity)
        self.setup += 1
        self.ledger.opened(self)

    def close(self) -> None:
        """No lease is placed here any more."""
        self.draining = True
        self.setup += 1
        self.ledger.note(self)

    def reserve(self, demand: Demand | None) -> None:
        """The runner is reserved for such a lease, or None: not any more."""
        self.reserved_for = demand
        if demand is None:
            self.ledger.opened(self)
        else:
            self.ledger.note(self)

    def suits(self, demand: Demand) -> bool:
        """Whether the demand could be met here if nothing else was."""
        if self.draining or not all(self.capacity.get(name, 0) >= value for name, value in demand.need):
            return False
        return all(self.labels.get(key) == value for key, value in demand.labels)

    def fits(self, need: Amounts) -> bool:
        """Whether there is room now."""
        return fits(need, self.used, self.capacity)

    def fits_behind(self, need: Amounts, ahead_max: int) -> bool:
        """Whether there is room as soon as the short leases are over, of which so many times what it has may be here."""
        if not ahead_max or not self.used_short:
            return False
        for name, value in need.items():
            total, short, used = self.capacity.get(name, 0), self.used_short.get(name, 0), self.used.get(name, 0)
            if used - short + value > total or used + value > total + ahead_max * min(total, short):
                return False
        return True

    def gathers_by_ms(self, need: Amounts, now_ms: int) -> int | None:
        """When there is expected to be room, if nobody else comes before.

        None if there is, or if the lease that makes it frees enough by itself, however full the runner is kept until then: there
        is nothing to gather. For what would fit if the runner were empty.
        """
        used = dict(self.used)
        ends = [(lease.expected_end_ms(now_ms), lease.need) for lease in self.leases.values()]
        for end_ms, freed in sorted(ends, key=lambda end: end[0]):
            if fits(need, used, self.capacity):
                return None
            subtract(used, freed)
            if fits(need, used, self.capacity):
                alone = dict(self.used)
                subtract(alone, freed)
                return None if fits(need, alone, self.capacity) else end_ms
        return None

    def occupy(
        self,
        token: Token,
        need: Amounts,
        *,
        short: bool,
        started_ms: int,
        ends_ms: int | None = None,
        spread: FunctionName | None = None,
    ) -> None:
        """The lease is on this runner."""
        if token in self.leases:
            return
        self.leases[token] = Occupied(need, short, started_ms, ends_ms, spread)
        add(self.used, need)
        if short:
            add(self.used_short, need)
        if spread is not None:
            self.spread[spread] = self.spread.get(spread, 0) + 1
        self.load = dominant_share(self.used, self.capacity)
        self.ledger.holders[token] = self.id
        self.ledger.note(self)

    def straggles(self, token: Token) -> None:
        """The lease takes longer than was thought: nobody is to wait behind it, and nobody knows when it will end."""
        lease = self.leases.get(token)
        if lease is None:
            return
        lease.ends_ms = None
        if lease.short:
            lease.short = False
            subtract(self.used_short, lease.need)
            self.ledger.note(self)

    def free(self, token: Token) -> None:
        """The lease is over; nothing happens if it was not here."""
        gone = self.leases.pop(token, None)
        if gone is None:
            return
        subtract(self.used, gone.need)
        if gone.short:
            subtract(self.used_short, gone.need)
        if gone.spread is not None:
            self.spread[gone.spread] -= 1
            if not self.spread[gone.spread]:
                del self.spread[gone.spread]
        self.load = dominant_share(self.used, self.capacity)
        self.ledger.holds_no_more(self.id, token)
        self.ledger.freed(self, gone.need)
