"""A fleet over two real nodes, and what is refused on them."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ray.cluster_utils import Cluster
from taskservice.actors import deploy, ray_env, ray_port
from taskservice.actors.fleet import Fleet, FleetOptions
from taskservice.actors.processes import DISPATCHER

import ray
from helpers.on_ray import APP, BOUND_S, Gate, free_port, run
from taskservice.config import Settings
from taskservice.core.events import Event, RunnerJoined, RunnerLost, RunnersSettled
from taskservice.core.lease_wire import HeldLease, LeaseSpec, LeaseTask, ReportAck
from taskservice.core.types import FunctionName, Resources, TaskId, TaskNo, TenantId, Token
from taskservice.errors import RequestError


class SilentDispatcher:
    """Takes every report."""

    async def report(self, body: bytes) -> bytes:
        return msgspec.msgpack.encode(ReportAck())


NODE = {"num_cpus": 1, "object_store_memory": ray_env.OBJECT_STORE_BYTES_MIN, "include_log_monitor": False}
RED = {**NODE, "resources": {"red": 2}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one machine."""
    folder = Path(tempfile.mkdtemp(prefix="tsr", dir="/tmp"))
    ray_env.ensure_token(folder / "token")
    ray_env.apply(ray_env.local_ray_env(folder / "token"))
    ray_env._forget_token()
    cluster = Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False, "temp_dir": str(folder / "r")}
    )
    try:
        cluster.add_node(**RED)
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder)


@pytest.fixture
def fleets(cluster: Cluster, tmp_path: Path) -> Iterator[Fleets]:
    joined = ray_env.JoinedRay(cluster.address)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    dispatcher: Any = ray.remote(SilentDispatcher).options(name=DISPATCHER, num_cpus=0).remote()
    ray.get(dispatcher.__ray_ready__.remote())
    yield Fleets(Settings(home=tmp_path))
    for name in ray_port.service_actors():
        ray_port.kill_actor(name)
    joined.stop()


class Fleets:
    """Fleets that follow each other, as those of restarted dispatchers do."""

    def __init__(self, settings: Settings) -> None:
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
    """A lease that takes all that is red."""
    payload = json.dumps({"gate": gate.folder}).encode()
    task = LeaseTask(TaskNo(1), TaskId("t1"), payload, 1, 1, 60_000)
    need = Resources(cpu_m=0, custom_m=(("red", 2000),))
    return LeaseSpec(Token(1, 1), TenantId("t"), FunctionName("chores.hold"), APP, need, False, 1, 60_000, (task,))


def test_runners_come_and_go_with_their_nodes(cluster: Cluster, fleets: Fleets, gate: Gate) -> None:
    async def scene() -> None:
        fleets.begin()
        assert await fleets.next() == RunnersSettled()
        one, two = [await fleets.joined() for _ in range(2)]
        red, plain = (one, two) if one.capacity.custom_m else (two, one)
        assert (red.capacity.custom_m, plain.capacity.custom_m) == ((("red", 2000),), ())
        assert red.capacity.cpu_m == plain.capacity.cpu_m == 1000
        spec = lease(gate)
        await ray_port.RayRunner(red.runner).launch(1, msgspec.msgpack.encode([spec]))
        await asyncio.to_thread(gate.arrived)

        fleets.begin()
        found = {event.runner: event.held for event in [await fleets.joined() for _ in range(2)]}
        assert found == {red.runner: (HeldLease(spec.token, spec.resources),), plain.runner: ()}
        assert await fleets.next() == RunnersSettled()

        ray_port.kill_actor(plain.runner)
        assert await fleets.next() == RunnerLost(plain.runner)
        replacement = await fleets.joined()
        assert (replacement.node, replacement.held) == (plain.node, ())

        cluster.remove_node(next(iter(cluster.worker_nodes)))
        assert await fleets.next() == RunnerLost(red.runner)
        await asyncio.to_thread(gate.closed)
        fleets.end()

    try:
        run(scene, bound_s=90)
    finally:
        cluster.add_node(**RED)


def test_a_lease_for_another_node_does_not_leave_its_runner(cluster: Cluster, fleets: Fleets, gate: Gate) -> None:
    """What is red is on the other node only: the lease is lost rather than run where its runner is not."""

    async def scene() -> None:
        fleets.begin()
        await fleets.next()
        plain = next(event for event in [await fleets.joined() for _ in range(2)] if not event.capacity.custom_m)
        runner = ray_port.RayRunner(plain.runner)
        await runner.launch(1, msgspec.msgpack.encode([lease(gate)]))
        await runner.drain(BOUND_S * 1000, timeout_s=BOUND_S)
        with pytest.raises(AssertionError, match="nothing happened"):
            gate.arrived(bound_s=0)
        fleets.end()

    run(scene)


def test_a_local_state_directory_is_refused_on_several_machines(cluster: Cluster, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, port=free_port(), address=cluster.address)
    with pytest.raises(RequestError, match="2 machines, and the state directory"):
        deploy.start(settings, [APP])
    assert not ray.is_initialized()
