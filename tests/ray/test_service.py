"""The whole service on a real Ray: what it does while its processes are killed one after the other."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from helpers.on_ray import APP, Gate, actor_process, asked, eventually, runs
from helpers.ports import free_port
from taskservice.actors import deploy
from taskservice.config import Settings
from taskservice.core.effects import StatusAnswer
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import FunctionName, NewTask, Task, TaskId, TaskState


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, poisoned: Path) -> Iterator[deploy.Service]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), port=free_port(), cpus=2, runner_heartbeat_ms=200)
    with contextlib.chdir(poisoned):
        service = deploy.start(settings, [APP])
    yield service
    service.stop()


def submit(id: str, function: str, payload: object) -> TaskId:
    task = NewTask(TaskId(id), FunctionName(function), json.dumps(payload).encode())
    (item,) = asked("submit", DEFAULT_TENANT, [task]).items
    assert item.status == "accepted", item
    return task.id


def ended(id: TaskId) -> Task:
    """The task, which has ended."""
    task = asked("get", DEFAULT_TENANT, id, 25.0).task
    assert task is not None
    assert task.ended_ms is not None, task.state
    return task


def status() -> StatusAnswer:
    return asked("status")


def page(service: deploy.Service, path: str, key: str = "") -> int:
    """The status of an HTTP answer; 0 if there was none."""
    request = urllib.request.Request(service.url + path, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_task_runs_to_its_result(service: deploy.Service) -> None:
    assert [function.name for function in service.functions] == ["chores.double", "chores.hold"]
    task = ended(submit("first", "chores.double", {"x": 21}))
    assert (task.state, task.result, task.attempt) == (TaskState.SUCCEEDED, b"42", 1)


def test_every_port_is_on_loopback(service: deploy.Service) -> None:
    """Ray listens on all interfaces unless it is talked out of it, and whoever reaches its ports can run code."""
    listening = {
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert listening, "the gateway at least"


@pytest.mark.parametrize(("mode", "answers"), [("token", True), ("disabled", False)])
def test_ray_asks_for_the_token(service: deploy.Service, mode: str, answers: bool) -> None:
    """Loopback is open to every user of the machine."""
    script = (
        "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)"
    )
    command = [sys.executable, "-c", script, ray.get_runtime_context().gcs_address]
    run = subprocess.run(
        command, env={**os.environ, "RAY_AUTH_MODE": mode}, check=False, capture_output=True, text=True
    )
    assert (run.returncode == 0) is answers, run.stderr
    assert answers or "AuthenticationError" in run.stderr


def test_the_key_opens_and_is_kept(service: deploy.Service) -> None:
    key = service.ensure_key(None)
    assert service.ensure_key(key) == key
    assert service.ensure_key("no key at all").startswith("tsk_")
    assert eventually(lambda: page(service, "/v1/tasks", key) == 200)
    assert page(service, "/v1/tasks", "tsk_another") == 401


def test_a_killed_dispatcher_comes_back_and_the_running_task_goes_on(service: deploy.Service, gate: Gate) -> None:
    id = submit("outlives-dispatcher", "chores.hold", {"gate": gate.folder})
    worker = gate.arrived()
    epoch = status().epoch
    actor_process("DispatcherProcess").kill()
    gate.release()
    task = ended(id)
    assert (task.state, task.attempt, task.losses) == (TaskState.SUCCEEDED, 1, 0)
    assert status().epoch == epoch + 1
    assert runs(worker)


def test_a_task_accepted_just_before_the_dispatcher_was_killed_is_run(service: deploy.Service) -> None:
    id = submit("accepted-then-killed", "chores.double", {"x": 1})
    actor_process("DispatcherProcess").kill()
    assert ended(id).state is TaskState.SUCCEEDED


def test_a_killed_runner_is_replaced_and_its_task_runs_again(service: deploy.Service, gate: Gate) -> None:
    id = submit("outlives-runner", "chores.hold", {"gate": gate.folder})
    gate.arrived()
    actor_process("RunnerProcess").kill()
    gate.closed()
    gate.arrived()
    gate.release()
    task = ended(id)
    assert (task.state, task.losses) == (TaskState.SUCCEEDED, 1)
    assert len(status().runners) == 1


def test_a_killed_gateway_answers_again_at_its_address(service: deploy.Service) -> None:
    assert eventually(lambda: page(service, "/readyz") == 200)
    actor_process("GatewayProcess").kill()
    assert eventually(lambda: page(service, "/readyz") == 200)
