"""Round after round of preemption, on real pools in virtual time: it gets there, and then it stops. Figures with `pytest -s`."""

from __future__ import annotations

from math import ceil
from random import Random

import pytest

from helpers.preempting import Party, Struggle
from taskservice.core.demand import Demand, demand_for
from taskservice.core.preempt import CLAIM_AFTER_MS, CLAIM_AGAIN_MS, ROUND_RATIO_MAX
from taskservice.core.preempt_round import PREEMPTED_MAX, ROUND_MS
from taskservice.core.specs import Resources

ONE = demand_for(Resources())
NODE = demand_for(Resources(cpu_m=4000))
GRACE_MS = 2_000
STEP_MS = ROUND_MS // 4
FOR_EVER = (10**9, 10**9)


def cpus(demand: Demand) -> int:
    return dict(demand.need)["CPU"] // 1000


def run_until_own(world: Struggle, party: Party, at_most_ms: int) -> int:
    """How long it takes until the party runs what is reserved for it."""
    began_ms = world.now_ms
    while world.used(party) < party.reserved - 1e-9:
        world.run(STEP_MS)
        assert world.now_ms - began_ms <= at_most_ms, f"{world.used(party):.3f} of {party.reserved}"
    return world.now_ms - began_ms


def check_rounds(world: Struggle) -> None:
    """No round stopped more than it may, no task was stopped too often, and nobody got back at once what it had lost."""
    total = world.pool.capacity()["CPU"] / 1000
    lost_ms: dict[tuple[str, str], int] = {}
    for at_ms, evictions in world.rounds:
        stopped = sum(cpus(world.party_of[token].demand) for eviction in evictions for token in eviction.victims)
        assert stopped <= ROUND_RATIO_MAX * total or len(evictions) == 1
        for eviction in evictions:
            winner = eviction.claim.owner.tenant
            for loser in {world.party_of[token].name for token in eviction.victims}:
                assert at_ms - lost_ms.get((winner, loser), -CLAIM_AGAIN_MS) >= CLAIM_AGAIN_MS
                lost_ms[loser, winner] = at_ms
    assert all(task.times_preempted <= PREEMPTED_MAX for _, _, task in world.stops)


@pytest.mark.parametrize(("demand", "name"), [(ONE, "one CPU"), (NODE, "a whole node")])
@pytest.mark.parametrize("seed", range(2))
def test_a_reservation_is_had_within_the_rounds_it_needs_and_the_grace(seed: int, demand: Demand, name: str) -> None:
    """Two others have filled all nodes with long leases; three tenths of the pool are reserved for who comes now."""
    late = Party("late", demand, reserved=0.3)
    others = [Party("x", ONE, weight=2.0, wants=200), Party("y", ONE, reserved=0.2, wants=60)]
    world = Struggle(seed, 20, [late, *others], GRACE_MS)
    world.run(30_000)
    assert world.rounds == []
    late.wants = 500
    rounds = ceil(0.3 * 80 / cpus(demand) / (ROUND_RATIO_MAX * 80 // cpus(demand)))
    bound_ms = CLAIM_AFTER_MS + ROUND_MS + rounds * ROUND_MS + GRACE_MS + STEP_MS
    took_ms = run_until_own(world, late, bound_ms)
    stops, lost_s = len(world.stops), world.wasted_ms / 1000
    world.run(120_000)
    print(
        f"\nleases of {name}: the 24 of 80 CPUs that were reserved were had after {took_ms} ms (at most {bound_ms}: {rounds} "
        f"rounds and the grace), {stops} leases were stopped, {lost_s:.0f} s of work lost; "
        f"{len(world.stops) - stops} stopped in the two minutes after"
    )
    assert len(world.stops) - stops <= 2
    check_rounds(world)


@pytest.mark.parametrize("seed", range(6))
def test_it_comes_to_rest(seed: int) -> None:
    """Parties of any sizes, weights and reservations come one after the other and want more than there is; nothing ends by
    itself. So all that happens is preemption, and it happens only after somebody has come."""
    rng = Random(seed)
    reserved = [0.3, 0.2, 0.1, 0.0, 0.0]
    parties = [
        Party(name, demand_for(Resources(cpu_m=1000 * rng.randint(1, 4))), part, rng.choice([0.5, 1.0, 2.0]), FOR_EVER)
        for name, part in zip("abcde", reserved, strict=True)
    ]
    world = Struggle(seed, rng.randint(5, 25), parties, GRACE_MS)
    order = rng.sample(parties, len(parties))
    for party in order:
        party.wants = 200
        world.run(20_000)
    came, stops = world.now_ms, len(world.stops)
    last_ms = max((at_ms for at_ms, _, _ in world.stops), default=0)
    world.run(40_000)
    print(
        f"\nseed {seed}: {stops} leases stopped while five parties came, the last {last_ms - came + 20_000} ms after the last one; "
        f"{len(world.stops) - stops} in the 40 s after; shares of "
        + ", ".join(f"{party.name} {world.used(party):.2f} of {world.own()[party]:.2f}" for party in parties)
    )
    assert len(world.stops) == stops
    assert stops
    check_rounds(world)


def test_who_comes_and_goes_all_the_time_does_not_stop_the_same_task_for_ever() -> None:
    """Every three seconds somebody wants half of the pool, and then nothing."""
    fickle = Party("fickle", ONE, reserved=0.5, lasts_ms=(500, 1_500))
    steady = Party("steady", ONE, wants=100, lasts_ms=FOR_EVER)
    world = Struggle(1, 10, [fickle, steady], GRACE_MS)
    for _ in range(40):
        fickle.wants = 40 - fickle.wants
        world.run(3_000)
    times = [task.times_preempted for _, _, task in world.stops]
    print(f"\n{len(world.stops)} stops in two minutes, no task more than {max(times)} times")
    assert max(times) == PREEMPTED_MAX
    check_rounds(world)
