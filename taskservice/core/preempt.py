"""Who is stopped so that others get what is their own. A plan and nothing else: whoever carries it out stops the victims.

A claim is somebody's who has waited for long below its reservation or fair share. Victims are leases whose owners are above
their own share and stay at or above it (for a reservation, or more urgent work: less than one lease below their fair share,
never below what is reserved for them). Between fair shares of one class, those of the moment do not suffice: see `dues`. So who has lost something has no claim to it in turn. Of the sets of victims that
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
from itertools import chain, islice
from typing import NamedTuple

from taskservice.core.claims import Account, Claim, Eviction, LeaseBook, Owner, Promise, Share
from taskservice.core.dues import Dues
from taskservice.core.pool import Pool
from taskservice.core.preempt_round import CHOICE_MIN, Candidate, Round, Way
from taskservice.core.resources import Amounts, add, fits, subtract
from taskservice.core.runner import Runner
from taskservice.core.standing import ROUNDING
from taskservice.core.types import Priority

ROUND_RATIO_MAX = 0.1
"""Share of the pool that is stopped in one round; more only if the room for a single lease cannot be made with less."""

CLAIM_AFTER_MS = 300
"""How long somebody has waited before that is a claim: most are served before."""

CLAIM_AGAIN_MS = 10_000
"""How long who has been stopped for others claims nothing: shares may be shifting to and fro."""

URGENCY = {priority: urgency for urgency, priority in enumerate(reversed(Priority))}


def plan(
    pool: Pool,
    leases: LeaseBook,
    shares: Mapping[Account, Share],
    claims: Iterable[Claim],
    stopped_ms: Mapping[Owner, int],
    now_ms: int,
    promises: Iterable[Promise] = (),
    dues: Dues | None = None,
) -> list[Eviction]:
    """What to stop in this round, for whom and where: for who is below its reservation first, then for who waits longest.

    `shares`: nobody is stopped for an account that is not in it, nor for the good of one. `stopped_ms`: when a lease of each
    owner was last stopped for others. `promises`: room that is being made, for which the claims do not ask again. Where
    anybody is leaving whose room is not promised, a claim takes that, and nobody is stopped for it. `dues`: what is lost is settled
    with them; None: how long anybody has had too much or too little does not matter.
    """
    planned = Round(pool, leases, shares, now_ms, dues)
    planned.keep(promises)
    standing = planned.standing
    honoured = [
        claim
        for claim in claims
        if now_ms - claim.since_ms >= CLAIM_AFTER_MS
        and (claim.owner not in stopped_ms or now_ms - stopped_ms[claim.owner] >= CLAIM_AGAIN_MS)
    ]
    honoured.sort(key=lambda claim: (not standing.below_reservation(standing.counted(claim.owner)), claim.since_ms))
    return [eviction for claim in honoured for eviction in _Case(claim, planned).meet()]


class _Rule(NamedTuple):
    """How a claim stands against an owner's leases."""

    whole_leases: bool
    """Its fair share gives way by what is beyond whole leases."""
    judged: tuple[tuple[Account, float], ...]
    """The owner's accounts, and what comes back to each when the claim is met: those that the claim is counted for as well."""


class _Case:
    """One claim in a round."""

    def __init__(self, claim: Claim, planned: Round) -> None:
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
        ways, seen = list[Way](), dict[int, Runner]()
        unseen = self._unseen(seen)
        wanted = self._claim.wanted
        while wanted and self._round.evictions_left and self._standing.below(self._mine):
            for way in islice(unseen, max(0, CHOICE_MIN - len(ways))):
                heappush(ways, way)
            if not ways:
                return
            seemed = heappop(ways)
            runner = seen[seemed.order]
            best = self._way(runner)
            if best == seemed:
                wanted -= 1
                self._round.take(best, runner, self._claim)
                self._rules.clear()
                if best.stopped:
                    yield self._eviction(best, runner)
            if best is not None:
                heappush(ways, best)

    def _unseen(self, seen: dict[int, Runner]) -> Iterator[Way]:
        """The ways of one runner after the other, each of which is `seen` then."""
        for runner in self._round.suitable(self._claim.demand):
            way = self._way(runner)
            if way is not None:
                seen[runner.order] = runner
                yield way

    def _eviction(self, way: Way, runner: Runner) -> Eviction:
        leases = [candidate.lease for candidate in way.stopped]
        ready_ms = self._round.now_ms + max(lease.grace_ms for lease in leases)
        return Eviction(self._claim, runner.id, tuple(lease.token for lease in leases), ready_ms)

    def _way(self, runner: Runner) -> Way | None:
        taken, capacity = self._round.taken(runner), runner.capacity
        lacking = [n for n, value in self._need.items() if taken.get(n, 0) + value > capacity.get(n, 0)]
        if not lacking:
            return Way(beyond=False, lost=0.0, victims=0, order=runner.order)
        useful = [each for each in self._round.candidates(runner) if any(name in each.lease.need for name in lacking)]
        victims = self._fewest(useful, taken, capacity)
        ways = [self._rated(victims, runner)]
        if len(victims) != 1:
            # One large lease may do where the owners of many small ones cannot spare them, or be cheaper than them all.
            largest_first = sorted(useful, key=lambda candidate: -candidate.share)
            ways.append(self._rated(self._fewest(largest_first, taken, capacity), runner))
        return min((way for way in ways if way is not None), default=None)

    def _fewest(self, order: Sequence[Candidate], taken: Amounts, capacity: Amounts) -> list[Candidate]:
        """Victims in that order, none of which can be spared; none if all together do not make room."""
        left = dict(taken)
        spent: dict[Account, float] = {}
        lost: dict[Account, float] = {}
        chosen: list[Candidate] = []
        for candidate in order:
            if fits(self._need, left, capacity):
                break
            if self._may_stop(candidate, spent) and self._may_lose(candidate, lost):
                chosen.append(candidate)
                subtract(left, candidate.lease.need)
                for account in self._standing.counted(candidate.lease.owner):
                    spent[account] = spent.get(account, 0.0) + candidate.share
                for account in chain(*self._round.opposed(candidate.lease.owner, self._claim.owner)):
                    lost[account] = lost.get(account, 0.0) + candidate.lost
        if not fits(self._need, left, capacity):
            return []
        for candidate in sorted(chosen, reverse=True):
            add(left, candidate.lease.need)
            if fits(self._need, left, capacity):
                chosen.remove(candidate)
            else:
                subtract(left, candidate.lease.need)
        return chosen

    def _rated(self, victims: Sequence[Candidate], runner: Runner) -> Way | None:
        stopped = self._round.stopped + sum(victim.share for victim in victims)
        beyond = stopped > ROUND_RATIO_MAX + ROUNDING
        if not victims or (beyond and self._round.stopped):
            return None
        return Way(beyond, sum(victim.lost for victim in victims), len(victims), runner.order, tuple(victims))

    def _may_stop(self, candidate: Candidate, spent: Mapping[Account, float]) -> bool:
        """Whether the claim may have the lease's room, when so much of its accounts is spent on it already."""
        owner = candidate.lease.owner
        if owner not in self._rules:
            self._rules[owner] = self._rule(owner)
        rule = self._rules[owner]
        return rule is not None and all(
            self._standing.spares(
                account, candidate.share, spent.get(account, 0.0), gained, whole_leases=rule.whole_leases
            )
            for account, gained in rule.judged
        )

    def _may_lose(self, candidate: Candidate, lost: Mapping[Account, float]) -> bool:
        """Whether the lease's work may be lost for the claim, when so much is `lost` for it already: as much as is due, if both
        have but fair shares of the same class."""
        owner, dues = candidate.lease.owner, self._round.dues
        rule = self._rules[owner]
        if dues is None or rule is None or rule.whole_leases:
            return True
        theirs, mine = self._round.opposed(owner, self._claim.owner)
        return dues.cover(theirs, mine, lost, candidate.lost)

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
        less_urgent = URGENCY[owner.priority] < URGENCY[self._claim.owner.priority]
        return _Rule(
            to_reservation or less_urgent, tuple((each, gained if each in self._mine else 0.0) for each in theirs)
        )
