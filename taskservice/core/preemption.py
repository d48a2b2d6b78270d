"""Preemption, carried out: who claims room, and whom the plan of this round stops for it.

    refused tasks -> shares -> who lacks something, since when -> claims -> plan -> orders, on record -> runners

A round is made while somebody is refused for want of room, at most one in `ROUND_MS`, and fewer where more than 400 wait. It is by
the clock only while somebody has less than its own: so a pool with room costs nothing, and a full one in which everybody has its
own very little. Claims are made for each tenant's function in each class, never for a task.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator

from taskservice.core.claims import Account, AccountKind, Claim, Eviction, Owner, RunningLease
from taskservice.core.demand import Demand
from taskservice.core.fair.waiting import Refused, refused
from taskservice.core.orders import Order, OrderKind, OrdersGiven
from taskservice.core.preempt import CLAIM_AFTER_MS, plan
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.promises import Told, owner_of
from taskservice.core.runner import Occupied
from taskservice.core.shares import Shares, Wait, shares_of
from taskservice.core.state import Lease, State
from taskservice.core.types import Leaf, Priority, RunnerId, Token

FAIR_AFTER_MS = 5_000
"""How long a tenant has had less than its fair share before that is a claim: until then leases that end by themselves may do. A
class has the shorter `CLAIM_AFTER_MS`, and so has a reservation."""

FAIR_ROUND_MS = 1_000
"""In so long the clock brings a round while none but tenants have less than their fair shares, and nothing was stopped in the last one."""

LOOK_MS_PER_WAIT = 0.5
"""How much further apart rounds are for each function of a tenant that waits in a class: a twentieth of the time goes into them at most."""

NOBODY = Leaf("", "", Priority.BATCH)  # type: ignore[arg-type]  # ids of nobody


def look(state: State, closed: Collection[Demand], held: Container[Leaf], now_ms: int) -> OrdersGiven | None:
    """The orders of this round, if there are any; the room that they will make is promised.

    `closed`: for what there is no room. `held`: leaves of whose next tasks none may run now.
    """
    kept = state.preemption
    kept.due_ms = None
    if not closed or all(function.preemptible is False for function in state.functions.values()):
        kept.since_ms.clear()
        kept.dues.clear()
        return None
    if kept.looked_ms is not None and 0 <= now_ms - kept.looked_ms < kept.rest_ms:
        kept.due_ms = kept.looked_ms + kept.rest_ms
        return None
    kept.looked_ms = now_ms
    kept.forget(lambda token: token in state.leases or state.pool.holds(token), now_ms)
    waits = list(_waits(state, refused(state.turns.tree, closed, now_ms), held))
    kept.rest_ms = max(ROUND_MS, int(LOOK_MS_PER_WAIT * len(waits)))
    shares = shares_of(state.turns, state.pool.capacity(), waits)
    kept.dues.reckon(shares.of, now_ms)
    claims = _claims(state, waits, shares, now_ms)
    if kept.since_ms:
        kept.due_ms = now_ms + (kept.rest_ms if kept.hurries else max(kept.rest_ms, FAIR_ROUND_MS))
    if not claims:
        return None
    book = Book(state, now_ms)
    evictions = plan(state.pool, book, shares.of, claims, kept.stopped_ms, now_ms, kept.promises(), kept.dues)
    if evictions:
        kept.due_ms = now_ms + kept.rest_ms
    orders = [order for eviction in evictions for order in _carried_out(state, book, eviction, now_ms)]
    return OrdersGiven(now_ms, tuple(orders)) if orders else None


def _waits(state: State, refusals: Iterable[Refused], held: Container[Leaf]) -> Iterator[Wait]:
    for each in refusals:
        tasks = sum(state.queues[leaf].count for leaf in each.leaves if leaf not in held)
        if tasks:
            size = _lease_size(state, each)
            yield Wait(each, -(-min(tasks, each.room) // size))


def _lease_size(state: State, each: Refused) -> int:
    """How many of its tasks go into one lease, at most."""
    function, speed = state.functions[each.function], state.speeds.get(each.function)
    if speed is None or not speed.mean_us:
        return 1
    wanted = int(state.limits.lease_target_ms * 1000.0 * function.concurrency / speed.mean_us)
    return max(1, min(wanted, state.limits.lease_tasks_max))


def _claims(state: State, waits: Iterable[Wait], shares: Shares, now_ms: int) -> list[Claim]:
    """Of those who have lacked something for long enough; tenants with the least part of their own come first."""
    kept, capacity = state.preemption, state.pool.capacity()
    since_ms: dict[Account, int] = {}
    claims: list[tuple[float, Claim]] = []
    kept.hurries = False
    for wait in waits:
        lease = max((value / capacity[name] for name, value in wait.demand.need if capacity.get(name)), default=0.0)
        ripe: list[int] = []
        for account in wait.accounts:
            reserved, fair = shares.lacks(account, lease)
            if reserved or fair:
                began_ms = since_ms[account] = min(now_ms, kept.since_ms.get(account, now_ms))
                quick = reserved or account.kind is AccountKind.CLASS
                kept.hurries |= quick
                if now_ms - began_ms >= (CLAIM_AFTER_MS if quick else FAIR_AFTER_MS):
                    ripe.append(began_ms)
        owner = Owner(wait.of.tenant, wait.of.priority, wait.of.function)
        wanted = wait.leases - kept.promised(owner, wait.demand)
        if ripe and wanted > 0:
            tenant = shares.of[wait.accounts[0]]
            part = tenant.used / tenant.own if tenant.own else 1.0
            claims.append((part, Claim(owner, wait.demand, min(ripe), wanted)))
    kept.since_ms = since_ms
    return [claim for _, claim in sorted(claims, key=lambda each: each[0])]


def _carried_out(state: State, book: Book, eviction: Eviction, now_ms: int) -> Iterator[Order]:
    claim = eviction.claim
    why = f"{claim.owner.tenant} is to have room for {claim.owner.function} ({claim.owner.priority})"
    heir = Leaf(claim.owner.tenant, claim.owner.function, claim.owner.priority)
    victims: dict[Token, Told] = {}
    for token in eviction.victims:
        lease = state.leases[token]
        victims[token] = Told(owner_of(lease.leaf), state.turns.demand_of(lease.leaf), eviction.runner)
        yield Order(token, OrderKind.PREEMPT, state.functions[lease.leaf.function].grace_ms, why, heir=heir)
    state.pool.clear(eviction.runner, claim.demand, eviction.ready_ms, now_ms)
    state.preemption.evicts(eviction, victims, now_ms)


class Book:
    """The leases as they are, for a plan: looked at one runner at a time."""

    def __init__(self, state: State, now_ms: int) -> None:
        self._state = state
        self._now_ms = now_ms

    def on(self, runner: RunnerId) -> Iterator[RunningLease]:
        """See `LeaseBook`."""
        for token, occupied in self._state.pool.runners[runner].leases.items():
            yield self._row(token, runner, occupied)

    def leaving(self) -> Iterable[tuple[Owner, Demand, RunnerId]]:
        """See `LeaseBook`."""
        return self._state.preemption.told.values()

    def _row(self, token: Token, runner: RunnerId, occupied: Occupied) -> RunningLease:
        lease = self._state.leases.get(token)
        if lease is None:  # its tasks have all been reported
            nobody = owner_of(NOBODY)
            return RunningLease(token, runner, nobody, occupied.need, 0, None, False, 0, 0, leaving=True)
        leaf, function = lease.leaf, self._state.functions[lease.leaf.function]
        stoppable = function.preemptible if function.preemptible is not None else leaf.priority is not Priority.CRITICAL
        return RunningLease(
            token,
            runner,
            owner_of(leaf),
            occupied.need,
            occupied.started_ms,
            checkpoint_ms=None,
            preemptible=stoppable,
            times_preempted=max(attempt.preempted for attempt in lease.open.values()),
            grace_ms=function.grace_ms,
            leaving=self._leaves(lease, occupied, function.grace_ms),
        )

    def _leaves(self, lease: Lease, occupied: Occupied, grace_ms: int) -> bool:
        """Whether it was told to stop, or is of a kind that is over before it could be stopped; not if it takes longer."""
        if lease.preempted or occupied.short or lease.cancelling.issuperset(lease.open):
            return True
        ends_ms = occupied.ends_ms
        return ends_ms is not None and self._now_ms < ends_ms <= occupied.started_ms + grace_ms
