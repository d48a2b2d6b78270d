"""A large lease is not starved by small ones, and no slot idles for it: rule by rule, and in virtual time.

Figures with `pytest -s`.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.pool_world import TICK_MS, Stream, World
from taskservice.core.demand import Demand, demand_for
from taskservice.core.pool import Pool
from taskservice.core.reservation import (
    LOOKED_AT_MAX,
    OVERDUE_MS_MAX,
    RESERVE_AFTER_MS,
    RESERVE_OTHERS_AFTER_MS,
    RESERVED_RATIO_MAX,
)
from taskservice.core.runner import UNFORESEEN_MS_MIN
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId, Token

SMALL = demand_for(Resources(cpu_m=1000))
PAIR = demand_for(Resources(cpu_m=2000))
TRIPLE = demand_for(Resources(cpu_m=3000))
LARGE = demand_for(Resources(cpu_m=4000))
NOW_MS = 1_000_000
HORIZON_MS = 300_000


class Bench:
    """Nodes of four CPUs, on which leases of one CPU are to end in these many milliseconds; None: nobody knows when."""

    def __init__(self, *nodes: list[int | None]) -> None:
        self.pool = Pool()
        self.granted = 0
        for number, ends in enumerate(nodes):
            self.pool.join(RunnerId(f"r{number}"), "node", Resources(cpu_m=4000))
            for lasts_ms in ends:
                self.run(SMALL, number, lasts_ms)

    def run(self, demand: Demand, number: int, lasts_ms: int | None) -> Token:
        self.granted += 1
        token = Token(1, self.granted)
        self.pool.occupy(RunnerId(f"r{number}"), token, demand, short=False, now_ms=NOW_MS, lasts_ms=lasts_ms)
        return token

    def over(self, number: int, *tokens: int) -> None:
        for token in tokens:
            self.pool.lease_over(RunnerId(f"r{number}"), Token(1, token))

    def wait(self, *demands: Demand, ms: int = RESERVE_AFTER_MS) -> dict[str, int]:
        """These have waited so long; gives which nodes are reserved, and for when from then on."""
        self.pool.waiting(demands, NOW_MS)
        self.pool.waiting(demands, NOW_MS + ms)
        return {id: kept.at_ms - NOW_MS for id, kept in self.pool.reservations.by_runner.items()}

    def place(self, demand: Demand, lasts_ms: int | None = None, at_ms: int = NOW_MS + RESERVE_AFTER_MS) -> str | None:
        runner = self.pool.place(demand, 0, at_ms, lasts_ms)
        return runner.id if runner else None


def test_the_node_that_will_be_empty_first_is_reserved() -> None:
    bench = Bench([1_000, 2_000, 3_000, 9_000], [4_000, 5_000, 6_000, 7_000])
    assert bench.wait(LARGE) == {"r1": 7_000}
    assert Bench([1_000, 2_000, 3_000, 9_000], [4_000, 5_000, 6_000, 7_000]).wait(PAIR) == {"r0": 2_000}


def test_none_is_while_the_wait_is_short() -> None:
    assert Bench([9_000] * 4).wait(LARGE, ms=RESERVE_AFTER_MS - 1) == {}


def test_a_clock_that_goes_back_makes_nobody_wait_for_it() -> None:
    bench = Bench([1_000, 2_000, 3_000, 4_000])
    bench.pool.waiting([LARGE], NOW_MS + 3_600_000)
    assert bench.wait(LARGE)


def test_none_is_where_one_lease_frees_enough() -> None:
    """Whose turn it is gets what it frees, so nothing has to be gathered: equals never reserve anything against each other."""
    assert Bench([1_000, 2_000, 3_000, 4_000]).wait(SMALL, ms=RESERVE_OTHERS_AFTER_MS) == {}
    bench = Bench([1_000, 9_000])
    bench.run(PAIR, 0, 5_000)
    assert bench.wait(TRIPLE) == {"r0": 5_000}, "the two of them free as much together"
    bench = Bench([9_000, 9_000])
    bench.run(PAIR, 0, 5_000)
    assert bench.wait(PAIR) == {}


def test_others_may_use_it_if_they_are_over_in_time_or_fit_beside() -> None:
    bench = Bench([1_000, 2_000, 3_000, 9_000])
    assert bench.wait(TRIPLE) == {"r0": 3_000}
    bench.over(0, 1)
    left_ms = 3_000 - RESERVE_AFTER_MS
    assert bench.place(SMALL, left_ms) == "r0"
    assert bench.place(SMALL, left_ms + 1) is None
    assert bench.place(SMALL, None) is None
    bench.over(0, 4)
    assert bench.place(SMALL, None) == "r0", "three CPUs are enough for who is waited for"
    assert bench.place(PAIR, None) is None


def test_who_is_waited_for_gets_it_and_then_it_is_reserved_no_more() -> None:
    bench = Bench([1_000, 2_000, 3_000, 9_000])
    bench.wait(TRIPLE)
    bench.over(0, 1, 2, 3)
    assert bench.place(TRIPLE) == "r0"
    bench.run(TRIPLE, 0, None)
    assert bench.pool.reservations.by_runner == {}


def test_a_reservation_ends_with_the_wait_or_when_it_was_in_vain_or_with_its_node() -> None:
    full: list[int | None] = [1_000, 2_000, 3_000, 4_000]
    for end in ("gone", "late", "clock", "drained", "lost"):
        bench = Bench(full)
        assert bench.wait(LARGE) == {"r0": 4_000}
        number = bench.pool.number
        bench.over(0, 1)
        if end == "gone":
            bench.pool.waiting([PAIR], NOW_MS + RESERVE_AFTER_MS)
        elif end == "late":
            bench.pool.waiting([LARGE], NOW_MS + 4_000 + OVERDUE_MS_MAX - 1)
            assert bench.pool.reservations.by_runner
            bench.pool.waiting([], NOW_MS + 4_000 + OVERDUE_MS_MAX)
        elif end == "clock":
            bench.pool.waiting([LARGE], NOW_MS)
        else:
            (bench.pool.drain if end == "drained" else bench.pool.leave)(RunnerId("r0"))
        assert bench.pool.reservations.by_runner == {}, end
        assert bench.pool.freed_since(SMALL, number)
        assert (bench.place(SMALL) is None) is (end in {"drained", "lost"})


def test_who_was_placed_elsewhere_keeps_its_reservation_only_while_it_is_first_in_turn() -> None:
    for first in (True, False):
        bench = Bench([1_000, 2_000, 3_000, 4_000])
        bench.wait(LARGE)
        bench.pool.join(RunnerId("r1"), "node", Resources(cpu_m=4000))
        bench.run(LARGE, 1, None)
        bench.pool.waiting([LARGE, SMALL] if first else [SMALL, LARGE], NOW_MS + RESERVE_AFTER_MS)
        assert bool(bench.pool.reservations.by_runner) is first


def test_so_much_of_the_pool_is_reserved_at_most_and_others_in_turn_must_have_waited_long() -> None:
    demands = [demand_for(Resources(cpu_m=4000, memory_bytes=size)) for size in range(5)]
    for nodes in (1, 9, 25):
        bench = Bench()
        for number in range(nodes):
            bench.pool.join(RunnerId(f"r{number}"), "node", Resources(cpu_m=4000, memory_bytes=100))
            for _ in range(4):
                bench.run(SMALL, number, 5_000)
        assert len(bench.wait(*demands, ms=RESERVE_OTHERS_AFTER_MS - 1)) == 1
        bench.pool.waiting(demands, NOW_MS + RESERVE_OTHERS_AFTER_MS)
        kept = dict(bench.pool.reservations.by_runner)
        assert len(kept) == max(1, int(RESERVED_RATIO_MAX * nodes))
        bench.pool.waiting(demands, NOW_MS + RESERVE_OTHERS_AFTER_MS + 1)
        assert bench.pool.reservations.by_runner == kept


def test_not_all_nodes_are_looked_at_but_all_in_the_end() -> None:
    """Only on the last one of many is there anything to gather. Who has found nothing waits before it looks again."""
    nodes = 2 * LOOKED_AT_MAX + 1
    bench = Bench()
    for number in range(nodes):
        bench.pool.join(RunnerId(f"r{number}"), "node", Resources(cpu_m=4000))
        for _ in range(1 if number < nodes - 1 else 2):
            bench.run(TRIPLE if number < nodes - 1 else PAIR, number, 5_000)
    waits = [bench.wait(LARGE)]
    for turn in (2, 3):
        bench.pool.waiting([LARGE], NOW_MS + turn * RESERVE_AFTER_MS - 1)
        bench.pool.waiting([LARGE], NOW_MS + turn * RESERVE_AFTER_MS)
        waits.append(dict.fromkeys(bench.pool.reservations.by_runner, 0))
    assert waits == [{}, {}, {f"r{nodes - 1}": 0}]


def test_what_was_cleared_is_kept_for_all_for_whom_it_was() -> None:
    bench = Bench([9_000] * 4)
    for _ in range(2):
        bench.pool.clear(RunnerId("r0"), PAIR, NOW_MS + 2_000, NOW_MS)
    bench.over(0, 1, 2, 3, 4)
    assert bench.place(SMALL, 60_000) is None
    bench.run(PAIR, 0, 60_000)
    bench.pool.waiting([SMALL, PAIR], NOW_MS)
    assert bench.place(SMALL) is None, "not even now that it is not the first in turn"
    assert bench.place(PAIR) == "r0"
    bench.run(PAIR, 0, 60_000)
    assert bench.pool.reservations.by_runner == {}


def small(rng: Random, mean_ms: int, expected_ms: int | None) -> Stream:
    """Half to one and a half times the mean."""
    return Stream("small", SMALL, lambda: rng.randint(mean_ms // 2, mean_ms * 3 // 2), expected_ms)


def large(lasts_ms: int = 1_000, **options: int) -> Stream:
    return Stream("large", LARGE, lambda: lasts_ms, lasts_ms, **options)


def bound_ms(small_max_ms: int) -> int:
    """What a large lease waits at most: until a runner is reserved, until what runs there then is thought to be over, and
    until what goes on beyond that is. What is not over when it should be is thought to take as long again as it has."""
    thought_ms = max(small_max_ms, UNFORESEEN_MS_MIN)
    return RESERVE_AFTER_MS + TICK_MS + thought_ms + small_max_ms


@pytest.mark.parametrize(("expected_ms", "known"), [(0, "exactly"), (2_000, "by the mean"), (None, "not at all")])
@pytest.mark.parametrize("nodes", [1, 8])
def test_a_large_lease_starts_within_the_bound_and_slots_do_not_idle(
    nodes: int, expected_ms: int | None, known: str
) -> None:
    stream = large(from_ms=5_000)
    world = World([4] * nodes, [small(Random(1), 2_000, expected_ms), stream])
    world.run(HORIZON_MS)
    most_ms, mean_ms = max(stream.waits_ms), sum(stream.waits_ms) / len(stream.waits_ms)
    capacity_ms = world.total["CPU"] * HORIZON_MS
    share = 4_000 * 1_000 * stream.started / (capacity_ms - world.total["CPU"] * 5_000)
    eligible, idle = world.idle_eligible_ms / capacity_ms, world.idle_ms / capacity_ms
    print(
        f"\n{nodes} nodes, durations known {known}: {stream.started} large leases ({share:.0%} of the pool), waited {mean_ms:.0f} ms on the mean, "
        f"{most_ms} ms at most (bound {bound_ms(3_000)}); idle while somebody eligible waited {eligible:.3%}, "
        f"while anybody did {idle:.2%}"
    )
    assert most_ms <= bound_ms(3_000)
    assert eligible <= 0.01
    if nodes > 1:
        assert 0.45 < share < 0.52, "half of the pool is its own"


def test_without_reservations_it_never_starts() -> None:
    """So the bound above is the reservations' doing."""
    stream = large(from_ms=5_000)
    World([4], [small(Random(1), 2_000, 0), stream], reserving=False).run(HORIZON_MS)
    assert stream.started == 0


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(4, 8), min_size=1, max_size=4),
    st.integers(20, 5_000),
    st.sampled_from([0, 1, None]),
)
def test_no_large_lease_is_starved(seed: int, cpus: list[int], mean_ms: int, known: int | None) -> None:
    expected_ms = mean_ms if known == 1 else known
    stream = large(mean_ms, from_ms=1_000)
    world = World(cpus, [small(Random(seed), mean_ms, expected_ms), stream])
    world.run(1_000 + 40 * bound_ms(2 * mean_ms))
    assert stream.started >= 10
    assert max(stream.waits_ms) <= bound_ms(2 * mean_ms)
    assert world.idle_eligible_ms <= 0.01 * world.total["CPU"] * world.now_ms
