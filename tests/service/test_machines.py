"""The service on a cluster of several machines, with its state in a bucket: runners on each, logs of each, and machines that die."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from helpers.live import Live, eventually
from helpers.machines import Machines
from helpers.seaweed import BUCKET, Seaweed
from taskservice import Client
from taskservice.actors.task_logs import LOST

COUNT = 3
ACTORS = ("DispatcherProcess", "GatewayProcess", "RunnerProcess")
WITHIN_S = 90


@pytest.fixture(scope="module")
def machines(seaweed: Seaweed) -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="tsm", dir="/tmp"))  # short: there will be sockets in it
    machines = Machines(folder, COUNT, seaweed.environment)
    yield machines
    machines.end()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def live(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service on all of them; `down` leaves no process of it on any."""
    live = Live(tmp_path_factory.mktemp("home"), environment=machines.environment)
    live.up("--address", machines.address, "--state-dir", f"s3://{BUCKET}/machines")
    yield live
    ours = [*live.processes(), *(process for kind in ACTORS for process in machines.processes(kind).values())]
    assert len(ours) > COUNT + 2, "two actors, a runner on each machine, and what `up` has started"
    try:
        live.down()
        _, left = psutil.wait_procs(ours, timeout=20)
        assert not left
        eventually(lambda: not machines.processes("run_lease_task"), 20, "supervisors end")
    finally:
        live.kill_everything()


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with live.client() as client:
        yield client


def home_machine(machines: Machines) -> int:
    """Where dispatcher and gateway are."""
    (home,) = machines.processes("DispatcherProcess")
    assert list(machines.processes("GatewayProcess")) == [home]
    return home


def wait_for_runners(client: Client, count: int) -> None:
    eventually(lambda: len(client.status()["runners"]) == count, WITHIN_S, "a runner on each machine")


def test_tasks_run_on_every_machine_and_their_logs_are_read_from_there(
    live: Live, machines: Machines, client: Client
) -> None:
    wait_for_runners(client, COUNT)
    assert sorted(machines.processes("RunnerProcess")) == list(range(COUNT))
    tasks = [client.submit("work.visit", {"seconds": 0.3}) for _ in range(24)]
    where = [task.result(timeout=WITHIN_S) for task in tasks]
    assert sorted(set(where)) == [str(machine) for machine in range(COUNT)]
    for task, machine in zip(tasks, where, strict=True):
        assert task.logs() == f"here I am, on machine {machine}\n"
    silent = client.submit("work.noop", {})
    silent.result(timeout=WITHIN_S)
    assert silent.logs() == ""


def test_a_dispatcher_that_is_killed_finds_all_runners_and_their_leases(machines: Machines, client: Client) -> None:
    """On another port than before; no task is lost or run twice."""
    wait_for_runners(client, COUNT)
    tasks = [client.submit("work.visit", {"seconds": 6}) for _ in range(COUNT)]
    eventually(lambda: all(client.get(task.id).state == "running" for task in tasks), WITHIN_S, "one on each machine")
    (dispatcher,) = machines.processes("DispatcherProcess").values()
    runners = machines.processes("RunnerProcess")
    dispatcher.kill()
    assert sorted(task.result(timeout=WITHIN_S) for task in tasks) == [str(machine) for machine in range(COUNT)]
    assert [task.logs().count("here I am") for task in tasks] == [1] * COUNT
    assert machines.processes("RunnerProcess") == runners


def test_a_machine_that_dies_takes_no_task_along(machines: Machines, client: Client) -> None:
    wait_for_runners(client, COUNT)
    victim = next(machine for machine in range(1, COUNT) if machine != home_machine(machines))
    tasks = [client.submit("work.visit", {"seconds": 1.0}) for _ in range(18)]

    def victim_has_done_one() -> bool:
        ended = [task for task in tasks if client.get(task.id).state == "succeeded"]
        return str(victim) in [task.result() for task in ended]

    eventually(victim_has_done_one, WITHIN_S, "all machines at work")
    machines.kill(victim)
    where = [task.result(timeout=WITHIN_S) for task in tasks]
    assert set(where[-2:]) <= {str(machine) for machine in range(COUNT) if machine != victim}
    wait_for_runners(client, COUNT - 1)
    assert sorted(machines.processes("RunnerProcess")) == [machine for machine in range(COUNT) if machine != victim]
    for task, machine in zip(tasks, where, strict=True):
        whole = f"here I am, on machine {machine}\n"
        assert whole in task.logs() or (machine == str(victim) and task.logs() == f"[{LOST}]\n")

    machines.add(victim)
    wait_for_runners(client, COUNT)
    last = tasks[len(where) - 1 - where[::-1].index(str(victim))]
    whole = f"here I am, on machine {victim}\n"
    eventually(lambda: whole in last.logs(), WITHIN_S, "what a machine had not stored is stored when it comes back")
