"""The archiver's shell: files as large as they may be, crashes between any two steps, a store that is away, and its pace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from random import Random
from typing import Self, TypeVar

import pytest

from helpers.large import key, reference
from taskservice.actors.archiver import Archiver, ArchiverOptions, Counts
from taskservice.actors.dispatcher import Dispatcher
from taskservice.core import events as e
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.past import DAY_MS
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import FunctionName, ListFilter, NewTask, TaskId
from taskservice.errors import BackOffError
from taskservice.history import parquet
from taskservice.history.keys import epoch_of
from taskservice.history.reader import HistoryReader
from taskservice.journal.marks import mark_at
from taskservice.journal.memory import MemoryJournal, MemoryStore
from taskservice.objects import StoreUnavailable
from taskservice.objects.memory import MemoryObjects
from world.durable import folded
from world.machine import function

A = TypeVar("A")

LIMITS = Limits(retention_s=10, retention_failed_s=10, dedup_window_s=1_000, history_keep_s=DAY_MS / 1000)
OPTIONS = ArchiverOptions(file_tasks_max=6, turn_tasks_max=4, pause_s=0.5, interval_s=60, retry_s=7)


class Crash(Exception):
    """The process ends here."""


class FragileObjects(MemoryObjects):
    """Objects whose writes may be of no avail, or be known to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: list[str] = []
        """What becomes of the next writes: `before` or `after` they happened; or nothing."""

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        how = self.fail.pop(0) if self.fail else ""
        if how == "before":
            raise StoreUnavailable("it did not happen")
        there = super().put_if_absent(key, data)
        if how == "after":
            raise StoreUnavailable("who knows")
        return there

    @property
    def keys(self) -> list[str]:
        return [info.key for info in self.list("history/")]


class Bench:
    """A dispatcher and its archiver, whose crashes and clocks are in the test's hands."""

    def __init__(self, store: MemoryStore | None = None, objects: FragileObjects | None = None) -> None:
        self.store = store or MemoryStore()
        self.objects = objects or FragileObjects()
        self.now_ms = DAY_MS // 2
        self.now_s = 0.0
        self.paused_s: list[float] = []
        self.asked: list[type] = []
        self.crash_at: int | None = None
        """How many events more the archiver gets through."""
        journal = MemoryJournal(self.store)
        shard = folded(journal, LIMITS)
        shard.open(mark_at(None, journal.epoch, -1), self.now_ms)

        async def launch(*_: object) -> bool:
            return True

        self.dispatcher = Dispatcher(
            journal, shard, launch, lambda error: None, now_ms=lambda: self.now_ms, rng=Random(1)
        )
        nonces = count(10)
        self.archiver = Archiver(
            self.ask,
            self.objects,
            journal.epoch,
            lambda: f"{next(nonces)}",
            OPTIONS,
            pause=self.pause,
            clock_s=lambda: self.now_s,
        )

    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        if self.crash_at is not None:
            self.crash_at -= 1
            if self.crash_at < 0:
                raise Crash
        self.asked.append(type(make(0)))
        return await self.dispatcher.ask(make, kind)

    async def pause(self, seconds: float) -> None:
        self.paused_s.append(seconds)
        self.now_s += seconds

    async def __aenter__(self) -> Self:
        self.dispatcher.start()
        await self.dispatcher.register([function()])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatcher.close()

    async def cancelled(self, ids: Sequence[str]) -> None:
        """These tasks have ended, each in a millisecond of its own."""
        tasks = [NewTask(TaskId(id), FunctionName("app.f"), b'{"id":"%s"}' % id.encode()) for id in ids]
        await self.dispatcher.submit(DEFAULT_TENANT, tasks)
        for id in ids:
            self.now_ms += 1
            await self.dispatcher.change(DEFAULT_TENANT, OperationKind.CANCEL, [TaskId(id)])

    async def archive_all(self) -> None:
        """Until the crash."""
        while True:
            await self.archiver.run_once()

    async def check(self, ids: Sequence[str], *, here: int = 0) -> None:
        """So many tasks are in the table, all others in history, each once, and files have them."""
        page = await self.dispatcher.list_tasks(ListFilter(), None, 1_000)
        assert len(page.tasks) == here
        past = HistoryReader(lambda: self.objects).read(page.past, whole=True)
        assert sorted(task.id for task in [*page.tasks, *past]) == sorted(ids)
        assert all(task.payload == b'{"id":"%s"}' % task.id.encode() for task in past)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


def ids(n: int) -> list[str]:
    return [f"t{i:02d}" for i in range(n)]


def test_nothing_leaves_before_its_time_and_all_of_it_then() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.cancelled(ids(5))
            assert await bench.archiver.run_once() == Counts()
            assert bench.objects.keys == []
            bench.now_ms += 10_000
            assert await bench.archiver.run_once() == Counts(archived=5, files=1)
            await bench.check(ids(5))
            assert await bench.archiver.run_once() == Counts()

    run(test)


def test_files_are_as_large_as_they_may_be_and_turns_as_short() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.cancelled(ids(14))
            bench.now_ms += 10_000
            counts = [await bench.archiver.run_once() for _ in range(4)]
            assert [(one.archived, one.full) for one in counts] == [(6, True), (6, True), (2, False), (0, False)]
            rows = [len(parquet.written(bench.objects.get(key))) for key in bench.objects.keys]
            assert sorted(rows) == [2, 6, 6]
            assert bench.asked.count(e.FileWritten) == 5, "six tasks leave in two turns"
            await bench.check(ids(14))

    run(test)


def test_a_file_is_of_one_day() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.now_ms = DAY_MS - 3
            await bench.cancelled(ids(5))
            bench.now_ms += 10_000
            for _ in range(2):
                await bench.archiver.run_once()
            assert [key.split("/")[1] for key in bench.objects.keys] == ["dt=1970-01-01", "dt=1970-01-02"]
            await bench.check(ids(5))

    run(test)


@pytest.mark.parametrize("crash_at", range(14))
def test_a_crash_anywhere_loses_and_doubles_nothing(crash_at: int) -> None:
    """The next dispatcher tells to the end what was told in part, and removes what nobody knows."""

    async def test() -> None:
        async with Bench() as first:
            await first.cancelled(ids(10))
            first.now_ms += 10_000
            first.crash_at = crash_at
            with pytest.raises(Crash):
                await first.archive_all()
        async with Bench(first.store, first.objects) as second:
            second.now_ms = first.now_ms
            second.crash_at = 40
            with pytest.raises(Crash):
                await second.archive_all()
            await second.check(ids(10))
            page = await second.dispatcher.list_tasks(ListFilter(), None, 1_000)
            assert sorted(second.objects.keys) == sorted({place.file for place in page.past})

    run(test)


@pytest.mark.parametrize("fail", [["before"], ["after"], ["after", "before", "before"]])
def test_a_write_whose_outcome_is_unknown_is_made_again(fail: list[str]) -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.cancelled(ids(3))
            bench.now_ms += 10_000
            bench.objects.fail = list(fail)
            for _ in fail:
                with pytest.raises(StoreUnavailable):
                    await bench.archiver.run_once()
            await bench.archiver.run_once()
            await bench.check(ids(3))
            assert len(bench.objects.keys) == 1

    run(test)


def test_a_sweep_leaves_what_a_successor_wrote() -> None:
    """The dispatcher that does not know yet that its time is over knows nothing of it either."""

    async def test() -> None:
        async with Bench() as old, Bench(old.store, old.objects) as new:
            await new.cancelled(ids(2))
            new.now_ms += 10_000
            await new.archiver.run_once()
            (key,) = new.objects.keys
            assert epoch_of(key) == 2
            old.objects.put_if_absent("history/dt=1970-01-01/1-2-00000000-ab.parquet", b"of a former one")
            await old.archiver.run_once()
            assert new.objects.keys == [key]

    run(test)


def test_history_is_forgotten_and_dropped_when_its_time_is_over() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.cancelled(ids(5))
            bench.now_ms += 10_000
            await bench.archiver.run_once()
            bench.now_ms += 990_000
            assert await bench.archiver.run_once() == Counts(forgotten=5)
            assert len(bench.objects.keys) == 1
            bench.now_ms = 2 * DAY_MS
            assert await bench.archiver.run_once() == Counts(dropped=1)
            assert bench.objects.keys == []
            await bench.check([])

    run(test)


def test_the_values_of_a_file_that_goes_are_let_go_before_it_few_at_a_time() -> None:
    async def test() -> None:
        async with Bench() as bench:
            keys = [key(no) for no in range(6)]
            tasks = [
                NewTask(TaskId(id), FunctionName("app.f"), reference(no)) for no, id in enumerate([*ids(5), "waiting"])
            ]
            await bench.dispatcher.submit(DEFAULT_TENANT, tasks)
            await bench.dispatcher.change(DEFAULT_TENANT, OperationKind.CANCEL, [task.id for task in tasks[:5]])
            bench.now_ms += 10_000
            assert await bench.archiver.run_once() == Counts(archived=5, files=1)
            assert await bench.dispatcher.references(keys) == tuple(keys)
            bench.now_ms = 2 * DAY_MS
            bench.crash_at = 7
            with pytest.raises(Crash):
                await bench.archiver.run_once()
            assert bench.asked[-1] is e.OldFileRead
            assert len(await bench.dispatcher.references(keys)) == 2
            bench.crash_at = None
            assert await bench.archiver.run_once() == Counts(dropped=1)
            assert await bench.dispatcher.references(keys) == (keys[5],)
            assert bench.objects.keys == []

    run(test)


class Enough(Exception):
    """The test has seen what it wanted."""


def rests(happens: Sequence[Counts | Exception], *, took_s: float = 0.0) -> list[float]:
    """How long the archiver rests after each of these runs."""
    now_s, rested, left = [0.0], [], list(happens)

    async def pause(seconds: float) -> None:
        rested.append(seconds)
        now_s[0] += seconds
        if not left:
            raise Enough

    class Scripted(Archiver):
        async def run_once(self) -> Counts:
            now_s[0] += took_s
            outcome = left.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    async def never(*_: object) -> None:
        raise AssertionError

    archiver = Scripted(never, MemoryObjects(), 1, lambda: "a", OPTIONS, pause, lambda: now_s[0])  # type: ignore[arg-type]
    with pytest.raises(Enough):
        asyncio.run(archiver.run())
    return rested


def test_it_looks_again_when_a_file_is_expected_to_be_full() -> None:
    full = Counts(archived=6, files=1, full=True)
    assert rests([full, full, Counts()]) == [0.5, 0.5, 60]
    assert rests([Counts(), Counts(archived=10, files=1), Counts(archived=1, files=1)]) == [60, 36, 60]


def test_what_does_not_come_about_is_tried_again() -> None:
    trouble = [BackOffError("busy", retry_after_s=1), StoreUnavailable("slow"), ValueError("a bug"), Counts()]
    assert rests(trouble) == [7, 7, 60, 60]
