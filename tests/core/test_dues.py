"""How far a fair share is a claim against another: by what has been had too much and too little for as long as it was wanted."""

from __future__ import annotations

from helpers.preempt_scene import NOW_MS, Scene, owner, tenant
from taskservice.core.claims import Account, Share
from taskservice.core.dues import LOST_PER_DUE, Dues
from taskservice.core.preempt import plan
from taskservice.core.types import Token

A, B = tenant("a"), tenant("b")


def shares(a: float, b: float) -> dict[Account, Share]:
    """Half of the pool is the own of each."""
    return {A: Share(a, 0.0, 0.5), B: Share(b, 0.0, 0.5)}


def test_it_is_machine_time_beyond_ones_own() -> None:
    dues = Dues()
    dues.reckon(shares(0.25, 0.75), 1_000)
    assert dues.beyond == {A: 0.0, B: 0.0}
    dues.reckon(shares(0.75, 0.25), 3_000)
    assert dues.beyond == {A: -500.0, B: 500.0}
    dues.reckon(shares(0.5, 0.5), 4_000)
    assert dues.beyond == {A: -250.0, B: 250.0}, "and what is made good counts"
    dues.reckon({B: Share(1.0, 0.0, 1.0)}, 5_000)
    assert dues.beyond == {B: 250.0}, "who wants nothing more begins anew"
    dues.clear()
    dues.reckon(shares(0.0, 1.0), 9_000)
    assert dues.beyond == {A: 0.0, B: 0.0}


def test_a_clock_that_is_put_back_counts_for_nothing() -> None:
    dues = Dues()
    dues.reckon(shares(0.0, 1.0), 5_000)
    dues.reckon(shares(0.0, 1.0), 4_000)
    dues.reckon(shares(0.0, 1.0), 4_100)
    assert dues.beyond == {A: -50.0, B: 50.0}


def test_it_covers_twice_as_much_and_once() -> None:
    dues = Dues({A: -100.0, B: 80.0})
    assert dues.cover([B], [A], {}, 80 * LOST_PER_DUE)
    assert not dues.cover([B], [A], {}, 80 * LOST_PER_DUE + 1)
    assert not dues.cover([B], [A], {B: 1.0}, 80 * LOST_PER_DUE)
    assert not dues.cover([A], [B], {}, 1.0), "who has had less than its own is no victim"
    dues.settle([B], [A], 80 * LOST_PER_DUE)
    assert dues.beyond == {A: -20.0, B: 0.0}
    assert not dues.cover([B], [A], {}, 1.0)


def test_not_more_than_the_claimant_lacks() -> None:
    dues = Dues({A: -10.0, B: 1_000.0})
    assert dues.cover([B], [A], {}, 10 * LOST_PER_DUE)
    assert not dues.cover([B], [A], {A: 1.0}, 10 * LOST_PER_DUE)


def contested(dues: Dues, reserved: float = 0.0) -> list[Token]:
    """`b` has all four CPUs, each for some seconds; half of them are the own of `a`. Who is stopped?"""
    scene = Scene.of_cpus(4)
    scene.own = {A: (reserved, 0.5), B: (0.0, 0.5)}
    for number in range(4):
        scene.run(owner("b"), busy_ms=1_000 * (number + 1))
    scene.claim(owner("a"), wanted=2)
    evictions = plan(scene.pool, scene.book(), scene.shares(), scene.claims, scene.stopped_ms, NOW_MS, dues=dues)
    return [token for eviction in evictions for token in eviction.victims]


def test_between_fair_shares_as_much_is_lost_as_is_due() -> None:
    assert contested(Dues({A: -125.0, B: 125.0})) == [Token(1, 1)]
    assert contested(Dues({A: -124.0, B: 200.0})) == []
    assert contested(Dues({A: -200.0, B: 124.0})) == []
    assert contested(Dues({A: 200.0, B: 200.0})) == [], "`a` has had enough, though it has nothing now"


def test_what_is_lost_is_settled_at_once() -> None:
    dues = Dues({A: -125.0, B: 125.0})
    assert contested(dues) == [Token(1, 1)]
    assert dues.beyond == {A: 0.0, B: 0.0}
    assert contested(dues) == []


def test_a_reservation_waits_for_nothing() -> None:
    assert contested(Dues({A: 0.0, B: 0.0}), reserved=0.5) == [Token(1, 1)]
