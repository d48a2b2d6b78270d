"""What a scenario may say, and what it is told if it says something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sources import ROOT
from taskservice.core.types import OutcomeKind, Priority
from taskservice.errors import RequestError
from taskservice.simulator.arrivals import Arrivals
from taskservice.simulator.distributions import Takes
from taskservice.simulator.overrides import changed
from taskservice.simulator.scenario import load_scenario, parse_scenario

SHIPPED = sorted((ROOT / "configs" / "scenarios").glob("*.yaml")) + sorted(
    (ROOT / "configs" / "replays").glob("*.yaml")
)


def stated(**parts):
    """A scenario with some of its parts replaced."""
    return {
        "title": "t",
        "duration": "1m",
        "fleet": [{"cpus": 4}],
        "tenants": [{"name": "a"}],
        "functions": [{"name": "f", "takes": "1s"}],
        "workload": [{"tenant": "a", "function": "f", "arrivals": {"poisson": {"per_s": 1}}}],
        **parts,
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_are_scenarios_and_expect_something(path: Path):
    scenario = load_scenario(path)
    assert scenario.about
    assert scenario.gates


def blocks():
    """What `docs/simulator.md` shows as YAML."""
    return re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "simulator.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_document_shows_scenarios():
    whole, more, traces = map(yaml.safe_load, blocks())
    assert parse_scenario(whole).gates
    assert parse_scenario({**whole, **more}).policies
    assert parse_scenario(stated(**traces)).traces


def test_the_document_shows_durations_and_arrivals():
    """Each line that is a mapping in braces, up to what is explained beside it."""
    shown = re.findall(r"^ {4}(\{.*\})", (ROOT / "docs" / "simulator.md").read_text(), re.MULTILINE)
    parts = [yaml.safe_load(line) for line in shown]
    assert len(parts) == 12
    for part in parts:
        kind = Takes if next(iter(part)) in Takes.model_fields else Arrivals
        assert kind.model_validate(part)


def test_options_of_the_core_are_said_in_its_words():
    scenario = parse_scenario(
        stated(
            tenants=[{"name": "a", "weight": 2.5, "queued_max": 10, "count": 2}],
            functions=[
                {
                    "name": "f",
                    "takes": "1s",
                    "cpus": 0.5,
                    "memory": "2GiB",
                    "resources": {"tpu": 1},
                    "timeout": "10m",
                    "retry": {"base": "2s", "max_attempts": 3},
                    "concurrency": 20,
                    "priority": "batch",
                    "failures": {"crashed": 0.1},
                }
            ],
            service={"commit": "40ms", "settings": {"lease_target_ms": 20}},
        )
    )
    first, second = scenario.tenants[0].structs()
    assert (first.id, second.id, second.weight, second.queued_max) == ("a-1", "a-2", 2.5, 10)
    spec = scenario.functions[0].spec("f")
    assert (spec.resources.cpu_m, spec.resources.memory_bytes, spec.resources.custom_m) == (
        500,
        2**31,
        (("tpu", 1000),),
    )
    assert (spec.timeout_ms, spec.retry.base_ms, spec.retry.max_ms, spec.retry.max_attempts) == (
        600_000,
        2_000,
        300_000,
        3,
    )
    assert (spec.is_async, spec.concurrency, spec.priority) == (True, 20, Priority.BATCH)
    assert scenario.functions[0].failures == {OutcomeKind.CRASHED: 0.1}
    limits = scenario.service.limits()
    assert (limits.lease_target_ms, limits.retention_s, limits.dedup_window_s) == (20, 0, 0)


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"title": None}, "title: Input should be a valid string"),
        ({"fleets": []}, "fleets: Extra inputs are not permitted"),
        ({"duration": "2h10m"}, "duration: '2h10m' is not a duration"),
        ({"warm_up": "1m"}, "warm_up cannot be as long as the whole duration"),
        ({"fleet": []}, "fleet: there has to be a node"),
        ({"fleet": [{"cpus": -1}]}, "fleet.0.cpus: Input should be greater than or equal to 0"),
        ({"fleet": [{"leaves": "5s", "lost": "6s"}]}, "nodes leave or are lost"),
        ({"fleet": [{"lost": "5s", "joins": "6s"}]}, "their end is before they join"),
        ({"workload": []}, "nothing comes"),
        ({"tenants": [{"name": "a", "wieght": 1}]}, "tenants.0: there is no 'wieght'. Did you mean weight?"),
        ({"tenants": [{"name": "a", "weight": "much"}]}, "weight: Expected `float`, got `str`"),
        ({"tenants": [{"name": "a", "weight": 0}]}, "weight: a tenant has some"),
        ({"tenants": [{"name": "a", "running_max": -1}]}, "running_max: -1 is not a number that it can be"),
        ({"tenants": [{"name": "a"}, {"name": "a"}]}, "tenants: 'a' is there twice"),
        ({"tenants": [{"name": "b"}]}, "there is no tenant 'a'; there is: b"),
        ({"functions": [{"name": "f", "takes": "1s", "timeout": "soon"}]}, "timeout: 'soon' is not a duration"),
        ({"functions": [{"name": "f", "takes": "1s", "retry": {"bse": "1s"}}]}, "retry: there is no 'bse'"),
        ({"functions": [{"name": "f", "takes": "1s", "failures": {"lost": 0.1}}]}, "lost cannot be drawn"),
        ({"functions": [{"name": "f", "takes": "1s", "failures": {"crashed": 0.7, "handler_error": 0.7}}]}, "more than all"),
        ({"functions": [{"name": "f", "takes": "1s", "downstream": "d"}]}, "there is no downstream 'd'; there is: none"),
        ({"functions": [{"name": "g", "takes": "1s"}]}, "there is no function 'f'; there is: g"),
        ({"downstreams": [{"name": "d"}]}, "give its capacity: concurrent, or per_s"),
        ({"downstreams": [{"name": "d", "per_s": {"5s": 1}}]}, "it is not said what it is from 0s on"),
        ({"service": {"settings": {"lease_target": 1}}}, "there is no 'lease_target'. Did you mean lease_target_ms?"),
        ({"service": {"settings": {"retention_s": 1}}}, "there is no 'retention_s'"),
        ({"gates": ["all is well"]}, "is no gate"),
        ({"workload": [{"tenant": "a", "function": "f", "arrivals": {}}]}, "give one of poisson, periodic"),
        ({"traces": [{"tenant": "a", "function": "f"}]}, "give rows, or counts"),
        ({"traces": [{"rows": {"file": "x", "at": "t"}, "tenant": "a"}]}, "say in one place what the function is"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(parts, complaint):
    with pytest.raises(RequestError) as caught:
        parse_scenario(stated(**parts))
    assert complaint in caught.value.detail


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(RequestError, match=r"x\.yaml cannot be read"):
        load_scenario(tmp_path / "x.yaml")
    with pytest.raises(RequestError, match=r"y\.yaml cannot be read"):
        load_scenario(tmp_path / "y.yaml")


def test_values_can_be_changed_by_name_and_by_place():
    before = stated(tenants=[{"name": "a"}, {"name": "b"}])
    after = changed(
        before, ["fleet.0.nodes=500", "tenants.b.weight=2.5", "duration=5m", "functions.f.retry={base: 3s}"]
    )
    assert after["fleet"] == [{"cpus": 4, "nodes": 500}]
    assert after["tenants"] == [{"name": "a"}, {"name": "b", "weight": 2.5}]
    assert (after["duration"], after["functions"][0]["retry"]) == ("5m", {"base": "3s"})
    assert before["duration"] == "1m"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("fleet.0.nodes", "write PATH=VALUE"),
        ("fleet.1.nodes=2", "there is no '1'; there is: 0"),
        ("tenants.c.weight=2", "there is no 'c'; there is: a"),
        ("title.x.y=2", "there is no 'x'; there is: nothing"),
        ("seed=[", "is no value"),
    ],
)
def test_a_change_that_leads_nowhere_is_told_why(change, complaint):
    with pytest.raises(RequestError, match=complaint):
        changed(stated(), [change])
