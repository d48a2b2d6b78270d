"""The cluster files in configs/: Ray takes them, and what they tell the service of machines is what they tell Ray."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskservice.scaling import AutoscalerSettings

jsonschema = pytest.importorskip("jsonschema")
CONFIGS = Path(__file__).parents[2] / "configs"


def read(name: str) -> Any:
    return yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))


def test_ray_up_takes_the_file_for_aws():
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(read("aws.yaml"), schema)


def test_the_machines_for_aws_are_rays_node_types():
    cluster = read("aws.yaml")
    (up,) = [command for command in cluster["head_start_ray_commands"] if "taskservice up" in command]
    said = re.search(r"TASKSERVICE_AUTOSCALER='(.*?)'", up, re.DOTALL)
    assert said is not None
    settings = AutoscalerSettings.model_validate_json(said[1])
    types = {name: kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]}
    assert [kind.name for kind in settings.machines] == list(types)
    for kind in settings.machines:
        ray = types[kind.name]
        assert (kind.machines_max, kind.labels) == (ray["max_workers"], ray["labels"])
        assert {"CPU": kind.cpus, "GPU": kind.gpus} == {"CPU": 0, "GPU": 0, **ray["resources"]}
        assert kind.spot == ("InstanceMarketOptions" in ray["node_config"])
    assert cluster["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert sum(kind["max_workers"] for kind in types.values()) > cluster["max_workers"] // 2


def test_the_machines_for_kubernetes_are_kuberays_groups():
    spec = read("kuberay.yaml")["spec"]
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    (said,) = [each["value"] for each in head["env"] if each["name"] == "TASKSERVICE_AUTOSCALER"]
    (kind,) = AutoscalerSettings.model_validate_json(said).machines
    (group,) = spec["workerGroupSpecs"]
    assert (kind.name, kind.machines_max) == (group["groupName"], group["maxReplicas"])
    assert group["rayStartParams"]["num-cpus"] == f"{kind.cpus:g}"


@pytest.mark.parametrize(
    ("kinds", "complaint"),
    [
        ([], "at least 1 item"),
        ([{"name": "a"}, {"name": "a"}], "'a' is there twice"),
        ([{"name": "a", "cpus": 0}], "nothing that tasks could use"),
        ([{"name": "a", "machines_min": 11}], "machines_min is above machines_max (10)"),
        ([{"name": "a", "cpu": 1}], "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(kinds, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        AutoscalerSettings.model_validate({"machines": kinds})
