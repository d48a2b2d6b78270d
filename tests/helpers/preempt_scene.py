"""A pool with leases and claims, for plans of who is stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from taskservice.core.claims import Account, AccountKind, Claim, Eviction, Owner, RunningLease, Share
from taskservice.core.demand import Demand, demand_for
from taskservice.core.pool import Pool
from taskservice.core.preempt import (
    plan,
)
from taskservice.core.resources import amounts, dominant_share
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName, Priority, RunnerId, TenantId, Token

NOW_MS = 1_000_000
GRACE_MS = 2_000


def owner(tenant: str, priority: Priority = Priority.NORMAL, function: str = "app.f") -> Owner:
    return Owner(TenantId(tenant), priority, FunctionName(function))


def tenant(name: str) -> Account:
    return Account(AccountKind.TENANT, name)


def class_of(priority: Priority) -> Account:
    return Account(AccountKind.CLASS, priority)


class Listed:
    """A `LeaseBook` of leases that are all there."""

    def __init__(self, leases: Iterable[RunningLease]) -> None:
        self._by_runner: dict[RunnerId, list[RunningLease]] = {}
        for lease in leases:
            self._by_runner.setdefault(lease.runner, []).append(lease)

    def on(self, runner: RunnerId) -> list[RunningLease]:
        return self._by_runner.get(runner, [])

    def leaving(self) -> Iterator[tuple[Owner, Demand, RunnerId]]:
        leaving = (lease for there in self._by_runner.values() for lease in there if lease.leaving)
        return ((each.owner, Demand(tuple(sorted(each.need.items()))), each.runner) for each in leaving)


class Scene:
    """A pool with leases, and who has a share of it."""

    def __init__(self, *nodes: Resources) -> None:
        self.pool = Pool()
        self.leases: dict[Token, RunningLease] = {}
        self.own: dict[Account, tuple[float, float]] = {}
        """Reservation and fair share."""
        self.claims: list[Claim] = []
        self.stopped_ms: dict[Owner, int] = {}
        for number, capacity in enumerate(nodes):
            self.pool.join(RunnerId(f"r{number}"), "node", capacity)

    @classmethod
    def of_cpus(cls, cpus: int) -> Scene:
        """One node."""
        return cls(Resources(cpu_m=1000 * cpus))

    def book(self) -> Listed:
        return Listed(self.leases.values())

    def run(
        self, of: Owner, runner: int = 0, need: Resources | None = None, busy_ms: int = 1_000, **options: object
    ) -> Token:
        """A lease runs since `busy_ms`."""
        token = Token(1, len(self.leases) + 1)
        demand = demand_for(need or Resources())
        id = RunnerId(f"r{runner}")
        started_ms = NOW_MS - busy_ms
        self.pool.occupy(id, token, demand, short=False, now_ms=started_ms)
        given = {"checkpoint_ms": None, "preemptible": True, "times_preempted": 0, "grace_ms": GRACE_MS, **options}
        self.leases[token] = RunningLease(token, id, of, dict(demand.need), started_ms, **given)  # type: ignore[arg-type]
        return token

    def claim(self, of: Owner, need: Resources | None = None, wanted: int = 1, waits_ms: int = 1_000) -> None:
        self.claims.append(Claim(of, demand_for(need or Resources()), NOW_MS - waits_ms, wanted))

    def shares(self) -> dict[Account, Share]:
        used = dict.fromkeys(self.own, 0.0)
        for lease in self.leases.values():
            for account in lease.owner.accounts:
                if account in used:
                    used[account] += dominant_share(lease.need, self.pool.capacity())
        return {account: Share(used[account], *own) for account, own in self.own.items()}

    def plan(self) -> list[Eviction]:
        return plan(self.pool, self.book(), self.shares(), self.claims, self.stopped_ms, NOW_MS)

    def victims(self) -> list[Token]:
        return [token for eviction in self.plan() for token in eviction.victims]


PRIORITIES = (Priority.HIGH, Priority.NORMAL, Priority.BATCH)
OWN = ((0.0, 0.1, 0.0), (0.0, 0.3, 0.0), (0.3, 0.6, 0.0), (1.0, 1.0, 0.0), (0.5, 1.0, 0.3), (1.2, 1.0, 0.2))
"""What is reserved and what is fair, as multiples of what is used; and what is added to both."""


def drawn_owner(rng: Random) -> Owner:
    return owner(rng.choice("abcd"), rng.choice(PRIORITIES), rng.choice(["app.f", "app.g"]))


def drawn_need(rng: Random) -> Resources:
    return Resources(500 * rng.randint(1, 6), 1000 * (rng.random() < 0.1), rng.randint(0, 4) << 30)


def drawn(seed: int, nodes: int, claims: int, wanted_max: int) -> Scene:
    """Full nodes, some who have more than their own and some who have less, and claims of the latter."""
    rng = Random(seed)
    scene = Scene(*[Resources(1000 * rng.randint(2, 8), rng.choice([0, 2000]), 16 << 30) for _ in range(nodes)])
    for number in range(nodes):
        need = drawn_need(rng)
        while scene.pool.runners[RunnerId(f"r{number}")].fits(amounts(need)):
            busy_ms = rng.randrange(100_000)
            scene.run(
                drawn_owner(rng),
                number,
                need,
                busy_ms,
                checkpoint_ms=rng.choice([None, NOW_MS - busy_ms // 2]),
                preemptible=rng.random() < 0.9,
                times_preempted=rng.choice([0, 0, 0, 1, 2, 3]),
                leaving=rng.random() < 0.1,
            )
            need = rng.choice([Resources(500), drawn_need(rng)])
    accounts = [*map(tenant, "abcd"), *(map(class_of, PRIORITIES) if rng.random() < 0.5 else ())]
    scene.own = dict.fromkeys(accounts, (0.0, 0.0))
    for account, has in scene.shares().items():
        reserved, fair, more = rng.choice(OWN)
        scene.own[account] = (reserved * has.used + more, fair * has.used + more)
    shares = scene.shares()
    poor = [name for name in "abcd" if shares[tenant(name)].used < shares[tenant(name)].own] or ["a"]
    for _ in range(claims):
        claimant = drawn_owner(rng)._replace(tenant=TenantId(rng.choice(poor)))
        scene.claim(claimant, drawn_need(rng), rng.randint(1, wanted_max), rng.randint(200, 10_000))
    return scene
