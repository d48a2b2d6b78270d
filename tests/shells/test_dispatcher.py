"""The dispatcher's shell: commits, waits, timers, failures of the journal, and a hand-over to a successor. No Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from random import Random
from typing import Self

import msgspec
import pytest

from taskservice.actors.commits import CommitOptions
from taskservice.actors.dispatcher import Dispatcher
from taskservice.actors.dispatcher_options import DispatcherOptions
from taskservice.core.effects import ItemStatus
from taskservice.core.events import RunnerJoined
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, Outcome, ReportAck, RunnerReport
from taskservice.core.limits import Limits
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName, ListFilter, NewTask, OutcomeKind, RunnerId, TaskId, TaskState
from taskservice.errors import BackOffError
from taskservice.journal import Fenced, JournalFailed
from taskservice.journal.marks import mark_at
from taskservice.journal.memory import MemoryJournal, MemoryStore
from world.durable import folded
from world.machine import function, ok

RUNNER = RunnerId("r1")


class HeldJournal(MemoryJournal):
    """A journal whose writes go through when the test says so."""

    in_flight_max = 4

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.may_write = threading.Event()
        self.may_write.set()
        self.failure: Exception | None = None
        self.begun: list[int] = []
        self._turn = threading.Condition()

    def append(self, number: int, body: bytes) -> None:
        self.begun.append(number)
        self.may_write.wait()
        if self.failure is not None:
            raise self.failure
        with self._turn:
            self._turn.wait_for(lambda: number <= self.position.number + 1)
            super().append(number, body)
            self._turn.notify_all()


class RecordingRunner:
    """A runner that keeps the leases it is given for the test to look at."""

    def __init__(self) -> None:
        self.launched: asyncio.Queue[LeaseSpec] = asyncio.Queue()
        self.accepts = True

    async def launch(self, id: RunnerId, epoch: int, body: bytes) -> bool:
        for spec in msgspec.msgpack.decode(body, type=list[LeaseSpec]):
            self.launched.put_nowait(spec)
        return self.accepts


class Bench:
    """A dispatcher on a bench: its journal, runner and clock are in the test's hands."""

    def __init__(self, store: MemoryStore | None = None, **options: object) -> None:
        self.store = store or MemoryStore()
        self.journal = HeldJournal(self.store)
        self.runner = RecordingRunner()
        self.now_ms = 1_000_000
        self.fatal: list[BaseException] = []
        shard = folded(self.journal, Limits())
        shard.open(mark_at(None, self.journal.epoch, -1), self.now_ms)
        self.dispatcher = Dispatcher(
            self.journal,
            shard,
            self.runner.launch,
            self.fatal.append,
            DispatcherOptions(**options),  # type: ignore[arg-type]
            now_ms=lambda: self.now_ms,
            rng=Random(1),
        )

    async def __aenter__(self) -> Self:
        self.dispatcher.start()
        await self.dispatcher.register([function()])
        self.dispatcher.emit(RunnerJoined(RUNNER, "node", Resources(cpu_m=1000)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.journal.may_write.set()
        await self.dispatcher.close()

    async def report(self, *reports: LeaseReport) -> ReportAck:
        body = msgspec.msgpack.encode(RunnerReport(RUNNER, reports))
        return msgspec.msgpack.decode(await self.dispatcher.report(body), type=ReportAck)


def new(id: str, **options: int) -> NewTask:
    return NewTask(TaskId(id), FunctionName("app.f"), b"{}", **options)  # type: ignore[arg-type]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def test_a_task_goes_all_the_way() -> None:
    async def test() -> None:
        async with Bench() as bench:
            answer = await bench.dispatcher.submit(DEFAULT_TENANT, [new("a")])
            assert answer.items[0].status is ItemStatus.ACCEPTED
            lease = await bench.runner.launched.get()
            waiting = asyncio.create_task(bench.dispatcher.get(DEFAULT_TENANT, TaskId("a"), wait_s=10))
            await bench.report(LeaseReport(lease.token, (ok(lease.tasks[0].no),), done=True))
            task = (await waiting).task
            assert task is not None
            assert (task.state, task.result) == (TaskState.SUCCEEDED, b"1")
            assert (await bench.dispatcher.status()).counts["succeeded"] == 1

    run(test)


def test_nobody_is_answered_while_the_journal_is_writing() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.journal.may_write.clear()
            submit = asyncio.create_task(bench.dispatcher.submit(DEFAULT_TENANT, [new("a")]))
            look = asyncio.create_task(bench.dispatcher.get(DEFAULT_TENANT, TaskId("a")))
            done, _ = await asyncio.wait([submit, look], timeout=0.1)
            assert not done
            assert bench.runner.launched.empty()
            bench.journal.may_write.set()
            assert (await submit).items[0].status is ItemStatus.ACCEPTED
            assert await look is not None

    run(test)


def test_what_arrives_during_a_commit_is_in_the_next_one() -> None:
    async def test() -> None:
        async with Bench() as bench:
            before = len(bench.store.epochs[-1])
            bench.journal.may_write.clear()
            submits = [asyncio.create_task(bench.dispatcher.submit(DEFAULT_TENANT, [new(f"t{n}")])) for n in range(200)]
            await asyncio.wait(submits, timeout=0.1)
            bench.journal.may_write.set()
            await asyncio.gather(*submits)
            assert len(bench.store.epochs[-1]) - before <= 4

    run(test)


def test_what_nobody_waits_for_costs_no_commit_of_its_own() -> None:
    """A lease is on record with the next thing that somebody waits for, or when all is closed."""

    async def test() -> None:
        async with Bench(commits=CommitOptions(lazy_s=60)) as bench:
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("a"), new("b"), new("c")])
            lease = await bench.runner.launched.get()
            before = len(bench.journal.begun)
            bench.dispatcher.emit(RunnerJoined(RunnerId("r2"), "node", Resources(cpu_m=1000)))
            assert (await bench.runner.launched.get()).tasks[0].id == "b"
            assert len(bench.journal.begun) == before
            await bench.report(LeaseReport(lease.token, (Outcome(lease.tasks[0].no, OutcomeKind.HANDLER_ERROR),)))
            assert len(bench.journal.begun) == before + 1
            bench.dispatcher.emit(RunnerJoined(RunnerId("r3"), "node", Resources(cpu_m=1000)))
            assert (await bench.runner.launched.get()).tasks[0].id == "c"
            assert len(bench.journal.begun) == before + 1
        assert len(bench.journal.begun) == before + 2

    run(test)


def test_what_nobody_waits_for_is_durable_soon() -> None:
    async def test() -> None:
        async with Bench(commits=CommitOptions(lazy_s=0.01)) as bench:
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("a"), new("b")])
            bench.dispatcher.emit(RunnerJoined(RunnerId("r2"), "node", Resources(cpu_m=1000)))
            await bench.runner.launched.get()
            await bench.runner.launched.get()
            last = bench.dispatcher._shard._position
            while bench.journal.position.number < last:
                await asyncio.wait([asyncio.create_task(bench.report())])

    run(test)


def test_commits_overlap_as_far_as_the_journal_takes_them() -> None:
    async def test() -> None:
        async with Bench(commits=CommitOptions(interval_s=0)) as bench:
            bench.journal.may_write.clear()
            begun = len(bench.journal.begun)
            submits: list[asyncio.Task[object]] = []
            for n in range(6):
                submits.append(asyncio.create_task(bench.dispatcher.submit(DEFAULT_TENANT, [new(f"t{n}")])))
                await asyncio.wait(submits, timeout=0.02)
            assert len(bench.journal.begun) - begun == 4
            bench.journal.may_write.set()
            await asyncio.gather(*submits)

    run(test)


def test_an_idle_dispatcher_learns_that_it_was_succeeded() -> None:
    async def test() -> None:
        async with Bench(heartbeat_s=0.01) as old:
            MemoryJournal(old.store)
            while not old.fatal:
                await asyncio.wait([asyncio.create_task(asyncio.to_thread(lambda: None))])
            assert type(old.fatal[0]) is Fenced

    run(test)


def test_nothing_is_leased_while_the_journal_is_behind() -> None:
    async def test() -> None:
        async with Bench(commit_timeout_s=0.5) as bench:
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("a", delay_ms=1_000)])
            bench.journal.may_write.clear()
            with pytest.raises(BackOffError):
                await bench.dispatcher.submit(DEFAULT_TENANT, [new("b", delay_ms=1_000)])
            bench.now_ms += 1_000
            assert bench.dispatcher.run_once().leases == 0
            bench.journal.may_write.set()
            assert {(await bench.runner.launched.get()).tasks[0].id} <= {"a", "b"}

    run(test)


def test_closing_does_not_wait_for_ever_for_a_journal_that_is_away() -> None:
    async def test() -> None:
        async with Bench(commit_timeout_s=0.05) as bench:
            bench.journal.may_write.clear()
            submit = asyncio.create_task(bench.dispatcher.submit(DEFAULT_TENANT, [new("a")]))
            await asyncio.wait([submit], timeout=0.01)
            closing = asyncio.create_task(bench.dispatcher.close())
            with pytest.raises(BackOffError):
                await submit
            bench.journal.may_write.set()
            await closing

    run(test)


def test_a_journal_that_does_not_answer_turns_callers_away_and_loses_nothing() -> None:
    async def test() -> None:
        async with Bench(commit_timeout_s=1.0) as bench:
            bench.journal.may_write.clear()
            with pytest.raises(BackOffError) as refused:
                await bench.dispatcher.submit(DEFAULT_TENANT, [new("a")])
            assert refused.value.code == "journal_slow"
            assert "same id" in refused.value.message
            with pytest.raises(BackOffError, match="same id"):
                await bench.dispatcher.submit(DEFAULT_TENANT, [new("b")])
            bench.journal.may_write.set()
            lease = await bench.runner.launched.get()
            assert lease.tasks[0].id == "a"
            answer = await bench.dispatcher.submit(DEFAULT_TENANT, [new("a")])
            assert answer.items[0].status is ItemStatus.DUPLICATE

    run(test)


def test_a_journal_that_fails_ends_the_dispatcher_and_its_callers_are_told_to_come_back() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.journal.failure = JournalFailed("no space left on device")
            with pytest.raises(BackOffError, match="no space left"):
                await bench.dispatcher.submit(DEFAULT_TENANT, [new("a")])
            assert [type(error) for error in bench.fatal] == [JournalFailed]
            with pytest.raises(BackOffError):
                await bench.dispatcher.get(DEFAULT_TENANT, TaskId("a"))

    run(test)


def test_a_successor_fences_its_predecessor() -> None:
    async def test() -> None:
        async with Bench() as old:
            await old.dispatcher.submit(DEFAULT_TENANT, [new("a")])
            async with Bench(old.store) as successor:
                with pytest.raises(BackOffError, match="taken the journal over"):
                    await old.dispatcher.submit(DEFAULT_TENANT, [new("late")])
                assert len(old.fatal) == 1
                page = await successor.dispatcher.list_tasks(ListFilter(), None, 10)
                assert [task.id for task in page.tasks] == ["a"]

    run(test)


async def ask_for_ever(bench: Bench) -> None:
    while True:
        await bench.dispatcher.status()


def test_a_runner_that_has_seen_a_later_epoch_ends_the_dispatcher() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.runner.accepts = False
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("a")])
            await bench.runner.launched.get()
            with pytest.raises(BackOffError, match="later epoch"):
                await ask_for_ever(bench)
            assert bench.fatal

    run(test)


def test_a_delayed_task_is_launched_by_the_timer() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("a", delay_ms=30)])
            bench.now_ms += 30
            lease = await bench.runner.launched.get()
            assert lease.tasks[0].id == "a"

    run(test)


def test_a_wait_ends_at_its_time_and_leaves_nothing_behind() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.dispatcher.submit(DEFAULT_TENANT, [new("a", delay_ms=100_000)])
            task = (await bench.dispatcher.get(DEFAULT_TENANT, TaskId("a"), wait_s=0.02)).task
            assert task is not None
            assert task.state is TaskState.SCHEDULED
            assert bench.dispatcher.waits == 0

    run(test)


def test_a_catalog_wait_ends_with_the_next_change() -> None:
    async def test() -> None:
        async with Bench() as bench:
            first = await bench.dispatcher.catalog()
            assert first is not None
            assert await bench.dispatcher.catalog(first.version, wait_s=0.02) is None
            waiting = asyncio.create_task(bench.dispatcher.catalog(first.version, wait_s=10))
            await bench.dispatcher.register([function("app.g")])
            changed = await waiting
            assert changed is not None
            assert {spec.name for spec in changed.functions} == {"app.f", "app.g"}

    run(test)
