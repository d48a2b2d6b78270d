"""Machines that come and go in a run: reckoned by hand."""

from __future__ import annotations

import pytest

from taskservice.errors import RequestError

MACHINES = [{"name": "node", "cpus": 1, "max": 3, "starts_in": "60s"}]


def scaled(**more: object) -> dict[str, object]:
    return {
        "fleet": [],
        "autoscaler": {"machines": MACHINES, **more},
        "duration": "1h",
        "functions": [{"name": "f", "takes": "100s"}],
        "workload": [{"tenant": "a", "function": "f", "arrivals": {"once": {"at": "10m", "tasks": 2}}}],
    }


@pytest.mark.parametrize("policy", ["backlog", "queue_length", "utilisation"])
def test_all_is_done_with_machines_that_are_started_for_it(run, policy):
    least = 1 if policy == "utilisation" else 0
    machines = [{**MACHINES[0], "min": least}]
    report = run(**scaled(policy=policy, machines=machines))
    assert report["tasks"]["ended"]["succeeded"] == 2
    assert report["tasks"]["attempts"]["lost"] == 0
    assert report["fleet"]["nodes_at_end"] == least


def test_what_is_paid_for_is_from_the_request_until_the_last_task_has_ended(run):
    """Nobody knows yet what a task takes: one machine comes after a minute, and while its task lasts longer and longer, another one."""
    report = run(**scaled())
    fleet = report["fleet"]
    assert (fleet["nodes_started"], fleet["nodes_max"], fleet["nodes_at_end"]) == (2, 2, 0)
    assert fleet["price"] == fleet["node_hours"]
    least_s, idle_s = 2 * (60 + 100), 2 * 60
    assert least_s <= fleet["node_hours"] * 3600 <= least_s + idle_s + 60, (
        "what has arrived lately is still reckoned with"
    )
    assert report["tasks"]["wait_ms"]["max"] < 150_000


def test_the_same_seed_gives_the_same_run(run):
    assert run(**scaled()) == run(**scaled())


def test_what_is_not_known_is_refused(run):
    with pytest.raises(RequestError) as refused:
        run(**scaled(options={"wait": 1}))
    assert "wait_s" in refused.value.detail
