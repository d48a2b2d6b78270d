"""A lease through a real runner, Ray task, supervisor and child; the dispatcher is a script."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import ray

from helpers.on_ray import APP, BOUND_S, Gate, eventually, launch_on, run, runs
from taskservice.actors import deploy, ray_port
from taskservice.actors.line import LineServer
from taskservice.actors.line_ports import DISPATCHER_METHODS, dispatcher_socket
from taskservice.actors.processes import DISPATCHER, run_dir
from taskservice.actors.ray_env import NAMESPACE, LocalRay, RayFolder
from taskservice.config import Settings
from taskservice.core.lease_wire import HeldLease, LeaseReport, LeaseSpec, LeaseTask, Outcome, ReportAck, RunnerReport
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName, OutcomeKind, RunnerId, TaskId, TaskNo, TenantId, Token

RUNNER = RunnerId("runner:1:here:test")


class ScriptedDispatcher:
    """Takes what runners report, for the test to fetch; not what only says that a lease is still running, nor what a runner
    says again because the answer was late."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[bytes] = asyncio.Queue()
        self.gone: list[Token] = []
        self.told: set[bytes] = set()

    async def report(self, body: bytes) -> bytes:
        report = msgspec.msgpack.decode(body, type=RunnerReport)
        for lease in report.leases:
            told = msgspec.msgpack.encode(lease)
            if (lease.outcomes or lease.handed_back or lease.done) and told not in self.told:
                self.told.add(told)
                self.reports.put_nowait(told)
        return msgspec.msgpack.encode(ReportAck(tuple(self.gone)))

    async def serve(self, run_dir: str) -> None:
        self.server = LineServer({"report": self.report}, DISPATCHER_METHODS)
        await self.server.start(dispatcher_socket(Path(run_dir)))

    async def next(self) -> bytes:
        return await self.reports.get()

    async def call_gone(self, token: Token) -> None:
        self.gone.append(token)


class Bench:
    """One runner and its scripted dispatcher."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.node = ray_port.this_node()
        self.seq = 0
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        options: Any = {"name": DISPATCHER, "namespace": NAMESPACE, "num_cpus": 0, "max_concurrency": 100}
        self.dispatcher = ray.remote(ScriptedDispatcher).options(**options).remote()
        ray.get(self.dispatcher.serve.remote(str(run_dir(settings))))
        deploy.spawn_runner(settings, RUNNER, self.node)
        self.runner = ray_port.RayRunner(RUNNER)

    def lease(self, function: str, payloads: Sequence[object], **changes: Any) -> LeaseSpec:
        """A lease of tasks numbered from 1."""
        self.seq += 1
        tasks = tuple(
            LeaseTask(TaskNo(no), TaskId(f"{self.seq}-{no}"), json.dumps(payload).encode(), 1, 1, 60_000)
            for no, payload in enumerate(payloads, 1)
        )
        spec = LeaseSpec(
            Token(1, self.seq), TenantId("t"), FunctionName(function), APP, Resources(), False, 1, 60_000, tasks
        )
        return msgspec.structs.replace(spec, **changes)

    async def launch(self, spec: LeaseSpec) -> None:
        await self.runner.list_leases()  # it is there
        assert await launch_on(run_dir(self.settings), RUNNER, spec)

    async def report(self) -> LeaseReport:
        """The next report of any lease."""
        body = await asyncio.wait_for(self.dispatcher.next.remote(), BOUND_S)
        return msgspec.msgpack.decode(body, type=LeaseReport)

    async def outcomes(self, token: Token) -> list[Outcome]:
        """The outcomes of the lease, when it is over."""
        found: list[Outcome] = []
        while True:
            report = await self.report()
            assert report.token == token, report
            found += report.outcomes
            if report.done:
                return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, poisoned: Path) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("home")
    with contextlib.chdir(poisoned):
        cluster = LocalRay(RayFolder(home), home, cpus=2, object_store_bytes=0)
    try:
        yield Bench(Settings(home=home, runner_heartbeat_ms=200, runner_silence_ms=10_000))
    finally:
        cluster.stop()


def test_the_outcomes_of_a_lease_arrive(bench: Bench) -> None:
    async def scene() -> None:
        spec = bench.lease("chores.double", [{"x": 4}, {"x": "no number"}, {"x": 6}])
        await bench.launch(spec)
        found = await bench.outcomes(spec.token)
        assert [(outcome.no, outcome.kind, outcome.result) for outcome in found] == [
            (1, OutcomeKind.SUCCEEDED, b"8"),
            (2, OutcomeKind.BAD_PAYLOAD, b""),
            (3, OutcomeKind.SUCCEEDED, b"12"),
        ]
        assert await bench.runner.list_leases() == []

    run(scene)


def test_a_lease_whose_worker_is_killed_is_lost_and_its_handler_with_it(bench: Bench, gate: Gate) -> None:
    async def scene() -> None:
        spec = bench.lease("chores.hold", [{"gate": gate.folder}, {"gate": gate.folder}])
        await bench.launch(spec)
        worker = await asyncio.to_thread(gate.arrived)
        assert await bench.runner.list_leases() == [HeldLease(spec.token, Resources())]
        worker.kill()
        found = await bench.outcomes(spec.token)
        assert [(outcome.no, outcome.kind) for outcome in found] == [(1, OutcomeKind.LOST), (2, OutcomeKind.LOST)]
        assert found[0].message.startswith("WorkerCrashedError")
        await asyncio.to_thread(gate.closed)

    run(scene)


def test_a_lease_that_is_gone_stops_and_its_handler_with_it(bench: Bench, gate: Gate) -> None:
    """The dispatcher says so in its answer to the first outcome, while the second task runs."""

    async def scene() -> None:
        spec = bench.lease("chores.hold", [{"gate": gate.folder}, {"gate": gate.folder}])
        await bench.dispatcher.call_gone.remote(spec.token)
        await bench.launch(spec)
        worker = await asyncio.to_thread(gate.arrived)
        gate.release()
        first = await bench.report()
        assert first.outcomes[0].result == b'"through"', first.outcomes
        last = await bench.report()
        assert (last.outcomes, last.handed_back, last.done) == ((), (2,), True)
        await asyncio.to_thread(gate.closed)
        assert runs(worker), "it was asked, not killed"

    run(scene)


def test_a_lease_that_its_node_has_no_room_for_is_lost_and_says_so(bench: Bench) -> None:
    """The dispatcher grants no such lease, unless the node has changed: it must not wait for ever then."""

    async def scene() -> None:
        spec = bench.lease("chores.double", [{"x": 1}], resources=Resources(custom_m=(("unobtainium", 1000),)))
        await bench.launch(spec)
        (outcome,) = await bench.outcomes(spec.token)
        assert outcome.kind is OutcomeKind.LOST
        assert outcome.message.startswith("TaskUnschedulableError")

    run(scene)


def test_draining_hands_back_what_runs_and_what_waits(bench: Bench, gate: Gate) -> None:
    """The second lease waits in Ray for the CPU of the first."""

    async def scene() -> None:
        running, waiting = (
            bench.lease("chores.hold", [{"gate": gate.folder}], resources=Resources(cpu_m=2000)) for _ in range(2)
        )
        await bench.launch(running)
        await asyncio.to_thread(gate.arrived)
        await bench.launch(waiting)
        await bench.runner.drain(0, timeout_s=BOUND_S)
        await asyncio.to_thread(gate.closed)
        assert await bench.runner.list_leases() == []
        reports = [await bench.report() for _ in range(2)]
        assert sorted((report.token, report.handed_back, report.done) for report in reports) == [
            (running.token, (1,), True),
            (waiting.token, (1,), True),
        ]

    run(scene)


def test_the_children_of_a_killed_runner_end(bench: Bench, gate: Gate) -> None:
    """A runner owns its leases: when it dies, Ray ends them, and their children follow."""

    async def scene() -> None:
        other = RunnerId("runner:1:here:other")
        deploy.spawn_runner(bench.settings, other, bench.node)
        spec = bench.lease("chores.hold", [{"gate": gate.folder}])
        await ray_port.RayRunner(other).list_leases()
        await launch_on(run_dir(bench.settings), other, spec)
        worker = await asyncio.to_thread(gate.arrived)
        ray_port.kill_actor(other)
        await asyncio.to_thread(gate.closed)
        await asyncio.to_thread(eventually, lambda: not runs(worker))

    run(scene)


def test_leases_run_in_warm_processes(bench: Bench) -> None:
    """Guards against a process start for each lease (0.5 s and more); prints what a warm one takes."""

    async def scene() -> list[float]:
        took_s = []
        for _ in range(60):
            spec = bench.lease("chores.double", [{"x": 1}])
            began_s = time.perf_counter()
            await bench.launch(spec)
            await bench.outcomes(spec.token)
            took_s.append(time.perf_counter() - began_s)
        return took_s

    p50_s = statistics.median(run(scene)[10:])
    print(f"launch to last report, p50: {p50_s * 1000:.1f} ms")
    assert p50_s < 0.2
