"""A fleet over two real nodes, and what is refused on them."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import ray

from helpers import two_nodes
from helpers.on_ray import APP, BOUND_S, Gate, launch_on, run
from helpers.ports import free_port
from taskservice.actors import deploy, ray_env, ray_port
from taskservice.actors.fleet import Fleet, FleetOptions
from taskservice.actors.line import LineServer
from taskservice.actors.line_ports import DISPATCHER_METHODS, dispatcher_socket
from taskservice.actors.processes import DISPATCHER, run_dir
from taskservice.config import Settings
from taskservice.core.events import Event, RunnerJoined, RunnerLost, RunnersSettled
from taskservice.core.lease_wire import HeldLease, LeaseSpec, LeaseTask, ReportAck
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName, TaskId, TaskNo, TenantId, Token
from taskservice.errors import RequestError


class SilentDispatcher:
    """Takes every report."""

    async def report(self, body: bytes) -> bytes:
        return msgspec.msgpack.encode(ReportAck())

    async def serve(self, run_dir: str) -> None:
        self.server = LineServer({"report": self.report}, DISPATCHER_METHODS)
        await self.server.start(dispatcher_socket(Path(run_dir)))


class TwoNodes:
    """Two nodes of one machine: see `helpers/two_nodes.py`."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, two_nodes.__file__, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.address = self._line()
        except BaseException:
            self.end()
            raise

    def say(self, command: Literal["remove", "add"]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._line() == "done"

    def end(self) -> None:
        self._process.communicate(timeout=BOUND_S)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the cluster has ended"
        return line


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    folder = Path(tempfile.mkdtemp(prefix="tsr", dir="/tmp"))  # short: there will be sockets in it
    cluster = TwoNodes(folder)
    ray_env.apply(ray_env.local_ray_env(folder / "token"))
    ray_env._forget_token()
    yield cluster
    cluster.end()
    shutil.rmtree(folder)


@pytest.fixture
def fleets(cluster: TwoNodes, tmp_path: Path) -> Iterator[Fleets]:
    joined = ray_env.JoinedRay(cluster.address)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    dispatcher: Any = ray.remote(SilentDispatcher).options(name=DISPATCHER, num_cpus=0).remote()
    settings = Settings(home=tmp_path)
    ray.get(dispatcher.serve.remote(str(run_dir(settings))))
    yield Fleets(settings)
    for name in ray_port.service_actors():
        ray_port.kill_actor(name)
    joined.stop()


class Fleets:
    """Fleets that follow each other, as those of restarted dispatchers do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self._cluster = ray_port.RayCluster(partial(deploy.spawn_runner, settings))
        self._names = (str(number) for number in itertools.count())
        self._fleet: Fleet | None = None
        self._loop: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The next fleet, in the place of the one before."""
        self.end()
        options = FleetOptions(start_pause_s=0.1)
        self._fleet = Fleet(self._cluster, self.events.put_nowait, {}, self._names.__next__, options)
        self._loop = asyncio.create_task(self._fleet.run())

    def end(self) -> None:
        if self._fleet is not None and self._loop is not None:
            self._loop.cancel()
            self._fleet.close()

    async def next(self) -> Event:
        return await asyncio.wait_for(self.events.get(), BOUND_S)

    async def joined(self) -> RunnerJoined:
        event = await self.next()
        assert isinstance(event, RunnerJoined), event
        return event


def lease(gate: Gate) -> LeaseSpec:
    """A lease that takes all that is red, and the GPU."""
    payload = json.dumps({"gate": gate.folder}).encode()
    task = LeaseTask(TaskNo(1), TaskId("t1"), payload, 1, 1, 60_000)
    need = Resources(cpu_m=0, gpu_m=1000, custom_m=(("red", 2000),))
    return LeaseSpec(Token(1, 1), TenantId("t"), FunctionName("chores.hold"), APP, need, False, 1, 60_000, (task,))


def test_runners_come_and_go_with_their_nodes(cluster: TwoNodes, fleets: Fleets, gate: Gate) -> None:
    async def scene() -> None:
        fleets.begin()
        assert await fleets.next() == RunnersSettled()
        one, two = [await fleets.joined() for _ in range(2)]
        red, plain = (one, two) if one.capacity.custom_m else (two, one)
        assert (red.capacity.custom_m, plain.capacity.custom_m) == ((("red", 2000),), ())
        assert red.capacity.cpu_m == plain.capacity.cpu_m == 1000
        assert (red.capacity.gpu_m, plain.capacity.gpu_m) == (1000, 0)
        assert ("colour", "red") in red.labels
        assert "colour" not in dict(plain.labels)
        spec = lease(gate)
        await launch_on(run_dir(fleets.settings), red.runner, spec)
        await asyncio.to_thread(gate.arrived)

        fleets.begin()
        found = {event.runner: event.held for event in [await fleets.joined() for _ in range(2)]}
        assert found == {red.runner: (HeldLease(spec.token, spec.resources),), plain.runner: ()}
        assert await fleets.next() == RunnersSettled()

        ray_port.kill_actor(plain.runner)
        assert await fleets.next() == RunnerLost(plain.runner)
        replacement = await fleets.joined()
        assert (replacement.node, replacement.held) == (plain.node, ())

        await asyncio.to_thread(cluster.say, "remove")
        assert await fleets.next() == RunnerLost(red.runner)
        await asyncio.to_thread(gate.closed)
        fleets.end()

    run(scene, bound_s=90)
    cluster.say("add")


def test_a_lease_for_another_node_does_not_leave_its_runner(cluster: TwoNodes, fleets: Fleets, gate: Gate) -> None:
    """What is red is on the other node only: the lease is lost rather than run where its runner is not."""

    async def scene() -> None:
        fleets.begin()
        await fleets.next()
        plain = next(event for event in [await fleets.joined() for _ in range(2)] if not event.capacity.custom_m)
        runner = ray_port.RayRunner(plain.runner)
        await launch_on(run_dir(fleets.settings), plain.runner, lease(gate))
        await runner.drain(BOUND_S * 1000, timeout_s=BOUND_S)
        with pytest.raises(AssertionError, match="nothing happened"):
            gate.arrived(bound_s=0)
        fleets.end()

    run(scene)


def test_what_a_service_has_left_whose_machine_is_gone_ends_before_the_next(fleets: Fleets) -> None:
    """Ray keeps its actors for the day on which that machine comes back, and the next service would be refused."""
    assert ray_port.service_actors() == [DISPATCHER]
    ray_port.note_home(ray_port.this_node())
    run(deploy._end_remains)
    assert ray_port.service_actors() == [DISPATCHER], "its machine is there"
    ray_port.note_home("a node that is gone")
    run(deploy._end_remains)
    assert ray_port.service_actors() == []


def test_a_local_state_directory_is_refused_on_several_machines(cluster: TwoNodes, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, port=free_port(), address=cluster.address)
    with pytest.raises(RequestError, match="2 machines, and the state directory"):
        deploy.start(settings, [APP])
    assert not ray.is_initialized()
