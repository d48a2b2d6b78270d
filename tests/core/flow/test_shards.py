"""Flow control through a real shard: events, decisions, records and leases in virtual time, before simulated downstreams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskservice.core.flow.aimd import Why
from taskservice.core.flow.retry_budget import CREDIT_FIRST
from taskservice.core.flow.window import Window
from taskservice.core.specs import DownstreamPolicy, Rate, RetryPolicy
from taskservice.core.types import OutcomeKind, TaskState
from taskservice.journal.store.memory import MemoryTable
from taskservice.simulator.plan import plan
from taskservice.simulator.scenario import parse_scenario
from taskservice.simulator.world import World
from world.machine import Machine, bad, function, ok

EVEN = {"lognormal": {"median": "500ms", "sigma": 0.21}}
SHORT = {"lognormal": {"median": "4ms", "sigma": 0.5}}


def world(tmp_path: Path, downstream: dict[str, Any], takes: object, tasks: int, every: str, **parts: Any) -> World:
    """A run that has come to its end: a function that calls the downstream, and `tasks` of it handed over each time."""
    stated = {
        "title": "downstream",
        "duration": "120s",
        "warm_up": "60s",
        "service": {"commit": "10ms", "lease_start": "4ms"},
        "fleet": [{"nodes": 16, "cpus": 8}],
        "tenants": [{"name": "a"}],
        "downstreams": [{"name": "d", "refuses_in": "5ms", **downstream}],
        "functions": [{"name": "f", "takes": takes, "downstream": "d"}],
        "workload": [{"tenant": "a", "function": "f", "tasks": tasks, "arrivals": {"periodic": {"every": every}}}],
        **parts,
    }
    scenario = parse_scenario(stated)
    ran = World(scenario, plan(scenario, tmp_path), MemoryTable())
    ran.run()
    return ran


def window(ran: World) -> Window:
    return ran.shard.state.turns.gates.downstreams.windows["d"]


def measured(ran: World) -> tuple[dict[str, Any], float]:
    """The downstream's figures after the warm-up, and how many calls it took in a second."""
    figures = ran.downstreams[0].figures(ran.end_us, ran.observer.warm_up_us)
    taken = int(figures["calls"] or 0) - int(figures["throttled"] or 0)
    return figures, taken / (ran.end_us - ran.observer.warm_up_us) * 1e6


def test_it_finds_what_runs_at_once(tmp_path: Path) -> None:
    ran = world(tmp_path, {"concurrent": 20}, EVEN, 60, "1s")
    figures, _ = measured(ran)
    found_s = next(change.at_ms for change in window(ran).history if change.limit >= 18) - window(ran).history[0].at_ms
    print(
        f"\n20 at once: 90 % within {found_s / 1000:.0f} s; used {figures['used_ratio']:.3f}; "
        f"throttled {figures['throttled_ratio']:.3f}; limit {window(ran).limit}"
    )
    assert figures["used_ratio"] >= 0.95
    assert figures["throttled_ratio"] <= 0.10
    assert window(ran).limit <= 25


def test_it_finds_a_rate(tmp_path: Path) -> None:
    """At which about a hundred are in flight. The downstream bears a tenth of a second's calls at once, and no more."""
    ran = world(tmp_path, {"per_s": 196}, EVEN, 250, "1s")
    figures, per_s = measured(ran)
    print(f"\n196 a second: {per_s:.0f}; throttled {figures['throttled_ratio']:.3f}; limit {window(ran).limit}")
    assert per_s >= 0.95 * 196
    assert figures["throttled_ratio"] <= 0.05


def test_it_finds_a_rate_when_leases_hold_many_short_tasks(tmp_path: Path) -> None:
    """Places are taken from the grant of a lease to its report: so the limit is found in that, however many tasks share one."""
    ran = world(tmp_path, {"per_s": 500}, SHORT, 650, "1s", fleet=[{"nodes": 1, "cpus": 4}], duration="90s")
    figures, per_s = measured(ran)
    counts = ran.observer.meters[0].counts
    print(
        f"\n500 a second of 4 ms: {per_s:.0f}; throttled {figures['throttled_ratio']:.3f}; "
        f"{figures['calls'] / counts.leases:.1f} tasks to a lease; limit {window(ran).limit}"
    )
    assert figures["calls"] >= 3 * counts.leases
    assert per_s >= 0.95 * 500
    assert figures["throttled_ratio"] <= 0.10


def test_in_an_outage_one_task_asks_each_time_that_it_was_told_to_wait(tmp_path: Path) -> None:
    """Ten minutes of `retry_after` 5 s, of which the last nine are counted: 108 times, and as many calls, more or less."""
    down = {"concurrent": {"0s": 20, "60s": 0, "660s": 20}, "retry_after": "5s"}
    ran = world(tmp_path, down, EVEN, 10, "300ms", duration="660s", warm_up="120s")
    figures, _ = measured(ran)
    offered = ran.observer.meters[0].counts.submitted
    print(f"\noutage: {figures['calls']} calls in nine minutes (at most 118), {offered} tasks offered in all")
    assert 100 <= int(figures["calls"] or 0) <= 118
    assert Why.TOLD in {change.why for change in window(ran).history}
    assert ran.observer.meters[0].counts.ended.get(TaskState.FAILED, 0) == 0


def test_two_functions_that_call_it_have_equal_parts(tmp_path: Path) -> None:
    """And together all of it."""
    functions = [{"name": name, "takes": EVEN, "downstream": "d"} for name in "fg"]
    each = [
        {"tenant": "a", "function": "f", "tasks": 40, "arrivals": {"periodic": {"every": "1s"}}},
        {"tenant": "a", "function": "g", "tasks": 80, "arrivals": {"periodic": {"every": "1s"}}},
    ]
    ran = world(tmp_path, {"concurrent": 20}, EVEN, 1, "1s", functions=functions, workload=each)
    figures, _ = measured(ran)
    done = [meter.counts.ended[TaskState.SUCCEEDED] for meter in ran.observer.meters]
    share = sum(done) ** 2 / (2 * sum(count**2 for count in done))
    print(f"\ntwo functions: {done} succeeded, Jain {share:.3f}; used {figures['used_ratio']:.3f}")
    assert share >= 0.95
    assert figures["used_ratio"] >= 0.95


def test_after_an_outage_it_is_back_within_a_minute(tmp_path: Path) -> None:
    down = {"concurrent": {"0s": 20, "60s": 0, "120s": 20}, "retry_after": "5s"}
    ran = world(tmp_path, down, EVEN, 50, "1s", duration="240s", warm_up="180s")
    figures, _ = measured(ran)
    print(f"\nfrom a minute after an outage of one on: used {figures['used_ratio']:.3f}")
    assert figures["used_ratio"] >= 0.95


@pytest.fixture
def wide(machine: Machine) -> Machine:
    machine.join("r2", cpus=400)
    return machine


def started(machine: Machine) -> int:
    return sum(len(lease.tasks) for lease in machine.dispatch())


def submit(machine: Machine, name: str, count: int) -> None:
    machine.submit(*(f"{name}{n}" for n in range(count)))


def test_after_a_restart_window_and_budget_are_small(wide: Machine) -> None:
    """Of 300 that wait and 150 that were lost one starts, and then twice as many each second. Of the lost ones none is a retry."""
    wide.register(function(downstream="stripe"))
    wide.policy(DownstreamPolicy("stripe", frozen=150))
    submit(wide, "t", 450)
    assert started(wide) == 150
    wide.policy(DownstreamPolicy("stripe"))
    wide.restart()
    wide.join("r3", cpus=400)
    wide.settle()
    wide.later(250)
    seen = []
    for _ in range(5):
        leases = wide.dispatch()
        seen.append(sum(len(lease.tasks) for lease in leases))
        wide.now_ms += 1_000
        for lease in leases:
            wide.report(lease.token, *(ok(task.no) for task in lease.tasks), done=True, runner="r3")
    print(f"\nafter a restart, in each second: {seen} of 450 tasks")
    assert seen == [1, 2, 4, 8, 16]


def test_after_a_restart_retries_wait_for_a_budget_of_their_own(wide: Machine) -> None:
    wide.register(function(retry=RetryPolicy(max_attempts=3, base_ms=1, max_ms=1, jitter=False)))
    submit(wide, "t", 300)
    for lease in wide.dispatch():
        wide.report(lease.token, *(bad(task.no) for task in lease.tasks), done=True, runner="r2")
    wide.restart()
    wide.join("r3", cpus=400)
    wide.settle()
    wide.later(10)
    assert started(wide) == CREDIT_FIRST


def test_what_is_handed_back_gives_its_tokens_back_and_is_no_call(wide: Machine) -> None:
    wide.register(function(rate=Rate(1.0, 4), downstream="stripe"))
    wide.policy(DownstreamPolicy("stripe", frozen=100))
    submit(wide, "t", 9)
    leases = wide.dispatch()
    assert sum(len(lease.tasks) for lease in leases) == 4
    assert wide.dispatch() == []
    budget = wide.state.turns.gates.downstreams.budget_of(leases[0].function, wide.now_ms)
    for lease in leases:
        wide.report(lease.token, handed_back=tuple(task.no for task in lease.tasks), done=True, runner="r2")
    assert started(wide) == 4
    budget.succeeded(16, 0)
    assert budget.room(wide.now_ms) == CREDIT_FIRST + 1, "20 deposits, of which four are those that run"


def test_throttled_attempts_use_no_attempt(wide: Machine) -> None:
    wide.register(function(retry=RetryPolicy(max_attempts=2, base_ms=1, max_ms=1, jitter=False)))
    submit(wide, "t", 1)
    for _ in range(30):
        (lease,) = wide.dispatch()
        wide.report(
            lease.token, bad(lease.tasks[0].no, OutcomeKind.THROTTLED, retry_after_ms=1), done=True, runner="r2"
        )
        wide.later(60_000)
    (lease,) = wide.dispatch()
    assert lease.tasks[0].attempt == 1


def test_a_final_failure_is_one_attempt(wide: Machine) -> None:
    wide.register()
    submit(wide, "t", 3)
    for lease in wide.dispatch():
        outcomes = [bad(task.no, OutcomeKind.NON_RETRYABLE) for task in lease.tasks]
        wide.report(lease.token, *outcomes, done=True, runner="r2")
    wide.later(10**7)
    assert wide.dispatch() == []
    assert set(wide.states().values()) == {"failed"}
