"""What nobody has to fear of others: waits, floors and caps, through a real shard in virtual time."""

from __future__ import annotations

from random import Random

import pytest

from helpers.watched import Watched, now_ms, ran
from taskservice.core.types import Priority
from taskservice.simulator.downstream import Called

CPUS = 4
TASK_S = 0.2
CLASSES = {"critical": 16, "high": 8, "normal": 4, "low": 2, "batch": 1}
COMMIT_S, START_S = 0.005, 0.004


def flood(lowest: dict[str, object], duration: str):
    """All classes but the lowest together ask for ten times what the fleet can do; it has this to do."""
    upper = [name for name in CLASSES if name != "batch"]
    per_s = 10 * CPUS / TASK_S / len(upper)
    return {
        "title": "flood",
        "duration": duration,
        "sample": "10s",
        "fleet": [{"cpus": CPUS}],
        "tenants": [{"name": "upper", "queued_max": 2_000}, {"name": "lowest"}],
        "functions": [{"name": "f", "takes": "200ms"}],
        "workload": [
            {"tenant": "upper", "function": "f", "priority": name, "arrivals": {"poisson": {"per_s": per_s}}}
            for name in upper
        ]
        + [{"tenant": "lowest", "function": "f", "priority": "batch", "arrivals": lowest}],
    }


def test_the_lowest_class_has_its_share_under_a_flood_of_ten_times_the_capacity():
    seen = ran(flood({"closed": {"clients": 20}}, "90s"))
    share = seen.use("lowest").until_s(seen.end_us) / (CPUS * seen.end_us / 1e6)
    due = CLASSES["batch"] / sum(CLASSES.values())
    print(f"\nflood: the lowest class has {share:.2%} of the machines, {share / due:.3f} of its share (wanted 0.9)")
    assert share >= 0.9 * due


def test_no_task_of_the_lowest_class_waits_longer_than_can_be_reckoned():
    """The bound of start-time fair queueing for a class that asks for no more than its share: the longest lease of every other
    class, and what is under way on each CPU and waits there; to which a server of several CPUs adds one task of its own, and the
    service two commits and a start."""
    due_per_s = CLASSES["batch"] / sum(CLASSES.values()) * CPUS / (TASK_S + START_S)
    every_s = 1.25 / due_per_s
    seen = ran(flood({"periodic": {"every": f"{round(1000 * every_s)}ms"}}, "90s"))
    lease_s = TASK_S + START_S
    bound_s = (len(CLASSES) - 1) * lease_s / CPUS + lease_s + 2 * COMMIT_S + START_S + lease_s
    waits = seen.report()["tenants"]["lowest"]["wait_ms"]
    print(
        f"\nflood: the lowest class waits {waits['max'] / 1000:.3f} s at most of {waits['count']} (bound {bound_s:.3f} s)"
    )
    assert waits["count"] > 40
    assert waits["max"] / 1000 <= bound_s


def test_what_is_reserved_is_had_with_the_first_leases_that_become_free():
    """Others have the whole fleet, in tasks of a second. Half of it is kept for one who comes later."""
    seen = ran(
        {
            "title": "reserved",
            "duration": "60s",
            "fleet": [{"cpus": CPUS}],
            "tenants": [{"name": "others"}, {"name": "kept", "weight": 0.01, "quota": {"reserved": {"cpus": 2}}}],
            "functions": [{"name": "f", "takes": "1s"}],
            "workload": [
                {"tenant": "others", "function": "f", "arrivals": {"closed": {"clients": 40}}},
                {"tenant": "kept", "function": "f", "arrivals": {"closed": {"clients": 10}}, "starts": "20500ms"},
            ],
        }
    )
    since_us = 20_500_000 + 2 * round(COMMIT_S * 1e6)
    first = seen.starts(since_us)[:2]
    kept = seen.use("kept")
    got = (kept.until_s(seen.end_us) - kept.until_s(22_000_000)) / ((seen.end_us - 22_000_000) / 1e6)
    print(f"\nreserved: the next leases are {first}, and {got:.3f} of 2 CPUs are had from then on")
    assert first == ["kept", "kept"]
    assert got >= 1.97


class Capped:
    """Looks whether anybody has more than they may."""

    def __init__(self) -> None:
        self.looks = 0
        self.reached: dict[str, int] = {}
        """How often each cap was just met: or it would prove nothing."""

    def __call__(self, t_us: int, world: Watched) -> None:
        self.looks += 1
        state = world.state
        for id, tenant in state.tenants.items():
            if tenant.running_max is not None:
                self._at_most("tenant.running_max", state.running.tenants.get(id, 0), tenant.running_max)
            used = state.turns.usage.used(("tenant", id))
            for kind, most in tenant.quota.maximum:
                self._at_most("tenant.maximum", used.get(kind, 0), most)
        for name, function in state.functions.items():
            if function.max_running is not None:
                self._at_most("function.max_running", state.running.functions.get(name, 0), function.max_running)
            if function.key_max_running is not None:
                for key, count in state.running.keys.items():
                    assert count <= function.key_max_running, key
                    self._at_most("key.max_running", count, function.key_max_running)
        for node in world.machines.nodes.values():
            assert all(0 <= free <= node.capacity[kind] for kind, free in node.free.items())

    def _at_most(self, what: str, count: int, most: int) -> None:
        assert count <= most, f"{what}: {count} of {most}"
        self.reached[what] = self.reached.get(what, 0) + (count == most)


class Idle:
    """Reckons the time for which CPUs had nothing while somebody might have run. Leases take one each."""

    def __init__(self) -> None:
        self.idle_s = self.all_s = 0.0
        self._since_us = self._had_us = 0
        self._waits = False

    def __call__(self, t_us: int, world: Watched) -> None:
        had_us = sum(each.had_us(t_us) for each in world.recorders)
        if self._waits:
            all_us = (t_us - self._since_us) * world.machines.capacity["CPU"] // 1000
            self.all_s += all_us / 1e6
            self.idle_s += (all_us - (had_us - self._had_us)) / 1e6
        self._since_us, self._had_us = t_us, had_us
        self._waits = world.state.turns.tree.next((), now_ms(t_us)) is not None


def capped(seed: int):
    """A world of caps that a seed has drawn: each is tight for those that it is about, and one tenant has none."""
    draw = Random(seed)
    takes = [{"lognormal": {"median": f"{draw.choice([30, 200, 900])}ms", "sigma": 0.6, "max": "10s"}} for _ in "abcd"]
    return {
        "title": "caps",
        "seed": seed,
        "duration": "40s",
        "fleet": [{"nodes": 2, "cpus": 4}],
        "tenants": [
            {"name": "few", "running_max": draw.randint(1, 3)},
            {"name": "bounded", "quota": {"maximum": {"cpus": draw.randint(1, 3)}}},
            {"name": "rated", "rate": {"per_s": draw.randint(2, 20), "burst": draw.randint(1, 20)}},
            {"name": "free"},
        ],
        "functions": [
            {"name": "a", "takes": takes[0]},
            {"name": "b", "takes": takes[1], "max_running": draw.randint(2, 4)},
            {"name": "c", "takes": takes[2], "key": "user", "key_max_running": 1},
            {"name": "d", "takes": takes[3], "failures": {"handler_error": 0.05}},
        ],
        "workload": [
            {"tenant": ["few", "bounded", "rated", "free"], "function": name, "arrivals": {"closed": {"clients": 15}}, **more}
            for name, more in (("a", {}), ("b", {}), ("c", {"keys": 3}), ("d", {"priority": draw.choice(["low", "high"])}))
        ],
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(1, 5))
def test_caps_are_never_passed_and_nothing_is_idle_beside_them(seed: int):
    caps, idle = Capped(), Idle()
    stated = capped(seed)
    seen = ran(stated, caps, idle)
    ratio = idle.idle_s / idle.all_s
    print(f"\ncaps, seed {seed}: {caps.looks:,} looks, met {caps.reached}; idle beside who might run: {ratio:.2%}")
    assert all(caps.reached.values())
    assert len(caps.reached) == 4
    assert ratio <= 0.01
    rate = stated["tenants"][2]["rate"]
    begun_us = sorted(
        t_us for each in seen.recorders for t_us, by in each.changes if each.leaf.tenant == "rated" and by > 0
    )
    for at, t_us in enumerate(begun_us):
        for later, end_us in enumerate(begun_us[at:], 1):
            allowed = rate["burst"] + rate["per_s"] * ((end_us - t_us) / 1e6 + 2 * COMMIT_S) + 1
            assert later <= allowed, "more leases than tasks that might start"


def test_a_downstream_never_has_more_calls_than_an_operator_allows():
    most = [0]

    def look(t_us: int, world: Watched) -> None:
        called: Called = world.downstreams[0]
        most[0] = max(most[0], called.in_flight)

    stated = {
        "title": "ceiling",
        "duration": "60s",
        "fleet": [{"cpus": 32}],
        "tenants": [{"name": "a"}, {"name": "b"}],
        "downstreams": [{"name": "d", "concurrent": 100}],
        "functions": [{"name": name, "takes": "300ms", "downstream": "d"} for name in ("f", "g")],
        "policies": [{"downstream": {"name": "d", "ceiling": 7}}],
        "workload": [
            {"tenant": tenant, "function": name, "arrivals": {"closed": {"clients": 20}}}
            for tenant in ("a", "b")
            for name in ("f", "g")
        ],
    }
    ran(stated, look)
    print(f"\nceiling: {most[0]} calls at once at most (allowed 7)")
    assert most[0] == 7


def test_a_quiet_tenant_hardly_notices_one_that_sends_a_hundred_times_as_much():
    def world(*loud: dict):
        return {
            "title": "noisy",
            "duration": "90s",
            "warm_up": "10s",
            "fleet": [{"cpus": 16}],
            "tenants": [{"name": "quiet"}, {"name": "loud", "queued_max": 3_000}],
            "functions": [{"name": "f", "takes": {"lognormal": {"median": "250ms", "sigma": 0.3, "max": "1s"}}}],
            "workload": [{"tenant": "quiet", "function": "f", "arrivals": {"poisson": {"per_s": 3}}}, *loud],
        }

    alone = ran(world()).report()["tenants"]["quiet"]["wait_ms"]["p99"]
    loud = {"tenant": "loud", "function": "f", "arrivals": {"poisson": {"per_s": 300}}}
    beside = ran(world(loud)).report()["tenants"]["quiet"]["wait_ms"]["p99"]
    residual_ms = 250.0
    print(
        f"\nnoisy neighbour: a quiet tenant's p99 is {alone:.0f} ms alone, {beside:.0f} ms beside it (one task: {residual_ms:.0f})"
    )
    assert beside <= max(1.1 * alone, residual_ms)


def test_classes_have_the_weights_that_an_operator_gives_them():
    stated = {
        "title": "weights",
        "duration": "120s",
        "fleet": [{"cpus": 4}],
        "tenants": [{"name": "a"}],
        "functions": [{"name": "f", "takes": "400ms"}],
        "policies": [{"class": {"name": "high", "weight": 3}}, {"class": {"name": "low", "weight": 1}}],
        "workload": [
            {"tenant": "a", "function": "f", "priority": name, "arrivals": {"closed": {"clients": 20}}}
            for name in ("high", "low")
        ],
    }
    seen = ran(stated)
    high, low = (seen.use(each.value).until_s(seen.end_us) for each in (Priority.HIGH, Priority.LOW))
    assert high / (high + low) == pytest.approx(0.75, abs=0.01)
    report = seen.report()["classes"]
    assert report["high"]["entitled_share"] == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("bound", ["function", "tenant", "downstream"])
def test_the_few_that_may_run_are_on_as_many_cpus(bound: str):
    """Eight tasks of 10 ms fill a lease. Where eight may run, they had one CPU of sixteen instead of eight."""
    stated = {
        "title": "spread",
        "duration": "20s",
        "fleet": [{"cpus": 16}],
        "tenants": [{"name": "a", **({"running_max": 8} if bound == "tenant" else {})}],
        "downstreams": [{"name": "d", "concurrent": 100}],
        "functions": [
            {
                "name": "f",
                "takes": "10ms",
                **({"max_running": 8} if bound == "function" else {}),
                **({"downstream": "d"} if bound == "downstream" else {}),
            }
        ],
        "policies": [{"downstream": {"name": "d", "frozen": 8}}],
        "workload": [{"tenant": "a", "function": "f", "arrivals": {"closed": {"clients": 100}}}],
    }
    seen = ran(stated)
    cpus = seen.use("a").until_s(seen.end_us) / (seen.end_us / 1e6)
    print(f"\nspread, bound of the {bound}: {cpus:.2f} CPUs of the 8 that may be used")
    assert 5 <= cpus <= 8
