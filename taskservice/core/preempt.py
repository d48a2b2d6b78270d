"""Who is stopped so that others get what is their own. A plan and nothing else: whoever carries it out stops the victims.

A claim is somebody's who has waited for long below its reservation or fair share. Victims are leases whose owners are above
their own share and stay at or above it (for a reservation: less than one lease below their fair share, never below what is
reserved for them). So who has lost something has no claim to it in turn. Of the sets of victims that
make room on one runner, the one that loses least is taken: work since the start or the last checkpoint, times the share of the
pool that was busy with it. Victims are added, cheapest first, until the claim fits; then each is left running after all that the
claim fits without, the dearest first (the last step is Kueue's; the bounds on a round are of YARN's kind).

Shares are dominant shares (Ghodsi et al., NSDI 2011). They are counted for tenants, classes and functions alike; a claim and
a victim are compared in those that they do not have in common. So a tenant's urgent task may take the place of its own less
urgent one: that changes nothing for the tenant, but something for the classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from taskservice.core.claims import Account, Claim, Eviction, Owner, RunningLease, Share
from taskservice.core.pool import Pool
from taskservice.core.resources import Amounts, add, dominant_share, fits, subtract
from taskservice.core.runner import Runner
from taskservice.core.standing import ROUNDING, Standing
from taskservice.core.types import Priority, RunnerId

ROUND_MS = 200
"""One plan is made in so long."""

ROUND_RATIO_MAX = 0.1
"""Share of the pool that is stopped in one round; more only if the room for a single lease cannot be made with less."""

PREEMPTED_MAX = 3
"""Times that a task is stopped for others; then it runs to its end."""

CLAIM_AFTER_MS = 300
"""How long somebody has waited before that is a claim: most are served before."""

CLAIM_AGAIN_MS = 10_000
"""How long who has been stopped for others claims nothing: shares may be shifting to and fro."""

CHOICE_MIN = 64
"""Runners that could make room for a claim, among which the best is looked for; in the next round it is among the next ones."""

URGENCY = {priority: urgency for urgency, priority in enumerate(reversed(Priority))}


def plan(
    pool: Pool,
    leases: Iterable[RunningLease],
    shares: Mapping[Account, Share],
    claims: Iterable[Claim],
    stopped_ms: Mapping[Owner, int],
    now_ms: int,
) -> list[Eviction]:
    """What to stop in this round, for whom and where: for who is below its reservation first, then for who waits longest.

    `leases`: all that are preemptible, and all that are leaving. `shares`: nobody is stopped for an account that is not in it, nor
    for the good of one. `stopped_ms`: when a lease of each owner was last stopped for others. A claim for which room is on
    its way, by the plan of a round before, takes that, and nobody is stopped for it.
    """
    planned = _Round(pool, leases, shares, now_ms)
    standing = planned.standing
    honoured = [
        claim
        for claim in claims
        if now_ms - claim.since_ms >= CLAIM_AFTER_MS
        and (claim.owner not in stopped_ms or now_ms - stopped_ms[claim.owner] >= CLAIM_AGAIN_MS)
    ]
    honoured.sort(key=lambda claim: (not standing.below_reservation(standing.counted(claim.owner)), claim.since_ms))
    return [eviction for claim in honoured for eviction in _Case(claim, planned).meet()]


class _Candidate(NamedTuple):
    """A lease that may be stopped for the right claim; the least is the cheapest."""

    lost: float
    """Milliseconds of work, times the share of the pool that was busy with it."""
    newest_first: int
    """Minus the time of its start: of two that lose the same, the newer one is cheaper."""
    lease: RunningLease
    share: float
    """Of the pool."""


class _Way(NamedTuple):
    """How one runner can make room for a lease; the least is the best."""

    beyond: bool
    """It stops more than a round should."""
    lost: float
    victims: int
    order: int
    """The runner's."""
    stopped: tuple[_Candidate, ...] = ()


class _Rule(NamedTuple):
    """How a claim stands against an owner's leases."""

    to_reservation: bool
    judged: tuple[tuple[Account, float], ...]
    """The owner's accounts, and what comes back to each when the claim is met: those that the claim is counted for as well."""


class _Round:
    """One round: what has been stopped and promised so far."""

    def __init__(
        self, pool: Pool, leases: Iterable[RunningLease], shares: Mapping[Account, Share], now_ms: int
    ) -> None:
        self.now_ms = now_ms
        self.runners = pool.runners
        self.standing = Standing(shares)
        self.stopped = 0.0
        """Share of the pool that this round stops."""
        self._capacity = pool.capacity()
        self._taken: dict[RunnerId, Amounts] = {}
        self._candidates: dict[RunnerId, list[_Candidate]] = {}
        self._leaving: dict[RunnerId, list[RunningLease]] = {}
        self._stoppable: dict[RunnerId, list[RunningLease]] = {}
        for lease in leases:
            runner = pool.runners.get(lease.runner)
            if runner is None or runner.draining:
                continue  # nobody gets its room
            if lease.leaving:
                self._leaving.setdefault(lease.runner, []).append(lease)
                self.standing.leaving(lease.owner, self.share(lease.need))
            elif lease.preemptible and lease.times_preempted < PREEMPTED_MAX:
                self._stoppable.setdefault(lease.runner, []).append(lease)

    def share(self, need: Mapping[str, int]) -> float:
        """Of the pool."""
        return dominant_share(need, self._capacity)

    def taken(self, runner: Runner) -> Amounts:
        """What will be taken of the runner: without what is leaving and stopped, and with what is promised."""
        taken = self._taken.get(runner.id)
        if taken is None:
            taken = self._taken[runner.id] = dict(runner.used)
            for lease in self._leaving.get(runner.id, ()):
                subtract(taken, lease.need)
        return taken

    def candidates(self, runner: Runner) -> list[_Candidate]:
        """The leases there that may be stopped, the cheapest first."""
        found = self._candidates.get(runner.id)
        if found is None:
            found = self._candidates[runner.id] = []
            for lease in self._stoppable.get(runner.id, ()):
                share = self.share(lease.need)
                busy_ms = max(0, self.now_ms - max(lease.started_ms, lease.checkpoint_ms or 0))
                found.append(_Candidate(busy_ms * share, -lease.started_ms, lease, share))
            found.sort()
        return found

    def take(self, way: _Way, runner: Runner, claim: Claim) -> None:
        """The way is gone."""
        taken = self.taken(runner)
        for candidate in way.stopped:
            self.candidates(runner).remove(candidate)
            subtract(taken, candidate.lease.need)
            self.standing.stopped(candidate.lease.owner, candidate.share)
            self.stopped += candidate.share
        need = dict(claim.demand.need)
        add(taken, need)
        self.standing.promised(claim.owner, self.share(need))


class _Case:
    """One claim in a round."""

    def __init__(self, claim: Claim, planned: _Round) -> None:
        self._claim = claim
        self._round = planned
        self._standing = planned.standing
        self._need = dict(claim.demand.need)
        self._mine = planned.standing.counted(claim.owner)
        self._rules: dict[Owner, _Rule | None] = {}
        """Whether it is a claim against each owner, as things stand."""

    def meet(self) -> Iterator[Eviction]:
        """Room is made for as many of the claim's leases as it may still have in this round.

        A runner is looked at once, and again when it seems best: what others have got meanwhile makes none of them better.
        """
        unseen, ways = iter(self._runners()), list[_Way]()
        wanted, by_order = self._claim.wanted, {runner.order: runner for runner in self._round.runners.values()}
        while wanted and self._standing.below(self._mine):
            ways_unseen = (way for runner in unseen if (way := self._way(runner)) is not None)
            for way in islice(ways_unseen, max(0, CHOICE_MIN - len(ways))):
                heappush(ways, way)
            if not ways:
                return
            seemed = heappop(ways)
            runner = by_order[seemed.order]
            best = self._way(runner)
            if best == seemed:
                wanted -= 1
                self._round.take(best, runner, self._claim)
                self._rules.clear()
                if best.stopped:
                    yield self._eviction(best, runner)
            if best is not None:
                heappush(ways, best)

    def _runners(self) -> list[Runner]:
        """Those that it could use, from another one on in each round."""
        demand = self._claim.demand
        runners = [
            runner
            for runner in self._round.runners.values()
            if runner.suits(demand) and runner.reserved_for in {None, demand}
        ]
        first = self._round.now_ms // ROUND_MS * CHOICE_MIN % max(1, len(runners))
        return runners[first:] + runners[:first]

    def _eviction(self, way: _Way, runner: Runner) -> Eviction:
        leases = [candidate.lease for candidate in way.stopped]
        ready_ms = self._round.now_ms + max(lease.grace_ms for lease in leases)
        return Eviction(self._claim, runner.id, tuple(lease.token for lease in leases), ready_ms)

    def _way(self, runner: Runner) -> _Way | None:
        taken, capacity = self._round.taken(runner), runner.capacity
        lacking = [n for n, value in self._need.items() if taken.get(n, 0) + value > capacity.get(n, 0)]
        if not lacking:
            return _Way(beyond=False, lost=0.0, victims=0, order=runner.order)
        useful = [each for each in self._round.candidates(runner) if any(name in each.lease.need for name in lacking)]
        victims = self._fewest(useful, taken, capacity)
        ways = [self._rated(victims, runner)]
        if len(victims) != 1:
            # One large lease may do where the owners of many small ones cannot spare them, or be cheaper than them all.
            largest_first = sorted(useful, key=lambda candidate: -candidate.share)
            ways.append(self._rated(self._fewest(largest_first, taken, capacity), runner))
        return min((way for way in ways if way is not None), default=None)

    def _fewest(self, order: Sequence[_Candidate], taken: Amounts, capacity: Amounts) -> list[_Candidate]:
        """Victims in that order, none of which can be spared; none if all together do not make room."""
        left = dict(taken)
        spent: dict[Account, float] = {}
        chosen: list[_Candidate] = []
        for candidate in order:
            if fits(self._need, left, capacity):
                break
            if self._may_stop(candidate, spent):
                chosen.append(candidate)
                subtract(left, candidate.lease.need)
                for account in self._standing.counted(candidate.lease.owner):
                    spent[account] = spent.get(account, 0.0) + candidate.share
        if not fits(self._need, left, capacity):
            return []
        for candidate in sorted(chosen, reverse=True):
            add(left, candidate.lease.need)
            if fits(self._need, left, capacity):
                chosen.remove(candidate)
            else:
                subtract(left, candidate.lease.need)
        return chosen

    def _rated(self, victims: Sequence[_Candidate], runner: Runner) -> _Way | None:
        stopped = self._round.stopped + sum(victim.share for victim in victims)
        beyond = stopped > ROUND_RATIO_MAX + ROUNDING
        if not victims or (beyond and self._round.stopped):
            return None
        return _Way(beyond, sum(victim.lost for victim in victims), len(victims), runner.order, tuple(victims))

    def _may_stop(self, candidate: _Candidate, spent: Mapping[Account, float]) -> bool:
        """Whether the claim may have the lease's room, when so much of its accounts is spent on it already."""
        owner = candidate.lease.owner
        if owner not in self._rules:
            self._rules[owner] = self._rule(owner)
        rule = self._rules[owner]
        return rule is not None and all(
            self._standing.spares(
                account, candidate.share, spent.get(account, 0.0), gained, to_reservation=rule.to_reservation
            )
            for account, gained in rule.judged
        )

    def _rule(self, owner: Owner) -> _Rule | None:
        """How it is a claim against this owner, or None if it is none: only a reservation is one against more urgent work."""
        theirs = self._standing.counted(owner)
        mine = [account for account in self._mine if account not in theirs]
        to_reservation = self._standing.below_reservation(mine)
        more_urgent = URGENCY[owner.priority] > URGENCY[self._claim.owner.priority]
        if not self._standing.below(mine) or (more_urgent and not to_reservation):
            return None
        if all(account in self._mine for account in theirs):
            return None
        gained = self._round.share(self._need)
        return _Rule(to_reservation, tuple((each, gained if each in self._mine else 0.0) for each in theirs))
