"""Small worlds, of which everything can be reckoned by hand."""

from __future__ import annotations

import json

import pytest

from taskservice.core.types import TERMINAL_STATES
from taskservice.journal.store.memory import MemoryTable
from taskservice.simulator.plan import plan
from taskservice.simulator.scenario import parse_scenario
from taskservice.simulator.world import World


def test_a_task_a_second_on_one_cpu(run):
    """Each waits for the commit of its acceptance, 10 ms, and then has the CPU for 100 ms."""
    report = run()
    tasks = report["tasks"]
    assert (tasks["submitted"], tasks["ended"]["succeeded"], tasks["leases"], tasks["left"]) == (10, 10, 10, {})
    assert tasks["wait_ms"] == {"count": 10, "p50": 10.0, "p90": 10.0, "p99": 10.0, "max": 10.0}
    assert report["fleet"]["utilisation"] == {"CPU": pytest.approx(0.1)}
    assert report["tenants"]["a"]["dominant_s"] == 1.0
    assert report["tenants"]["a"]["share_error"] == 0.0
    assert report["curves"]["seconds"] == [float(second) for second in range(1, 11)]
    assert report["curves"]["utilisation"]["CPU"] == pytest.approx([0.1] * 10)


def test_a_lease_takes_its_start_as_well(run):
    report = run(service={"commit": "10ms", "lease_start": "40ms"})
    assert report["tasks"]["wait_ms"]["p50"] == pytest.approx(50, rel=0.01)
    assert report["fleet"]["utilisation"]["CPU"] == pytest.approx(0.14)


def test_what_was_before_the_warm_up_does_not_count(run):
    report = run(warm_up="4s")
    assert (report["measured_s"], report["tasks"]["submitted"], report["tasks"]["wait_ms"]["count"]) == (6.0, 6, 6)
    assert report["tenants"]["a"]["dominant_s"] == 0.6
    assert len(report["curves"]["seconds"]) == 10


def test_the_same_scenario_gives_the_same_report_to_the_byte(run):
    parts = {
        "functions": [
            {"name": "f", "takes": {"lognormal": {"median": "80ms", "sigma": 1}}, "failures": {"crashed": 0.1}}
        ],
        "workload": [{"tenant": "a", "function": "f", "arrivals": {"poisson": {"per_s": 9}}}],
    }
    first, again, other = run(**parts), run(**parts), run(**parts, seed=2)
    assert json.dumps(first) == json.dumps(again)
    assert first["tasks"] != other["tasks"]


def test_another_fleet_has_the_same_tasks(run):
    """Arrivals and durations do not depend on what becomes of the tasks: so two fleets can be compared."""
    parts = {
        "functions": [{"name": "f", "takes": {"exponential": {"mean": "300ms"}}}],
        "workload": [{"tenant": "a", "function": "f", "arrivals": {"poisson": {"per_s": 4}}, "ends": "5s"}],
        "duration": "60s",
    }
    small, large = run(**parts), run(**parts, fleet=[{"cpus": 4}])
    assert small["tasks"]["ended"] == large["tasks"]["ended"]
    used_s = [report["tenants"]["a"]["dominant_s"] * cpus for report, cpus in ((small, 1), (large, 4))]
    assert used_s[0] == pytest.approx(used_s[1], abs=0.002)
    assert small["tasks"]["wait_ms"]["p99"] > large["tasks"]["wait_ms"]["p99"]


TWO = {
    "tenants": [{"name": "a", "weight": 3}, {"name": "b"}],
    "duration": "60s",
}


def test_those_who_always_ask_share_by_weight(run):
    report = run(**TWO, workload=[{"tenant": ["a", "b"], "function": "f", "arrivals": {"closed": {"clients": 20}}}])
    assert report["tenants"]["a"]["entitled_share"] == pytest.approx(0.75, abs=0.01)
    assert report["tenants"]["a"]["share"] == pytest.approx(0.75, abs=0.02)
    assert report["fleet"]["utilisation"]["CPU"] > 0.99


def test_who_asks_for_little_is_entitled_to_that(run):
    """b asks for a tenth of the CPU and gets it; a takes the rest, whatever the weights."""
    report = run(
        **TWO,
        workload=[
            {"tenant": "a", "function": "f", "arrivals": {"closed": {"clients": 20}}},
            {"tenant": "b", "function": "f", "arrivals": {"periodic": {"every": "1s"}}},
        ],
    )
    assert report["tenants"]["b"]["entitled_share"] == pytest.approx(0.1, abs=0.005)
    assert report["tenants"]["b"]["share"] == pytest.approx(0.1, abs=0.005)


def test_who_runs_as_many_as_it_may_is_not_owed_more(run):
    report = run(
        tenants=[{"name": "a", "running_max": 1}, {"name": "b"}],
        fleet=[{"cpus": 4}],
        workload=[{"tenant": ["a", "b"], "function": "f", "arrivals": {"closed": {"clients": 20}}}],
    )
    assert report["tenants"]["a"]["share"] < 0.3
    assert report["tenants"]["a"]["share_error"] == pytest.approx(0, abs=0.02)


def test_a_closed_client_submits_when_its_task_has_ended(run):
    """Each round takes the commits of acceptance and of success, 100 ms of work, and 70 ms of thought."""
    report = run(workload=[{"tenant": "a", "function": "f", "arrivals": {"closed": {"clients": 1, "thinks": "70ms"}}}])
    assert report["tasks"]["submitted"] == pytest.approx(10_000 / (10 + 100 + 10 + 70), abs=2)


def test_a_downstream_throttles_above_its_capacity(run):
    """It takes none for three seconds, and then one at a time; no attempt that it throttles is charged."""
    report = run(
        fleet=[{"cpus": 2}],
        downstreams=[{"name": "d", "concurrent": {"0s": 0, "3s": 1}, "retry_after": "500ms"}],
        functions=[{"name": "f", "takes": "100ms", "downstream": "d", "retry": {"max_attempts": 1}}],
        workload=[{"tenant": "a", "function": "f", "tasks": 2, "arrivals": {"periodic": {"every": "2s"}}}],
    )
    attempts, downstream = report["tasks"]["attempts"], report["downstreams"]["d"]
    assert (report["tasks"]["ended"]["succeeded"], report["tasks"]["ended"]["failed"]) == (10, 0)
    assert attempts["throttled"] == downstream["throttled"] > 0
    assert downstream["calls"] == attempts["throttled"] + attempts["succeeded"]
    assert downstream["in_flight_mean"] == pytest.approx(0.1)


def test_what_is_lost_with_a_node_runs_again(run):
    """The attempt of second 3 is lost, missed a second later, and its task's wait counts once."""
    report = run(
        fleet=[{"name": "dies", "cpus": 1, "lost": "3050ms", "noticed_after": "1s"}, {"name": "comes", "joins": "6s"}],
    )
    assert (report["tasks"]["attempts"]["lost"], report["tasks"]["ended"]["succeeded"]) == (1, 10)
    assert report["tasks"]["wait_ms"]["count"] == 10
    assert report["fleet"]["nodes_at_end"] == 1
    assert report["curves"]["utilisation"]["CPU"][4:6] == [0.0, 0.0]


def test_a_node_that_leaves_ends_what_it_has(run):
    report = run(fleet=[{"name": "goes", "leaves": "3050ms"}, {"name": "comes", "joins": "3s"}])
    assert (report["tasks"]["attempts"]["lost"], report["tasks"]["ended"]["succeeded"]) == (0, 10)
    assert report["fleet"]["nodes_at_end"] == 1


def test_attempts_end_as_often_badly_as_was_said(run):
    report = run(
        duration="2000s",
        sample="100s",
        functions=[{"name": "f", "takes": "1ms", "failures": {"handler_error": 0.2, "non_retryable": 0.1}}],
    )
    attempts = report["tasks"]["attempts"]
    assert attempts["handler_error"] / sum(attempts.values()) == pytest.approx(0.2, abs=0.03)
    assert report["tasks"]["ended"]["failed"] >= attempts["non_retryable"] > 100


def test_what_takes_longer_than_its_timeout_is_stopped_then(run):
    functions = [{"name": "f", "takes": "900ms", "timeout": "300ms", "retry": {"max_attempts": 1}}]
    report = run(functions=functions)
    assert (report["tasks"]["ended"]["succeeded"], report["tasks"]["ended"]["failed"]) == (0, 10)
    assert report["fleet"]["utilisation"]["CPU"] == pytest.approx(0.3)


def test_a_limit_refuses_what_is_too_much(run):
    report = run(
        tenants=[{"name": "a", "queued_max": 3}],
        workload=[{"tenant": "a", "function": "f", "tasks": 5, "arrivals": {"periodic": {"every": "1s"}}}],
    )
    assert report["tasks"]["refused"]["queued_max"] == report["tenants"]["a"]["refused"] == 20
    assert report["tasks"]["ended"]["succeeded"] == 30


def test_who_never_begins_counts_with_the_wait_so_far(run):
    report = run(
        functions=[{"name": "f", "takes": "1h", "timeout": "2h"}],
        workload=[{"tenant": "a", "function": "f", "arrivals": {"once": {"at": "4s", "tasks": 3}}}],
    )
    assert report["tasks"]["left"] == {"running": 1, "queued": 2}
    assert report["tasks"]["wait_ms"] == {"count": 3, "p50": 6000.0, "p90": 6000.0, "p99": 6000.0, "max": 6000.0}


def test_a_delayed_task_waits_from_when_it_is_due(run):
    report = run(
        workload=[{"tenant": "a", "function": "f", "delay": "3s", "arrivals": {"once": {"at": "1s", "tasks": 1}}}]
    )
    assert report["tasks"]["ended"]["succeeded"] == 1
    assert report["tasks"]["wait_ms"]["max"] <= 20


def test_short_tasks_share_a_lease_and_a_straggler_holds_nobody(run, tmp_path):
    """Once the function is known to be short its tasks go in batches; those behind one of a second are handed back after
    the slice of 400 ms, and run elsewhere."""
    took_ms = [2] * 100 + [1000 if at == 40 else 2 for at in range(300)]
    rows = [f"{0 if at < 100 else 5},{took}" for at, took in enumerate(took_ms)]
    (tmp_path / "calls.csv").write_text("\n".join(["at,took", *rows]))
    trace = {"rows": {"file": "calls.csv", "at": "at", "took": "took"}, "tenant": "a", "function": "g"}
    report = run(workload=[], traces=[trace], fleet=[{"cpus": 2}])
    assert report["tasks"]["ended"]["succeeded"] == 400
    assert report["tasks"]["leases"] < 130
    assert 400 < report["tasks"]["wait_ms"]["max"] < 700


def test_async_attempts_of_a_lease_run_at_once(run):
    functions = [{"name": "f", "takes": "100ms", "concurrency": 10}]
    workload = [{"tenant": "a", "function": "f", "tasks": 10, "arrivals": {"periodic": {"every": "1s"}}}]
    report = run(functions=functions, workload=workload)
    assert report["tasks"]["ended"]["succeeded"] == 100
    assert report["tasks"]["leases"] < 30


def test_a_lease_that_does_not_fit_lets_smaller_ones_pass(run):
    """Of memory there is room for one at a time, of CPUs for four."""
    report = run(
        fleet=[{"cpus": 4, "memory": "1GiB"}],
        functions=[
            {"name": "f", "takes": "100ms", "memory": "800MiB"},
            {"name": "g", "takes": "10ms"},
        ],
        workload=[
            {"tenant": "a", "function": "f", "arrivals": {"closed": {"clients": 5}}},
            {"tenant": "a", "function": "g", "arrivals": {"periodic": {"every": "1s"}}},
        ],
    )
    assert report["functions"]["g"]["wait_ms"]["max"] <= 50
    assert report["fleet"]["utilisation"]["memory"] == pytest.approx(0.78, abs=0.03)


def test_tasks_that_have_ended_leave_the_table(tmp_path):
    """So that memory does not grow with a run's length."""
    stated = {
        "title": "long",
        "duration": "600s",
        "fleet": [{"cpus": 4}],
        "tenants": [{"name": "a"}],
        "functions": [{"name": "f", "takes": "1ms", "failures": {"non_retryable": 0.3}}],
        "workload": [{"tenant": "a", "function": "f", "arrivals": {"poisson": {"per_s": 30}}}],
    }
    scenario, table = parse_scenario(stated), MemoryTable()
    world = World(scenario, plan(scenario, tmp_path), table)
    world.run()
    ended = sum(sum(meter.counts.ended.values()) for meter in world.observer.meters)
    kept = sum(count for (_, state), count in table.counts().items() if state in TERMINAL_STATES)
    assert ended > 15_000
    assert kept <= 5_100
    assert table.past.entries() == 0
