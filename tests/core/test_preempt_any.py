"""Whatever the scene: whom the plan of a round stops, and how many."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from helpers.preempt_scene import Scene, drawn
from taskservice.core.claims import Eviction, RunningLease
from taskservice.core.preempt import ROUND_RATIO_MAX, URGENCY
from taskservice.core.preempt_round import PREEMPTED_MAX
from taskservice.core.resources import Amounts, add, dominant_share, fits, subtract
from taskservice.core.standing import ROUNDING


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
    """When the victims are gone and the claims have got their room. To more urgent work, as to a
    reservation, it is less than a lease of a fair share."""
    shares, evictions = scene.shares(), scene.plan()
    yielding = [
        victim
        for eviction in evictions
        for victim in stopped(scene, [eviction])
        if any(shares[a].used < shares[a].reserved for a in eviction.claim.owner.accounts if a in shares)
        or URGENCY[victim.owner.priority] < URGENCY[eviction.claim.owner.priority]
    ]
    leaving = [lease for lease in scene.leases.values() if lease.leaving]
    gained = [(eviction.claim.owner, share(scene, dict(eviction.claim.demand.need))) for eviction in evictions]
    for account, had in shares.items():
        gone = sum(share(scene, lease.need) for lease in leaving if account in lease.owner.accounts)
        lost = sum(share(scene, v.need) for v in stopped(scene, evictions) if account in v.owner.accounts)
        got = sum(amount for of, amount in gained if account in of.accounts)
        has = had.used - gone
        part = max((share(scene, v.need) for v in yielding if account in v.owner.accounts), default=0.0)
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
