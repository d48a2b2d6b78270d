"""The plan of one round: whom it stops and whom it never does."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from taskservice.core.claims import Account, AccountKind, Claim, Eviction, Owner, RunningLease, Share
from taskservice.core.demand import demand_for
from taskservice.core.pool import Pool
from taskservice.core.preempt import (
    CLAIM_AFTER_MS,
    CLAIM_AGAIN_MS,
    PREEMPTED_MAX,
    ROUND_RATIO_MAX,
    URGENCY,
    plan,
)
from taskservice.core.resources import Amounts, add, amounts, dominant_share, fits, subtract
from taskservice.core.specs import Resources
from taskservice.core.standing import ROUNDING
from taskservice.core.types import FunctionName, Priority, RunnerId, TenantId, Token

NOW_MS = 1_000_000
GRACE_MS = 2_000


def owner(tenant: str, priority: Priority = Priority.NORMAL, function: str = "app.f") -> Owner:
    return Owner(TenantId(tenant), priority, FunctionName(function))


def tenant(name: str) -> Account:
    return Account(AccountKind.TENANT, name)


def class_of(priority: Priority) -> Account:
    return Account(AccountKind.CLASS, priority)


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
        return plan(self.pool, self.leases.values(), self.shares(), self.claims, self.stopped_ms, NOW_MS)

    def victims(self) -> list[Token]:
        return [token for eviction in self.plan() for token in eviction.victims]


def two_tenants(cpus: int = 4, reserved: float = 0.5) -> Scene:
    """`b` has all of one node, half of which is reserved for `a`, who waits."""
    scene = Scene(Resources(cpu_m=1000 * cpus))
    scene.own = {tenant("a"): (reserved, 0.0), tenant("b"): (0.0, 1 - reserved)}
    for number in range(cpus):
        scene.run(owner("b"), busy_ms=1_000 * (number + 1))
    scene.claim(owner("a"))
    return scene


def test_who_has_done_least_is_stopped() -> None:
    scene = two_tenants()
    (eviction,) = scene.plan()
    assert eviction.victims == (Token(1, 1),)
    assert (eviction.runner, eviction.ready_ms) == ("r0", NOW_MS + GRACE_MS)


def test_work_that_a_checkpoint_keeps_is_not_lost() -> None:
    scene = two_tenants()
    old = Token(1, 4)
    scene.leases[old] = scene.leases[old]._replace(checkpoint_ms=NOW_MS - 10)
    assert scene.victims() == [old]


def test_the_set_is_the_cheapest_of_all_runners_and_none_of_it_could_be_spared() -> None:
    """On the first runner one long lease would do. On the second a cheap one is not enough, and a dear one alone is."""
    scene = Scene(*[Resources(cpu_m=3000)] * 2)
    scene.own = {tenant("a"): (0.5, 0.0), tenant("b"): (0.0, 0.1)}
    scene.run(owner("b"), 0, Resources(cpu_m=3000), busy_ms=60_000)
    scene.run(owner("b"), 1, Resources(cpu_m=1000), busy_ms=1_000)
    dear = scene.run(owner("b"), 1, Resources(cpu_m=2000), busy_ms=5_000)
    scene.claim(owner("a"), Resources(cpu_m=2000))
    assert scene.victims() == [dear]


def test_a_victim_that_turns_out_not_to_be_needed_is_left_running() -> None:
    """The cheap lease, which is the larger one too, has no GPU; the one that has frees enough by itself."""
    scene = Scene(Resources(cpu_m=4000, gpu_m=1000), Resources(cpu_m=0, gpu_m=9000))
    scene.own = {tenant("a"): (0.5, 0.0), tenant("b"): (0.0, 0.0)}
    scene.run(owner("b"), need=Resources(cpu_m=3000), busy_ms=1_000)
    with_gpu = scene.run(owner("b"), need=Resources(cpu_m=1000, gpu_m=1000), busy_ms=60_000)
    scene.claim(owner("a"), Resources(cpu_m=1000, gpu_m=1000))
    assert scene.victims() == [with_gpu]


@pytest.mark.parametrize(
    "spared",
    [
        {"preemptible": False},
        {"times_preempted": PREEMPTED_MAX},
    ],
)
def test_some_are_never_stopped(spared: dict[str, object]) -> None:
    scene = two_tenants()
    scene.leases = {token: lease._replace(**spared) for token, lease in scene.leases.items()}  # type: ignore[arg-type]
    assert scene.plan() == []


def test_nobody_is_stopped_who_has_no_more_than_its_own() -> None:
    scene = two_tenants()
    scene.own[tenant("b")] = (0.0, 1.0)
    assert scene.plan() == []


def test_who_has_its_own_claims_nothing() -> None:
    scene = two_tenants()
    scene.own[tenant("a")] = (0.0, 0.0)
    assert scene.plan() == []


def test_a_claim_is_met_up_to_what_is_its_own() -> None:
    scene = two_tenants(cpus=40, reserved=0.05)
    scene.own[tenant("b")] = (0.0, 0.5)
    scene.claims = []
    scene.claim(owner("a"), wanted=10)
    assert len(scene.victims()) == 2


def test_nobody_is_stopped_whose_share_is_not_known() -> None:
    scene = two_tenants()
    del scene.own[tenant("b")]
    assert scene.plan() == []


def test_a_large_lease_is_stopped_where_small_ones_may_not_all_be() -> None:
    """The owner has 2 CPUs more than its own; the cheap lease has 1.5, which are too few, and with it the other one too many."""
    scene = Scene(Resources(cpu_m=3500))
    scene.own = {tenant("a"): (0.0, 0.9), tenant("b"): (0.0, 1.5 / 3.5)}
    scene.run(owner("b"), need=Resources(cpu_m=1500), busy_ms=1_000)
    large = scene.run(owner("b"), need=Resources(cpu_m=2000), busy_ms=9_000)
    scene.claim(owner("a"), Resources(cpu_m=2000))
    assert scene.victims() == [large]


def test_a_claim_must_have_waited_and_its_owner_not_have_been_stopped_just_now() -> None:
    scene = two_tenants()
    scene.claims = []
    scene.claim(owner("a"), waits_ms=CLAIM_AFTER_MS - 1)
    assert scene.plan() == []
    scene.claim(owner("a"), waits_ms=CLAIM_AFTER_MS)
    scene.stopped_ms[owner("a")] = NOW_MS - CLAIM_AGAIN_MS + 1
    assert scene.plan() == []
    scene.stopped_ms[owner("a")] = NOW_MS - CLAIM_AGAIN_MS
    assert len(scene.plan()) == 1


def test_room_that_is_on_its_way_is_not_made_twice() -> None:
    scene = two_tenants()
    (victim,) = scene.victims()
    scene.leases[victim] = scene.leases[victim]._replace(leaving=True)
    assert scene.plan() == []


def test_a_round_stops_a_tenth_of_the_pool_or_what_one_lease_needs() -> None:
    scene = two_tenants(cpus=40)
    scene.claims = []
    scene.claim(owner("a"), wanted=30)
    assert len(scene.victims()) == 4
    scene.claims = []
    scene.claim(owner("a"), Resources(cpu_m=10_000), wanted=2)
    (eviction,) = scene.plan()
    assert len(eviction.victims) == 10


def test_a_reservation_comes_before_a_fair_share_and_then_who_waits_longest() -> None:
    scene = two_tenants(cpus=10, reserved=0.5)
    scene.own[tenant("c")] = scene.own[tenant("d")] = (0.0, 0.1)
    scene.claims = []
    scene.claim(owner("c"), waits_ms=5_000)
    scene.claim(owner("d"), waits_ms=9_000)
    assert [eviction.claim.owner.tenant for eviction in scene.plan()] == ["d"]
    scene.claim(owner("a"))
    assert [eviction.claim.owner.tenant for eviction in scene.plan()] == ["a"]


def test_within_a_tenant_an_urgent_class_may_take_the_place_of_another_but_not_the_other_way() -> None:
    scene = Scene(Resources(cpu_m=4000))
    high, low = owner("a", Priority.HIGH), owner("a", Priority.LOW)
    scene.own = {tenant("a"): (0.0, 1.0), class_of(Priority.HIGH): (0.0, 0.8), class_of(Priority.LOW): (0.0, 0.2)}
    for _ in range(4):
        scene.run(low)
    scene.claim(high)
    assert len(scene.victims()) == 1
    scene = Scene(Resources(cpu_m=4000))
    scene.own = {tenant("a"): (0.0, 1.0), class_of(Priority.HIGH): (0.0, 0.5), class_of(Priority.LOW): (0.0, 0.5)}
    for _ in range(4):
        scene.run(high)
    scene.claim(low)
    assert scene.plan() == []


def test_only_a_reservation_stops_more_urgent_work() -> None:
    scene = two_tenants()
    scene.leases = {t: lease._replace(owner=owner("b", Priority.HIGH)) for t, lease in scene.leases.items()}
    assert len(scene.victims()) == 1
    scene.own[tenant("a")] = (0.0, 0.5)
    assert scene.plan() == []


def test_nor_more_of_it_than_is_reserved() -> None:
    scene = two_tenants(cpus=40)
    scene.leases = {t: lease._replace(owner=owner("b", Priority.HIGH)) for t, lease in scene.leases.items()}
    scene.own[tenant("a")] = (1 / 40, 0.5)
    scene.claims = [scene.claims[0]._replace(wanted=3)]
    assert len(scene.victims()) == 1


def test_what_a_claimant_has_is_its_own_until_it_has_left() -> None:
    scene = two_tenants(cpus=8)
    for _ in range(2):
        token = Token(1, 8 - _)
        scene.leases[token] = scene.leases[token]._replace(owner=owner("a"), leaving=True)
    scene.own = {tenant("a"): (2 / 8, 0.0), tenant("b"): (0.0, 0.0)}
    assert scene.plan() == []


def test_a_function_can_have_a_share_of_its_own() -> None:
    scene = Scene(Resources(cpu_m=4000))
    scene.own = {
        Account(AccountKind.FUNCTION, "app.g"): (0.25, 0.0),
        Account(AccountKind.FUNCTION, "app.f"): (0.0, 0.75),
    }
    for _ in range(4):
        scene.run(owner("a"))
    scene.claim(owner("a", function="app.g"), wanted=2)
    assert len(scene.victims()) == 1


def test_a_draining_runner_and_one_that_is_kept_for_others_are_left_alone() -> None:
    scene = two_tenants()
    scene.pool.clear(RunnerId("r0"), demand_for(Resources(cpu_m=4000)), NOW_MS, NOW_MS)
    assert scene.plan() == []
    scene = two_tenants()
    scene.pool.join(RunnerId("r1"), "node", Resources(cpu_m=1))
    scene.pool.drain(RunnerId("r0"))
    assert scene.plan() == []


def test_what_leaves_with_its_runner_is_nobodys_gain() -> None:
    """It had a resource of which there is nothing any more, so its share is of nothing."""
    scene = two_tenants()
    scene.pool.join(RunnerId("r1"), "node", Resources(cpu_m=1000, gpu_m=1000))
    scene.run(owner("b"), 1, Resources(gpu_m=1000), leaving=True)
    scene.pool.drain(RunnerId("r1"))
    assert len(scene.victims()) == 1


def test_a_reservation_is_had_although_nobody_has_a_whole_lease_too_much() -> None:
    """Ten have one lease each and nine tenths of one as their own. That is no claim of one against another."""
    scene = Scene(Resources(cpu_m=10_000))
    scene.own = {tenant(name): (0.0, 0.09) for name in "bcdefghijk"}
    for name in "bcdefghijk":
        scene.run(owner(name))
    scene.own[tenant("a")] = (0.0, 0.1)
    scene.claim(owner("a"))
    assert scene.plan() == []
    scene.own[tenant("a")] = (0.1, 0.1)
    assert len(scene.victims()) == 1
    scene.own.update({tenant(name): (0.09, 0.09) for name in "bcdefghijk"})
    assert scene.plan() == [], "a reservation does not give way to another"


# Whatever the scene

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


def scenes(claims_max: int = 4, wanted_max: int = 5) -> st.SearchStrategy[Scene]:
    return st.builds(
        drawn, st.integers(0, 2**32), st.integers(1, 6), st.integers(1, claims_max), st.integers(1, wanted_max)
    )


def share(scene: Scene, need: Amounts) -> float:
    return dominant_share(need, scene.pool.capacity())


def stopped(scene: Scene, evictions: list[Eviction]) -> list[RunningLease]:
    return [scene.leases[token] for eviction in evictions for token in eviction.victims]


@settings(max_examples=500, deadline=None)
@given(scenes())
def test_who_is_stopped_may_be(scene: Scene) -> None:
    evictions = scene.plan()
    event(f"evictions: {min(3, len(evictions))}")
    victims = stopped(scene, evictions)
    assert len({victim.token for victim in victims}) == len(victims)
    shares = scene.shares()
    for victim in victims:
        assert victim.preemptible
        assert not victim.leaving
        assert victim.times_preempted < PREEMPTED_MAX
    for eviction in evictions:
        for victim in stopped(scene, [eviction]):
            assert victim.runner == eviction.runner
            others = [account for account in victim.owner.accounts if account not in eviction.claim.owner.accounts]
            judged = [account for account in others if account in shares]
            assert judged
            assert all(shares[account].used > shares[account].own for account in judged), "not above its own"
            if URGENCY[victim.owner.priority] > URGENCY[eviction.claim.owner.priority]:
                mine = [account for account in eviction.claim.owner.accounts if account in shares]
                assert any(shares[account].used < shares[account].reserved for account in mine)


@settings(max_examples=500, deadline=None)
@given(scenes())
def test_nobody_ends_below_its_own_because_of_it(scene: Scene) -> None:
    """When the victims are gone and the claims have got their room. To a reservation, it is less than a lease of a fair share."""
    shares, evictions = scene.shares(), scene.plan()
    reserved = [
        victim
        for eviction in evictions
        if any(shares[a].used < shares[a].reserved for a in eviction.claim.owner.accounts if a in shares)
        for victim in stopped(scene, [eviction])
    ]
    leaving = [lease for lease in scene.leases.values() if lease.leaving]
    gained = [(eviction.claim.owner, share(scene, dict(eviction.claim.demand.need))) for eviction in evictions]
    for account, had in shares.items():
        gone = sum(share(scene, lease.need) for lease in leaving if account in lease.owner.accounts)
        lost = sum(share(scene, v.need) for v in stopped(scene, evictions) if account in v.owner.accounts)
        got = sum(amount for of, amount in gained if account in of.accounts)
        has = had.used - gone
        part = max((share(scene, v.need) for v in reserved if account in v.owner.accounts), default=0.0)
        keeps = max(had.reserved, had.fair - part) if part else had.own
        assert has - lost + got >= min(has, keeps) - 10 * ROUNDING


@settings(max_examples=500, deadline=None)
@given(scenes())
def test_a_round_is_bounded_and_makes_the_room_that_it_says(scene: Scene) -> None:
    evictions = scene.plan()
    total = sum(share(scene, victim.need) for victim in stopped(scene, evictions))
    assert total <= ROUND_RATIO_MAX + ROUNDING or len(evictions) == 1
    for runner in scene.pool.runners.values():
        here = [eviction for eviction in evictions if eviction.runner == runner.id]
        taken = dict(runner.used)
        for lease in scene.leases.values():
            if lease.leaving and lease.runner == runner.id:
                subtract(taken, lease.need)
        for eviction in here:
            for victim in stopped(scene, [eviction]):
                subtract(taken, victim.need)
            assert fits(dict(eviction.claim.demand.need), taken, runner.capacity)
            add(taken, dict(eviction.claim.demand.need))
    for claim in scene.claims:
        assert sum(eviction.claim == claim for eviction in evictions) <= claim.wanted * scene.claims.count(claim)


@settings(max_examples=500, deadline=None)
@given(scenes(claims_max=1, wanted_max=1))
def test_no_victim_could_be_spared(scene: Scene) -> None:
    for eviction in scene.plan():
        runner = scene.pool.runners[eviction.runner]
        taken = dict(runner.used)
        for lease in scene.leases.values():
            if lease.leaving and lease.runner == runner.id:
                subtract(taken, lease.need)
        victims = stopped(scene, [eviction])
        for spared in victims:
            left = dict(taken)
            for victim in victims:
                subtract(left, {} if victim is spared else victim.need)
            assert not fits(dict(eviction.claim.demand.need), left, runner.capacity)


def test_these_scenes_are_not_empty() -> None:
    """In a fair part of them somebody is stopped."""
    evictions = [len(drawn(seed, 6, 4, 5).plan()) for seed in range(200)]
    assert sum(map(bool, evictions)) > 80, evictions
    assert max(evictions) > 2
