"""A pool in virtual time whose tenants have more to run than there is room for, and are stopped for each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from helpers.preempt_scene import Listed
from taskservice.core.claims import Account, AccountKind, Claim, Eviction, Owner, RunningLease, Share
from taskservice.core.demand import Demand
from taskservice.core.pool import Pool
from taskservice.core.preempt import plan
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.resources import dominant_share
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName, Priority, RunnerId, TenantId, Token

CHECKPOINT_MS = 5_000


@dataclass(slots=True, eq=False)
class Task:
    """What a lease runs: it goes on from its last checkpoint when it was stopped."""

    left_ms: int
    times_preempted: int = 0


@dataclass(slots=True, eq=False)
class Party:
    """A tenant with a queue of one kind of tasks."""

    name: str
    demand: Demand
    reserved: float = 0.0
    weight: float = 1.0
    lasts_ms: tuple[int, int] = (60_000, 3_600_000)
    priority: Priority = Priority.NORMAL
    queue: list[Task] = field(default_factory=list)
    wants: int = 0
    """Leases that it keeps running or waiting."""
    below_since_ms: int | None = None
    """Since when it has waited with less than its own."""
    runs: int = 0
    leaves: int = 0
    """Of its leases that run, those that were told to stop."""

    @property
    def owner(self) -> Owner:
        return Owner(TenantId(self.name), self.priority, FunctionName(f"{self.name}.f"))

    @property
    def account(self) -> Account:
        return Account(AccountKind.TENANT, self.name)


@dataclass(slots=True, eq=False)
class Running:
    party: Party
    task: Task
    runner: RunnerId
    started_ms: int
    ends_ms: int
    leaving: bool = False


class Struggle:
    """Runners of four CPUs each, and the parties."""

    def __init__(self, seed: int, nodes: int, parties: list[Party], grace_ms: int = 2_000) -> None:
        self.rng = Random(seed)
        self.pool = Pool()
        self.parties = parties
        self.grace_ms = grace_ms
        self.now_ms = 0
        self.running: dict[Token, Running] = {}
        self.party_of: dict[Token, Party] = {}
        """Of each lease there ever was."""
        self.rounds: list[tuple[int, list[Eviction]]] = []
        """Those in which anybody was stopped."""
        self.stops: list[tuple[int, Party, Task]] = []
        self.wasted_ms = 0
        """Work that was lost, of leases of whatever size."""
        self._stopped_ms: dict[Owner, int] = {}
        self._ends: list[tuple[int, Token]] = []
        self._own: tuple[tuple[int, ...], dict[Party, float]] | None = None
        """What each wanted, and what was its own then."""
        self._granted = 0
        for number in range(nodes):
            self.pool.join(RunnerId(f"r{number}"), "node", Resources(cpu_m=4000))

    def run(self, ms: int) -> None:
        """So much time passes, in steps of a quarter of a round."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self._end_what_is_over()
            self._demand()
            self._schedule()
            if self.now_ms % ROUND_MS == 0:
                self._preempt()
            self.now_ms += ROUND_MS // 4

    def used(self, party: Party) -> float:
        """Its share of the pool, without what is leaving."""
        return (party.runs - party.leaves) * self._share(party)

    def own(self) -> dict[Party, float]:
        """What each party is entitled to: its reservation, and of the rest by weight, as far as it wants it."""
        wanted = tuple(party.wants for party in self.parties)
        if self._own and self._own[0] == wanted:
            return self._own[1]
        wants = {party: min(1.0, party.wants * self._share(party)) for party in self.parties}
        low, high = 0.0, 1e3
        for _ in range(60):
            level = (low + high) / 2
            shares = {party: min(want, max(party.reserved, party.weight * level)) for party, want in wants.items()}
            low, high = (level, high) if sum(shares.values()) < 1.0 else (low, level)
        self._own = wanted, shares
        return shares

    def _share(self, party: Party) -> float:
        return dominant_share(dict(party.demand.need), self.pool.capacity())

    def _demand(self) -> None:
        for party in self.parties:
            has = len(party.queue) + party.runs
            party.queue += [Task(self.rng.randint(*party.lasts_ms)) for _ in range(party.wants - has)]
            if has > party.wants:
                del party.queue[party.wants - has :]

    def _schedule(self) -> None:
        """Whoever has least of its own is next; a queue that was refused is not asked again in this turn."""
        own = self.own()
        refused: list[Party] = []
        while waiting := [party for party in self.parties if party.queue and party not in refused]:
            party = min(waiting, key=lambda party: (self.used(party) / max(own[party], 1e-9), party.name))
            runner = self.pool.place(party.demand, 0, self.now_ms, party.queue[0].left_ms)
            if runner is None:
                refused.append(party)
                continue
            task = party.queue.pop(0)
            self._granted += 1
            party.runs += 1
            token = Token(1, self._granted)
            self.pool.occupy(runner.id, token, party.demand, short=False, now_ms=self.now_ms, lasts_ms=task.left_ms)
            self.party_of[token] = party
            self.running[token] = Running(party, task, runner.id, self.now_ms, self.now_ms + task.left_ms)
            heappush(self._ends, (self.now_ms + task.left_ms, token))
        self.pool.waiting([party.demand for party in refused], self.now_ms)

    def _preempt(self) -> None:
        own = self.own()
        claims = list(self._claims(own))
        shares = {
            party.account: Share(
                party.runs * self._share(party),
                party.reserved,
                own[party],
            )
            for party in self.parties
        }
        evictions = plan(self.pool, Listed(self._rows()), shares, claims, self._stopped_ms, self.now_ms)
        if evictions:
            self.rounds.append((self.now_ms, evictions))
        for eviction in evictions:
            self.pool.clear(eviction.runner, eviction.claim.demand, eviction.ready_ms, self.now_ms)
            for token in eviction.victims:
                lease = self.running[token]
                lease.leaving = True
                lease.party.leaves += 1
                lease.ends_ms = min(lease.ends_ms, self.now_ms + self.rng.randint(0, self.grace_ms))
                heappush(self._ends, (lease.ends_ms, token))
                self._stopped_ms[lease.party.owner] = self.now_ms

    def _claims(self, own: dict[Party, float]) -> Iterator[Claim]:
        for party in self.parties:
            if not party.queue or self.used(party) >= own[party] - 1e-9:
                party.below_since_ms = None
                continue
            if party.below_since_ms is None:
                party.below_since_ms = self.now_ms
            yield Claim(party.owner, party.demand, party.below_since_ms, len(party.queue))

    def _rows(self) -> Iterator[RunningLease]:
        for token, lease in self.running.items():
            kept_ms = lease.started_ms + (self.now_ms - lease.started_ms) // CHECKPOINT_MS * CHECKPOINT_MS
            yield RunningLease(
                token,
                lease.runner,
                lease.party.owner,
                dict(lease.party.demand.need),
                lease.started_ms,
                kept_ms,
                preemptible=True,
                times_preempted=lease.task.times_preempted,
                grace_ms=self.grace_ms,
                leaving=lease.leaving,
            )

    def _end_what_is_over(self) -> None:
        while self._ends and self._ends[0][0] <= self.now_ms:
            ends_ms, token = heappop(self._ends)
            lease = self.running.get(token)
            if lease is None or lease.ends_ms != ends_ms:
                continue
            del self.running[token]
            lease.party.runs -= 1
            self.pool.lease_over(lease.runner, token)
            if lease.leaving:
                lease.party.leaves -= 1
                ran_ms = ends_ms - lease.started_ms
                self.wasted_ms += ran_ms % CHECKPOINT_MS
                lease.task.left_ms = max(1, lease.task.left_ms - ran_ms // CHECKPOINT_MS * CHECKPOINT_MS)
                lease.task.times_preempted += 1
                lease.party.queue.insert(0, lease.task)
                self.stops.append((self.now_ms, lease.party, lease.task))
