"""The plan of one round: whom it stops and whom it never does."""

from __future__ import annotations

import pytest

from helpers.preempt_scene import GRACE_MS, NOW_MS, Scene, class_of, owner, tenant
from taskservice.core.claims import Account, AccountKind
from taskservice.core.demand import demand_for
from taskservice.core.preempt import (
    CLAIM_AFTER_MS,
    CLAIM_AGAIN_MS,
)
from taskservice.core.preempt_round import PREEMPTED_MAX
from taskservice.core.specs import Resources
from taskservice.core.types import Priority, RunnerId, Token


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
