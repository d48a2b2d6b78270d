"""Where leases go. The orders that the pool keeps are compared with a look at all runners; figures with `pytest -s`."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from helpers.counting import calls_of
from taskservice.core.demand import Demand, demand_for
from taskservice.core.lease_wire import HeldLease
from taskservice.core.placement import STALE_MAX
from taskservice.core.pool import ORDERS_MAX, Pool
from taskservice.core.reservation import RESERVED_RATIO_MAX
from taskservice.core.resources import Amounts, add, dominant_share, fits
from taskservice.core.runner import LEDGER_ENTRIES_MAX, Runner
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName, RunnerId, Token

GIB = 1 << 30
CPU = demand_for(Resources())
PLAIN = Resources(cpu_m=4000, memory_bytes=16 * GIB)
WITH_GPU = Resources(cpu_m=4000, gpu_m=1000, memory_bytes=16 * GIB)


class Bench:
    """A pool, and what a test does to it."""

    def __init__(self, **runners: Resources) -> None:
        self.pool = Pool()
        self.granted = 0
        for name, capacity in runners.items():
            self.pool.join(RunnerId(name), "node", capacity)

    def place(self, demand: Demand, ahead_max: int = 0) -> str | None:
        runner = self.pool.place(demand, ahead_max, 0)
        return runner.id if runner else None

    def grant(self, demand: Demand, runner: str | None = None, *, short: bool = False) -> Token:
        """The lease is on this runner, or on the best one."""
        self.granted += 1
        token = Token(1, self.granted)
        to = runner or self.place(demand, 1)
        assert to is not None
        self.pool.occupy(RunnerId(to), token, demand, short=short, now_ms=0)
        return token


def test_the_least_loaded_by_dominant_share_is_best() -> None:
    """Not by CPUs: `a` has most of its memory taken, by a lease that needs hardly any CPU."""
    bench = Bench(a=PLAIN, b=PLAIN)
    bench.grant(demand_for(Resources(cpu_m=100, memory_bytes=12 * GIB)), "a")
    bench.grant(demand_for(Resources(cpu_m=2000)), "b")
    assert bench.place(CPU) == "b"


@pytest.mark.parametrize(
    ("need", "fits_it"),
    [
        (Resources(cpu_m=2000, memory_bytes=8 * GIB), True),
        (Resources(cpu_m=2001), False),
        (Resources(cpu_m=100, memory_bytes=8 * GIB + 1), False),
        (Resources(cpu_m=100, gpu_m=1), False),
        (Resources(cpu_m=0, custom_m=(("red", 500),)), True),
        (Resources(cpu_m=0, custom_m=(("red", 501),)), False),
        (Resources(cpu_m=0, custom_m=(("blue", 1),)), False),
    ],
)
def test_a_lease_fits_in_every_resource_or_not_at_all(need: Resources, *, fits_it: bool) -> None:
    bench = Bench(a=Resources(cpu_m=4000, memory_bytes=16 * GIB, custom_m=(("red", 1000),)))
    bench.grant(demand_for(Resources(cpu_m=2000, memory_bytes=8 * GIB, custom_m=(("red", 500),))))
    assert (bench.place(demand_for(need)) is not None) is fits_it


def test_what_needs_no_gpu_goes_where_none_is_while_there_is_room() -> None:
    bench = Bench(gpu=WITH_GPU, plain=PLAIN)
    assert [bench.pool.holds(bench.grant(CPU)) for _ in range(4)] == [True] * 4
    assert bench.pool.runners[RunnerId("plain")].load == 1
    assert bench.place(CPU) == "gpu", "better there than not at all"
    assert bench.place(demand_for(Resources(gpu_m=1000))) == "gpu"


def test_a_free_gpu_node_is_better_than_waiting_behind_short_leases() -> None:
    bench = Bench(gpu=WITH_GPU, plain=PLAIN)
    for _ in range(4):
        bench.grant(CPU, "plain", short=True)
    assert bench.place(CPU, ahead_max=1) == "gpu"


def test_labels_are_asked_for_by_name_and_value() -> None:
    bench = Bench(nowhere=PLAIN)
    bench.pool.join(RunnerId("here"), "node", PLAIN, labels=(("zone", "a"), ("market", "spot")))
    assert bench.place(demand_for(Resources(), (("zone", "a"),))) == "here"
    assert bench.place(demand_for(Resources(), (("zone", "a"), ("market", "spot")))) == "here"
    assert bench.place(demand_for(Resources(), (("zone", "b"),))) is None
    bench.pool.join(RunnerId("here"), "node", PLAIN, labels=(("zone", "b"),))
    assert bench.place(demand_for(Resources(), (("zone", "b"),))) == "here"


def test_packed_leases_leave_whole_nodes_free() -> None:
    bench = Bench(a=PLAIN, b=PLAIN, c=PLAIN)
    bench.grant(CPU, "b")
    packed = demand_for(Resources(), pack=True)
    for _ in range(4):
        bench.grant(packed)
    assert [len(runner.leases) for runner in bench.pool.runners.values()] == [1, 4, 0]


def test_a_function_is_spread_whatever_else_loads_the_nodes() -> None:
    bench = Bench(a=PLAIN, b=PLAIN, c=PLAIN)
    bench.grant(demand_for(Resources(cpu_m=2000)), "a")
    spread = demand_for(Resources(), spread=FunctionName("app.f"))
    tokens = [bench.grant(spread) for _ in range(3)]
    assert [runner.spread for runner in bench.pool.runners.values()] == [{"app.f": 1}] * 3
    bench.pool.lease_over(RunnerId("a"), next(t for t in tokens if t in bench.pool.runners[RunnerId("a")].leases))
    assert bench.place(spread) == "a"


def test_a_draining_node_gets_nothing_and_counts_for_nothing() -> None:
    bench = Bench(a=PLAIN, b=PLAIN)
    assert bench.pool.slots(CPU) == 8
    assert bench.pool.capacity() == {"CPU": 8000, "memory": 32 * GIB}
    bench.pool.drain(RunnerId("a"))
    assert (bench.place(CPU), bench.pool.slots(CPU)) == ("b", 4)
    assert bench.pool.capacity() == {"CPU": 4000, "memory": 16 * GIB}
    bench.pool.leave(RunnerId("b"))
    assert (bench.place(CPU), bench.pool.slots(CPU)) == (None, 1)


def test_short_leases_let_others_wait_behind_them_but_not_behind_long_ones() -> None:
    bench = Bench(a=Resources(cpu_m=2000))
    two = demand_for(Resources(cpu_m=2000))
    bench.grant(CPU, short=True)
    token = bench.grant(CPU, short=True)
    assert bench.place(two, ahead_max=0) is None
    assert bench.place(two, ahead_max=1) == "a"
    bench.pool.straggles(RunnerId("a"), token)
    assert bench.place(two, ahead_max=3) is None, "one of the two will be there for long"
    assert bench.place(CPU, ahead_max=1) == "a"


def test_a_lease_that_is_held_is_known_until_it_is_over_or_its_runner_is() -> None:
    bench = Bench(a=PLAIN, b=PLAIN)
    one, other = bench.grant(CPU, "a"), bench.grant(CPU, "b")
    bench.pool.join(RunnerId("c"), "node", PLAIN, (HeldLease(Token(0, 9), Resources()),))
    assert all(bench.pool.holds(token) for token in (one, other, Token(0, 9)))
    bench.pool.lease_over(RunnerId("a"), one)
    bench.pool.leave(RunnerId("b"))
    assert [bench.pool.holds(token) for token in (one, other, Token(0, 9))] == [False, False, True]


class Twin:
    """A pool to which anything happens, beside what can be said of it by looking at every runner."""

    NEEDS = (Resources(), Resources(cpu_m=500, memory_bytes=GIB), Resources(cpu_m=3000), Resources(cpu_m=0, gpu_m=1000))

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.pool = Pool()
        self.ahead_max = rng.randrange(3)
        self.now_ms = 0
        self.names = 0
        self.seq = 0
        self.demands = [demand_for(need) for need in self.NEEDS] + [
            demand_for(self.NEEDS[0], (("zone", "a"),)),
            demand_for(self.NEEDS[1], spread=FunctionName("app.f")),
            demand_for(self.NEEDS[1], pack=True),
        ]
        self.refused: dict[Demand, tuple[int, int]] = {}
        """Who was refused: the pool's number then, and the time that it would have taken."""
        self.happened = {"placed": 0, "backfilled": 0, "woken": 0, "reserved": 0}

    def do_something(self) -> None:
        kind = self.rng.choice(["join", *["grant"] * 6, *["over"] * 3, *["wait"] * 2, "time", "rest"])
        if kind == "join" and len(self.pool.runners) < 12:
            self.names += 1
            self.join(RunnerId(f"r{self.names}"))
        elif kind == "grant":
            self.grant(self.rng.choice(self.demands))
        elif kind == "wait":
            self.pool.waiting(list(self.refused), self.now_ms)
            self.happened["reserved"] += len(self.pool.reservations.by_runner)
        elif kind == "time":
            self.now_ms += self.rng.choice([10, 300, 20_000])
        elif self.pool.runners:
            self.change(self.rng.choice(list(self.pool.runners)), kind)

    def join(self, id: RunnerId) -> None:
        capacity = Resources(
            cpu_m=self.rng.choice([1000, 4000]), gpu_m=self.rng.choice([0, 0, 2000]), memory_bytes=4 * GIB
        )
        labels = (("zone", self.rng.choice("ab")),)
        self.pool.join(id, "node", capacity, labels=labels, now_ms=self.now_ms)

    def change(self, id: RunnerId, kind: str) -> None:
        leases = list(self.pool.runners[id].leases)
        if kind == "over" and leases:
            self.pool.lease_over(id, self.rng.choice(leases))
        elif self.rng.random() < 0.4 and leases:
            self.pool.straggles(id, self.rng.choice(leases))
        elif self.rng.random() < 0.3:
            self.join(id)
        elif self.rng.random() < 0.2:
            self.rng.choice([self.pool.drain, self.pool.leave])(id)

    def grant(self, demand: Demand) -> None:
        lasts_ms = self.rng.choice([None, 100, 5_000])
        runner = self.pool.place(demand, self.ahead_max, self.now_ms, lasts_ms)
        if runner is None:
            self.refused[demand] = (self.pool.number, lasts_ms or 0)
            return
        self.refused.pop(demand, None)
        self.happened["placed"] += 1
        self.seq += 1
        short = self.rng.random() < 0.4
        self.pool.occupy(runner.id, Token(1, self.seq), demand, short=short, now_ms=self.now_ms, lasts_ms=lasts_ms)

    def check(self) -> None:
        for demand in self.demands:
            best = min(
                (rank for runner in self.pool.runners.values() if (rank := self.rank(runner, demand))), default=None
            )
            found = self.pool.place(demand, self.ahead_max, self.now_ms, 100)
            if best is not None:
                assert found is not None
                assert found.order == best[-1]
            elif found is not None:
                self.happened["backfilled"] += 1
                assert found.reserved_for not in {None, demand}
                assert self.has_room(found, demand)
            capacities = [runner.capacity for runner in self.pool.runners.values() if runner.suits(demand)]
            assert self.pool.slots(demand) == max(1, sum(slots_of(demand, capacity) for capacity in capacities))
            self.check_woken(demand)
        self.check_reservations()

    def check_woken(self, demand: Demand) -> None:
        """Whoever was refused and would not be now can know it."""
        number, lasts_ms = self.refused.get(demand, (0, 0))
        if demand in self.refused and self.pool.place(demand, self.ahead_max, self.now_ms, lasts_ms or None):
            self.happened["woken"] += 1
            assert self.pool.freed_since(demand, number)

    def check_reservations(self) -> None:
        kept = self.pool.reservations.by_runner
        assert len(kept) <= max(1, RESERVED_RATIO_MAX * len(self.pool.runners)) or len(kept) == 1
        for runner in self.pool.runners.values():
            assert (runner.id in kept) == (runner.reserved_for is not None)
            assert not (runner.draining and runner.reserved_for)

    def has_room(self, runner: Runner, demand: Demand) -> tuple[bool, ...] | None:
        """(Whether it is behind short leases,) or None: reckoned from the leases alone."""
        used: Amounts = {}
        long: Amounts = {}
        for lease in runner.leases.values():
            add(used, lease.need)
            add(long, {} if lease.short else lease.need)
        need = dict(demand.need)
        if not runner.suits(demand):
            return None
        if fits(need, used, runner.capacity):
            return (False,)
        within = all(
            used.get(name, 0) + value <= total + self.ahead_max * min(total, used.get(name, 0) - long.get(name, 0))
            for name, value in need.items()
            for total in [runner.capacity.get(name, 0)]
        )
        return (True,) if self.ahead_max and used != long and within and fits(need, long, runner.capacity) else None

    def rank(self, runner: Runner, demand: Demand) -> tuple[float, ...] | None:
        room = self.has_room(runner, demand)
        if room is None or runner.reserved_for not in {None, demand}:
            return None
        of_function = sum(
            demand.spread is not None and lease.spread == demand.spread for lease in runner.leases.values()
        )
        special = len([name for name in runner.capacity if name == "GPU" and name not in dict(demand.need)])
        load = dominant_share(runner.used, runner.capacity)
        return (of_function, *room, special, -load if demand.pack else load, runner.order)


def slots_of(demand: Demand, capacity: Amounts) -> int:
    return min(capacity[name] // value for name, value in demand.need)


def test_what_the_pool_keeps_is_what_a_look_at_all_runners_finds() -> None:
    happened: Counter[str] = Counter()
    for seed in range(20):
        print(f"seed {seed}")
        twin = Twin(Random(seed))
        for _ in range(600):
            twin.do_something()
            twin.check()
        happened.update(twin.happened)
    assert all(count > 50 for count in happened.values()), happened


def test_who_has_not_looked_for_long_looks_at_all() -> None:
    bench = Bench(a=PLAIN, b=PLAIN)
    assert bench.place(CPU) == "a"
    for _ in range(LEDGER_ENTRIES_MAX):
        bench.pool.lease_over(RunnerId("a"), bench.grant(demand_for(Resources(cpu_m=2000)), "a"))
    bench.pool.leave(RunnerId("a"))
    assert bench.place(CPU) == "b"


def test_what_is_kept_is_bounded() -> None:
    bench = Bench(a=PLAIN, b=PLAIN)
    for number in range(2 * ORDERS_MAX):
        bench.place(demand_for(Resources(cpu_m=1, memory_bytes=1 + number)))
    assert len(bench.pool._orders) <= ORDERS_MAX
    for _ in range(LEDGER_ENTRIES_MAX):
        token = bench.grant(CPU)
        runner = next(runner.id for runner in bench.pool.runners.values() if token in runner.leases)
        bench.pool.lease_over(runner, token)
    assert len(bench.pool._ledger._changed) <= LEDGER_ENTRIES_MAX
    assert len(bench.pool._orders[CPU]._heap) <= 2 * 2 + STALE_MAX + 1
    for _ in range(8):
        bench.grant(CPU)
    assert [runner.load for runner in bench.pool.runners.values()] == [1, 1], "and nobody was forgotten over it"


COST_DEMANDS = [demand_for(Resources(cpu_m=1000 * cpus, memory_bytes=cpus << 20)) for cpus in (1, 2, 4)]


def calls_to_place(nodes: int) -> float:
    """What it takes to place a lease in a full pool when one has ended, of one of three demands."""
    bench = Bench(**{f"r{number}": Resources(cpu_m=40_000, memory_bytes=64 * GIB) for number in range(nodes)})
    held: list[tuple[RunnerId, Token]] = []
    rng = Random(nodes)

    def grant(demand: Demand) -> bool:
        runner = bench.pool.place(demand, 1, 0)
        if runner is not None:
            held.append((runner.id, bench.grant(demand, runner.id)))
        return runner is not None

    while grant(rng.choice(COST_DEMANDS)):
        pass
    calls = 0
    for _ in range(1_000):
        at = rng.randrange(len(held))
        held[at], held[-1] = held[-1], held[at]
        bench.pool.lease_over(*held.pop())
        demand = rng.choice(COST_DEMANDS)
        calls += calls_of(lambda wanted=demand: bench.pool.place(wanted, 1, 0))
        grant(demand)
    return calls / 1_000


def test_the_cost_of_a_place_does_not_grow_with_the_nodes() -> None:
    few, many = calls_to_place(10), calls_to_place(1_000)
    print(f"\nto place a lease takes {few:.1f} calls among 10 nodes, {many:.1f} among 1,000")
    assert many <= 2 * few
