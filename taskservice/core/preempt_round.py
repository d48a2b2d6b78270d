"""One round of preemption: what there is to stop, what has been stopped and promised so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from taskservice.core.claims import Account, Claim, LeaseBook, Owner, Promise, RunningLease, Share
from taskservice.core.demand import Demand
from taskservice.core.dues import Dues
from taskservice.core.pool import Pool
from taskservice.core.resources import Amounts, add, dominant_share, subtract
from taskservice.core.runner import Runner
from taskservice.core.standing import Standing
from taskservice.core.types import RunnerId

ROUND_MS = 200
"""One plan is made in so long."""

PREEMPTED_MAX = 3
"""Times that a task is stopped for others; then it runs to its end."""

CHOICE_MIN = 64
"""Runners that could make room for a claim, among which the best is looked for; in the next round it is among the next ones."""

LOOKED_AT_MAX = 256
"""Runners that are looked into in one round; in the next it is the next ones."""

EVICTIONS_MAX = 128
"""Leases for which room is made in one round: what bounds its work where the pool is very large."""


class Candidate(NamedTuple):
    """A lease that may be stopped for the right claim; the least is the cheapest."""

    lost: float
    """Milliseconds of work, times the share of the pool that was busy with it."""
    newest_first: int
    """Minus the time of its start: of two that lose the same, the newer one is cheaper."""
    lease: RunningLease
    share: float
    """Of the pool."""


class Way(NamedTuple):
    """How one runner can make room for a lease; the least is the best."""

    beyond: bool
    """It stops more than a round should."""
    lost: float
    victims: int
    order: int
    """The runner's."""
    stopped: tuple[Candidate, ...] = ()


class Round:
    """One round: what has been stopped and promised so far. Runners are looked into when somebody wants to know of them."""

    def __init__(
        self,
        pool: Pool,
        leases: LeaseBook,
        shares: Mapping[Account, Share],
        now_ms: int,
        dues: Dues | None = None,
    ) -> None:
        self.now_ms = now_ms
        self.dues = dues
        self.standing = Standing(shares)
        self.stopped = 0.0
        """Share of the pool that this round stops."""
        self.evictions_left = EVICTIONS_MAX
        self._runners = list(pool.runners.values())
        self._first = now_ms // ROUND_MS * CHOICE_MIN % max(1, len(self._runners))
        self._leases = leases
        self._capacity = pool.capacity()
        self._promised: dict[RunnerId, list[Demand]] = {}
        self._taken: dict[RunnerId, Amounts] = {}
        self._candidates: dict[RunnerId, list[Candidate]] = {}
        going: Counter[tuple[Owner, Demand]] = Counter()
        for owner, demand, runner in leases.leaving():
            known = pool.runners.get(runner)
            if known is not None and not known.draining:  # else nobody gets its room
                going[owner, demand] += 1
        for (owner, demand), count in going.items():
            self.standing.leaving(owner, count * self.share(dict(demand.need)))

    def keep(self, promises: Iterable[Promise]) -> None:
        """This room will be taken. Before anything else."""
        of_all: Counter[tuple[Owner, Demand]] = Counter()
        for promise in promises:
            self._promised.setdefault(promise.runner, []).append(promise.demand)
            of_all[promise.owner, promise.demand] += 1
        for (owner, demand), count in of_all.items():
            self.standing.promised(owner, count * self.share(dict(demand.need)))

    def share(self, need: Mapping[str, int]) -> float:
        """Of the pool."""
        return dominant_share(need, self._capacity)

    def opposed(self, victim: Owner, claimant: Owner) -> tuple[list[Account], list[Account]]:
        """The accounts of each that are not the other's as well."""
        theirs, mine = self.standing.counted(victim), self.standing.counted(claimant)
        return [each for each in theirs if each not in mine], [each for each in mine if each not in theirs]

    def suitable(self, demand: Demand) -> Iterator[Runner]:
        """Runners that it could use, of those that are looked at in this round: others in each."""
        for at in range(self._first, self._first + min(LOOKED_AT_MAX, len(self._runners))):
            runner = self._runners[at % len(self._runners)]
            if runner.reserved_for in {None, demand} and runner.suits(demand):
                yield runner

    def taken(self, runner: Runner) -> Amounts:
        """What will be taken of the runner: without what is leaving and stopped, and with what is promised."""
        if runner.id not in self._taken:
            self._look_into(runner)
        return self._taken[runner.id]

    def candidates(self, runner: Runner) -> list[Candidate]:
        """The leases there that may be stopped, the cheapest first."""
        if runner.id not in self._candidates:
            self._look_into(runner)
        return self._candidates[runner.id]

    def _look_into(self, runner: Runner) -> None:
        taken = self._taken[runner.id] = dict(runner.used)
        for demand in self._promised.get(runner.id, ()):
            add(taken, dict(demand.need))
        found = self._candidates[runner.id] = []
        for lease in self._leases.on(runner.id):
            if lease.leaving:
                subtract(taken, lease.need)
            elif lease.preemptible and lease.times_preempted < PREEMPTED_MAX:
                share = self.share(lease.need)
                busy_ms = max(0, self.now_ms - max(lease.started_ms, lease.checkpoint_ms or 0))
                found.append(Candidate(busy_ms * share, -lease.started_ms, lease, share))
        found.sort()

    def take(self, way: Way, runner: Runner, claim: Claim) -> None:
        """The way is gone."""
        taken = self.taken(runner)
        for candidate in way.stopped:
            self.candidates(runner).remove(candidate)
            subtract(taken, candidate.lease.need)
            self.standing.stopped(candidate.lease.owner, candidate.share)
            self.stopped += candidate.share
            if self.dues is not None:
                self.dues.settle(*self.opposed(candidate.lease.owner, claim.owner), candidate.lost)
        need = dict(claim.demand.need)
        add(taken, need)
        self.evictions_left -= bool(way.stopped)
        self.standing.promised(claim.owner, self.share(need))
