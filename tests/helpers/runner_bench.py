"""A runner on a bench, without Ray: its launcher and its dispatcher are in the test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from taskservice.actors.runner import Runner, SupervisorNews
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, LeaseTask, Outcome, ReportAck, RunnerReport
from taskservice.core.specs import Bundle, Resources
from taskservice.core.types import FunctionName, OutcomeKind, RunnerId, TaskId, TaskNo, TenantId, Token

BOUND_S = 10
"""Nothing below takes so long, unless it never comes."""


class FakeLease:
    """A lease that ends when the test says so."""

    def __init__(self) -> None:
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        await self.end

    def kill(self) -> None:
        if not self.end.done():
            self.end.set_exception(RuntimeError("killed"))


class FakeLauncher:
    """Starts leases that run nothing."""

    def __init__(self) -> None:
        self.started: dict[Token, FakeLease] = {}
        self.bodies: list[bytes] = []
        self.refuses: Exception | None = None

    def start(self, body: bytes, spec: LeaseSpec) -> FakeLease:
        if self.refuses is not None:
            raise self.refuses
        assert spec.token not in self.started, "a lease was started twice"
        self.bodies.append(body)
        lease = self.started[spec.token] = FakeLease()
        return lease


class FakeDispatcher:
    """Takes reports, or not, as the test says."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.calls: asyncio.Queue[RunnerReport] = asyncio.Queue()
        self.failure: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.gone: tuple[Token, ...] = ()

    async def report(self, body: bytes) -> bytes:
        self.bodies.append(body)
        self.calls.put_nowait(msgspec.msgpack.decode(body, type=RunnerReport))
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return msgspec.msgpack.encode(ReportAck(self.gone))

    async def next(self) -> RunnerReport:
        return await asyncio.wait_for(self.calls.get(), BOUND_S)


class Bench:
    """A runner on a bench."""

    def __init__(self, heartbeat_ms: int = 60_000, kill_after_ms: int = 60_000, *, salvages: bool = False) -> None:
        """`salvages`: it finds something left of the log of each attempt whose process has died."""
        self.dispatcher = FakeDispatcher()
        self.launcher = FakeLauncher()
        self.runner = Runner(
            RunnerId("r1"),
            self.dispatcher,  # type: ignore[arg-type]  # of its calls, a runner makes this one
            self.launcher,
            heartbeat_ms=heartbeat_ms,
            kill_after_ms=kill_after_ms,
            salvage=lambda token, nos: [(no, f"20261130-abc-{no}") for no in nos if salvages],
        )

    async def launch(self, *specs: LeaseSpec, epoch: int = 1) -> bool:
        return await self.runner.launch(epoch, msgspec.msgpack.encode(specs))

    async def tell(self, seq: int, report: LeaseReport) -> bytes:
        return await self.runner.report(msgspec.msgpack.encode(SupervisorNews(seq, report)))

    async def held(self) -> list[Token]:
        return [lease.token for lease in await self.runner.list_leases()]


def spec(seq: int, nos: Sequence[int] = (1,), epoch: int = 1) -> LeaseSpec:
    tasks = tuple(LeaseTask(TaskNo(no), TaskId(f"t{no}"), b"{}", 1, 1, 1000) for no in nos)
    return LeaseSpec(
        Token(epoch, seq),
        TenantId("t"),
        FunctionName("app.f"),
        Bundle("m", "app", "."),
        Resources(cpu_m=500),
        False,
        1,
        400,
        tasks,
    )


def ok(no: int) -> Outcome:
    return Outcome(TaskNo(no), OutcomeKind.SUCCEEDED, result=b"1")


def outcomes(report: RunnerReport) -> list[tuple[int, str]]:
    return [(outcome.no, outcome.kind.value) for lease in report.leases for outcome in lease.outcomes]


async def settle() -> None:
    """Whatever can run without news from outside has run."""
    for _ in range(20):
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, None)
        await done
