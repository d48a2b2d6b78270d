"""`simulate`: what is printed, written, and told to programs."""

from __future__ import annotations

import json

import pytest

SCENARIO = """
title: A small shop
duration: 20s
warm_up: 5s
fleet: [{nodes: 2, cpus: 1}]
tenants: [{name: a, weight: 2}, {name: b}]
functions: [{name: shop.order, takes: 100ms}]
workload:
  - {tenant: [a, b], function: shop.order, arrivals: {poisson: {per_s: 3}}}
gates: [tasks/wait_ms/p99 <= 1000]
"""


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(SCENARIO)
    return path


def test_tables_and_gates_are_shown(run, scenario):
    done = run("simulate", scenario)
    assert done.exit_code == 0, done.output
    for said in ("A small shop", "TENANT", "shop.order", "ENTITLED", "passed", "tasks/wait_ms/p99 <= 1000"):
        assert said in done.stdout
    assert "tasks in" in done.stderr
    assert "tasks in" not in done.stdout


def test_json_is_the_same_each_time(run, scenario):
    first, again = run("simulate", scenario, "--json"), run("simulate", scenario, "--json")
    assert first.stdout == again.stdout
    report = json.loads(first.stdout)
    assert (report["seed"], report["measured_s"], report["gates"][0]["passed"]) == (1, 15.0, True)


def test_the_scenario_can_be_changed(run, scenario):
    done = run("simulate", scenario, "--json", "--seed", "7", "--set", "fleet.0.nodes=1", "--set", "duration=10s")
    report = json.loads(done.stdout)
    assert (report["seed"], report["measured_s"], report["fleet"]["nodes_at_end"]) == (7, 5.0, 1)


def test_a_gate_that_fails_ends_with_1(run, scenario):
    done = run("simulate", scenario, scenario, "--set", "gates=[tasks/submitted < 5]")
    assert done.exit_code == 1
    assert done.stdout.count("FAILED") == 2


def test_charts_are_written_where_it_was_said(run, scenario, tmp_path):
    assert run("simulate", scenario, "--charts", tmp_path / "charts").exit_code == 0
    assert "<svg" in (tmp_path / "charts" / "shop.html").read_text()


def test_traces_are_looked_for_where_it_was_said(run, tmp_path, scenario):
    data = tmp_path / "data"
    data.mkdir()
    (data / "calls.csv").write_text("t\n0\n1\n")
    trace = "traces=[{rows: {file: calls.csv, at: t}, tenant: c, function: shop.order}]"
    done = run("simulate", scenario, "--set", trace, "--data", data, "--set", "warm_up=0", "--json")
    assert json.loads(done.stdout)["tenants"]["c"]["submitted"] == 2
    missing = run("simulate", scenario, "--set", trace)
    assert missing.exit_code == 2
    assert "--data FOLDER" in missing.stderr


def test_what_is_no_scenario_is_wrong_use(run, tmp_path):
    (tmp_path / "x.yaml").write_text("title: x\nfleet: [{cpu: 4}]\n")
    done = run("simulate", tmp_path / "x.yaml")
    assert done.exit_code == 2
    assert "fleet.0.cpu: Extra inputs are not permitted" in done.stderr
