"""What operators and the service itself do in a scenario: policies, quotas, keys, schedules, restarts, a slow store, lost reports."""

from __future__ import annotations

import json

import pytest

from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Quota
from taskservice.errors import RequestError
from taskservice.simulator.machines import nominal_us
from taskservice.simulator.scenario import parse_scenario

WHOLE = {
    "title": "t",
    "duration": "1m",
    "fleet": [{"cpus": 4}],
    "tenants": [{"name": "a"}],
    "functions": [{"name": "f", "takes": "1s"}],
    "workload": [{"tenant": "a", "function": "f", "arrivals": {"poisson": {"per_s": 1}}}],
}
ALWAYS = [{"tenant": "a", "function": "f", "arrivals": {"closed": {"clients": 20}}}]


def test_quotas_are_said_in_the_words_of_a_machine(run):
    quota = {"reserved": {"cpus": 0.5}, "maximum": {"cpus": 2, "memory": "1GiB", "resources": {"tpu": 1}}}
    report = run(tenants=[{"name": "a", "quota": quota}], fleet=[{"cpus": 4}], workload=ALWAYS)
    assert report["fleet"]["utilisation"]["CPU"] == pytest.approx(0.5, abs=0.05)


def test_policies_are_what_the_core_knows():
    said = [
        {"function": {"name": "f", "paused": True, "quota": {"maximum": {"cpus": 2}}}},
        {"class": {"name": "batch", "weight": 0.5}},
        {"at": "5s", "downstream": {"name": "d", "ceiling": 4}},
    ]
    scenario = parse_scenario({**WHOLE, "policies": said, "downstreams": [{"name": "d", "concurrent": 9}]})
    assert [one.policy for one in scenario.policies] == [
        FunctionPolicy("f", paused=True, quota=Quota(maximum=(("CPU", 2000),))),
        ClassPolicy("batch", 0.5),
        DownstreamPolicy("d", 4),
    ]


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"policies": [{"at": "1s"}]}, "give one of function, downstream, class"),
        ({"policies": [{"function": {"paused": True}}]}, "name: of what?"),
        ({"policies": [{"function": {"name": "g"}}]}, "there is no function 'g'; there is: f"),
        ({"policies": [{"class": {"name": "urgent"}}]}, "Invalid enum value 'urgent'"),
        ({"policies": [{"class": {"name": "low", "wait": 1}}]}, "there is no 'wait'"),
        ({"tenants": [{"name": "a", "quota": {"maximum": {"cpu": 2}}}]}, "there is no 'cpu'. Did you mean cpus?"),
        ({"faults": {"reports": {"lost": 2}}}, "faults.reports.lost"),
        ({"faults": {"restarts": [{"for": "2s"}]}}, "faults.restarts.0.at: Field required"),
        ({"service": {"commit": {"5s": "1s"}}}, "it is not said what it is from 0s on"),
    ],
)
def test_mistakes_are_named(parts, complaint):
    with pytest.raises(RequestError) as caught:
        parse_scenario({**WHOLE, **parts})
    assert complaint in caught.value.detail


def test_a_paused_function_runs_when_it_is_resumed(run):
    policies = [{"function": {"name": "f", "paused": True}}, {"at": "6s", "function": {"name": "f"}}]
    report = run(policies=policies)
    assert report["curves"]["utilisation"]["CPU"][:6] == [0.0] * 6
    assert report["tasks"]["ended"]["succeeded"] == 10
    assert report["tasks"]["wait_ms"]["max"] >= 6000


def test_what_classes_are_entitled_to_is_by_the_weights_that_operators_give(run):
    report = run(
        duration="60s",
        policies=[{"class": {"name": "high", "weight": 1}}, {"class": {"name": "low", "weight": 1}}],
        workload=[{**ALWAYS[0], "priority": name} for name in ("high", "low")],
    )
    assert report["classes"]["high"]["entitled_share"] == pytest.approx(0.5, abs=0.01)
    assert report["classes"]["high"]["share"] == pytest.approx(0.5, abs=0.02)


def test_tasks_of_one_key_run_one_after_another(run):
    functions = [{"name": "f", "takes": "100ms", "key": "user", "key_max_running": 1}]
    report = run(functions=functions, fleet=[{"cpus": 8}], workload=[{**ALWAYS[0], "keys": 2}])
    assert report["fleet"]["utilisation"]["CPU"] == pytest.approx(2 / 8, abs=0.03)


def test_schedules_fire_when_they_say(run):
    """A run begins at 8:00; each waits from the moment that it says."""
    workload = [{"tenant": "a", "function": "f", "arrivals": {"cron": {"at": "1 8 * * *", "schedules": 5}}}]
    report = run(duration="65s", sample="5s", workload=workload)
    assert (report["tasks"]["submitted"], report["tasks"]["ended"]["succeeded"]) == (5, 5)
    assert report["tasks"]["wait_ms"]["max"] == pytest.approx(10 + 4 * 100, abs=50)
    assert nominal_us("0.3@2027-01-15T08:01:00.000Z") == 60_000_000


def test_a_schedule_that_is_refused_is_told_why(run):
    workload = [{"tenant": "a", "function": "f", "arrivals": {"cron": {"at": "soon"}}}]
    with pytest.raises(RequestError, match="A schedule is refused"):
        run(workload=workload)


FAULTY = {
    "duration": "60s",
    "sample": "5s",
    "fleet": [{"nodes": 2, "cpus": 2}],
    "functions": [{"name": "f", "takes": {"lognormal": {"median": "200ms", "sigma": 1}}}],
    "workload": [{"tenant": "a", "function": "f", "arrivals": {"poisson": {"per_s": 8}}, "ends": "45s"}],
    "faults": {"restarts": [{"at": "10s", "for": "2s"}, {"at": "20s", "for": "1s"}], "reports": {"lost": 0.1, "twice": 0.1}},
}  # fmt: skip


def test_restarts_and_lost_reports_lose_nothing(run):
    report = run(**FAULTY)
    tasks = report["tasks"]
    assert tasks["ended"]["succeeded"] == tasks["submitted"] > 300
    assert tasks["left"] == {}
    assert tasks["attempts"]["succeeded"] >= tasks["submitted"]
    assert tasks["wait_ms"]["max"] >= 2000
    assert json.dumps(report) == json.dumps(run(**FAULTY))


def test_what_runs_goes_on_while_there_is_no_dispatcher(run):
    """The task of second 3 is at work when the dispatcher ends; it is not run again, and those of 4 to 6 wait for the next one."""
    functions = [{"name": "f", "takes": "500ms"}]
    report = run(functions=functions, faults={"restarts": [{"at": "3200ms", "for": "3s"}]})
    assert report["tasks"]["attempts"]["succeeded"] == report["tasks"]["ended"]["succeeded"] == 10
    assert report["tasks"]["wait_ms"]["max"] == pytest.approx(6210 - 4000 + 10, abs=40)


def test_a_slow_store_makes_everybody_wait(run):
    report = run(service={"commit": {"0s": "10ms", "4s": "2s", "6s": "10ms"}, "lease_start": 0})
    assert report["tasks"]["ended"]["succeeded"] == 10
    assert 1500 <= report["tasks"]["wait_ms"]["max"] <= 4000
    assert report["tasks"]["wait_ms"]["p50"] == pytest.approx(10, abs=0.1)


def test_a_downstream_says_how_many_called_at_once(run):
    report = run(
        fleet=[{"cpus": 4}],
        downstreams=[{"name": "d", "concurrent": 2, "refuses_in": "50ms"}],
        functions=[{"name": "f", "takes": "100ms", "downstream": "d"}],
        workload=[{"tenant": "a", "function": "f", "tasks": 4, "arrivals": {"periodic": {"every": "2s"}}}],
        policies=[{"downstream": {"name": "d", "frozen": 3}}],
    )
    downstream = report["downstreams"]["d"]
    assert (downstream["at_once_max"], downstream["at_once_ratio"]) == (3, 1.5)


def test_worlds_begin_on_a_friday_at_eight():
    """What documents and schedules in scenarios rely on."""
    assert nominal_us("0.0@2027-01-15T08:00:00.000Z") == 0
