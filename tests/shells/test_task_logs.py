"""Logs of several machines: put together in order, and what cannot be read is said in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tables import task as a_task
from taskservice.actors.network import Network, node_of, settings_on
from taskservice.actors.task_logs import Answers, ClusterLogs, read_out
from taskservice.config import Settings
from taskservice.core.types import RunnerId, Task, TaskId, TaskState, TenantId
from taskservice.errors import ServiceBug
from taskservice.runtime.logstore import LogStore

T, ID = TenantId("t"), TaskId("one")
NEAR, FAR, SILENT = RunnerId("runner:1:near:a"), RunnerId("runner:1:far:b"), RunnerId("runner:1:silent:c")


class Machines:
    """This machine, and another."""

    def __init__(self, tmp_path: Path) -> None:
        self.here, self.there = LogStore(tmp_path / "here"), LogStore(tmp_path / "there")
        self.silent: dict[RunnerId, bytes | str] = {}

    def texts(self, task: Task) -> list[tuple[int, int, str]]:
        logs = ClusterLogs(self.here, self._ask)
        return [(chunk.run, chunk.attempt, chunk.text) for chunk in logs.read(task)]

    def _ask(self, tenant: TenantId, id: TaskId) -> Answers:
        return {FAR: read_out(self.there, tenant, id), **self.silent}


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def the_task(state: TaskState = TaskState.SUCCEEDED, attempt: int = 1) -> Task:
    return a_task(1, id=ID, tenant=T, state=state, attempt=attempt)


def test_what_an_attempt_wrote_is_read_wherever_it_ran_in_order_of_time(machines: Machines) -> None:
    machines.there.append(T, ID, 1, 2, 500, b"second, ")
    machines.here.append(T, ID, 1, 1, 900, b"first; ")
    machines.here.append(T, ID, 1, 2, 600, b"continued")
    assert machines.texts(the_task(attempt=2)) == [(1, 1, "first; "), (1, 2, "second, "), (1, 2, "continued")]


def test_of_an_attempt_of_which_nothing_is_found_it_is_said(machines: Machines) -> None:
    machines.there.append(T, ID, 1, 1, 1, b"first")
    (first, second) = machines.texts(the_task(attempt=2))
    assert first == (1, 1, "first")
    assert second[:2] == (1, 2)
    assert "has left the cluster" in second[2]


def test_of_one_that_runs_and_has_not_written_yet_nothing_is(machines: Machines) -> None:
    assert machines.texts(the_task(TaskState.RUNNING)) == []
    assert machines.texts(the_task(TaskState.QUEUED, attempt=0)) == []


def test_a_machine_that_does_not_answer_is_named(machines: Machines) -> None:
    machines.here.append(T, ID, 1, 1, 1, b"here")
    machines.silent = {SILENT: "no answer"}
    here, remark = machines.texts(the_task())
    assert here == (1, 1, "here")
    assert remark[2] == "[what runner:1:silent:c has of this log cannot be read now: no answer]\n"


def test_two_nodes_on_one_disk_do_not_double_a_log(machines: Machines) -> None:
    machines.there.append(T, ID, 1, 1, 1, b"once")
    machines.silent = {NEAR: read_out(machines.there, T, ID)}
    assert machines.texts(the_task()) == [(1, 1, "once")]


def test_other_machines_keep_their_files_in_a_folder_of_their_own(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", state_dir="s3://bucket/prefix")
    network = Network("near", b"secret")
    assert settings_on("near", settings, network) == settings_on("far", settings, None) == settings
    far = settings_on("far", settings, network, tmp_path)
    assert far.home.parent == tmp_path
    assert far.home.stat().st_mode & 0o777 == 0o700
    assert (far.state_dir, far.service_log) == (settings.state_dir, far.home / "logs" / "service.log")
    assert settings_on("further", settings, network, tmp_path) == far
    far.home.chmod(0o755)
    with pytest.raises(ServiceBug, match="only this user can enter"):
        settings_on("far", settings, network, tmp_path)


def test_a_token_is_not_shown_and_a_runners_name_says_its_node() -> None:
    assert "secret" not in repr(Network("near", b"secret"))
    assert node_of(FAR) == "far"
