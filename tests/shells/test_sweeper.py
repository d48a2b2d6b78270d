"""Values that nobody refers to: removed when a task lets go of them, and found if that was missed. No Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Self

import msgspec
import pytest

from helpers.large import values_of
from helpers.unreliable_objects import UnreliableObjects
from taskservice.actors.dispatcher import Dispatcher
from taskservice.actors.remover import Remover
from taskservice.actors.sweeper import PAGE, Sweeper, SweeperOptions, Swept
from taskservice.core.events import RunnerJoined, RunnerLost
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, RunnerReport
from taskservice.core.limits import Limits
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Resources
from taskservice.core.types import FunctionName, NewTask, RunnerId, TaskId
from taskservice.core.values import keys_of, referring
from taskservice.errors import BackOffError
from taskservice.journal import Fenced
from taskservice.journal.manifest import claim
from taskservice.journal.marks import mark_at
from taskservice.journal.memory import MemoryJournal, MemoryStore
from taskservice.objects.directory import DirectoryObjects
from taskservice.values import ValuesAway
from world.durable import folded
from world.machine import function, ok

RUNNER = RunnerId("r1")
HOUR_S = 3_600.0


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


class Bench:
    """A dispatcher, its values, and a sweeper whose clocks are in the test's hands."""

    def __init__(self) -> None:
        self.objects = UnreliableObjects()
        self.values = values_of(self.objects)
        self.launched: asyncio.Queue[LeaseSpec] = asyncio.Queue()
        journal = MemoryJournal(MemoryStore())
        shard = folded(journal, Limits())
        shard.open(mark_at(None, journal.epoch, -1), 1_000_000)
        self.remover = Remover(self.values)
        self.dispatcher = Dispatcher(
            journal, shard, self._launch, print, now_ms=lambda: 1_000_000, rng=Random(1), remover=self.remover
        )
        self.now_ms = 1_000
        """Of the store's clock, which counts objects."""
        self.clock_s = 0.0
        self.owned = True
        self.sweeper = Sweeper(
            self.values,
            self.dispatcher.references,
            self._check_owner,
            SweeperOptions(age_s=0.5, interval_s=HOUR_S),
            now_ms=lambda: self.now_ms,
            clock_s=lambda: self.clock_s,
        )

    async def __aenter__(self) -> Self:
        self.dispatcher.start()
        await self.dispatcher.register([function()])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatcher.close()

    async def _launch(self, id: RunnerId, epoch: int, body: bytes) -> bool:
        for spec in msgspec.msgpack.decode(body, type=list[LeaseSpec]):
            self.launched.put_nowait(spec)
        return True

    def _check_owner(self) -> None:
        if not self.owned:
            raise Fenced("somebody else's")

    def write(self, text: bytes = b'"large"') -> bytes:
        return referring(self.values.write(text))

    async def submit(self, id: str, payload: bytes) -> None:
        await self.dispatcher.submit(DEFAULT_TENANT, [NewTask(TaskId(id), FunctionName("app.f"), payload)])

    async def lease(self, runner: RunnerId = RUNNER) -> LeaseSpec:
        self.dispatcher.emit(RunnerJoined(runner, "node", Resources(cpu_m=1000)))
        return await self.launched.get()

    async def report(self, lease: LeaseSpec, result: bytes) -> None:
        reports = (LeaseReport(lease.token, (ok(lease.tasks[0].no, result),), done=True),)
        await self.dispatcher.report(msgspec.msgpack.encode(RunnerReport(RUNNER, reports)))

    async def twice(self) -> tuple[Swept, Swept]:
        """Two runs of the sweeper, far enough apart."""
        first = await self.sweeper.run_once()
        self.clock_s += HOUR_S
        return first, await self.sweeper.run_once()


def test_an_orphan_goes_and_what_a_task_has_stays() -> None:
    async def test() -> None:
        async with Bench() as bench:
            payload, result, orphan = bench.write(), bench.write(), bench.write()
            bench.objects.put_if_absent("chunk/of-somebody-else", b"")
            await bench.submit("a", payload)
            await bench.report(await bench.lease(), result)
            assert await bench.twice() == (Swept(3, 1, 0), Swept(3, 0, 1))
            assert bench.objects.keys("value/") == sorted(keys_of(payload, result))
            assert not set(keys_of(orphan)) & set(bench.objects.keys())
            assert bench.objects.keys("chunk/") == ["chunk/of-somebody-else"]

    run(test)


def test_a_young_value_is_nobodys_business() -> None:
    """Its submit may be under way."""

    async def test() -> None:
        async with Bench() as bench:
            bench.write()
            bench.now_ms = 501
            assert await bench.twice() == (Swept(0, 0, 0), Swept(0, 0, 0))
            bench.now_ms = 502
            assert await bench.twice() == (Swept(1, 1, 0), Swept(1, 0, 1))

    run(test)


def test_one_look_is_not_enough() -> None:
    """However old it is: a report that waited out a long outage may still come."""

    async def test() -> None:
        async with Bench() as bench:
            late = bench.write()
            await bench.submit("a", b"{}")
            lease = await bench.lease()
            assert await bench.sweeper.run_once() == Swept(1, 1, 0)
            bench.clock_s += HOUR_S - 1
            assert await bench.sweeper.run_once() == Swept(1, 1, 0)
            await bench.report(lease, late)
            bench.clock_s += HOUR_S
            assert await bench.sweeper.run_once() == Swept(1, 0, 0)
            assert bench.objects.keys() == list(keys_of(late))

    run(test)


def test_a_dispatcher_that_was_replaced_removes_nothing() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.write()
            await bench.sweeper.run_once()
            bench.owned = False
            bench.clock_s += HOUR_S
            with pytest.raises(Fenced):
                await bench.sweeper.run_once()
            assert len(bench.objects.keys()) == 1

    run(test)


def test_the_real_proof_of_ownership_stops_a_sweep(tmp_path: Path) -> None:
    """The same, with the manifests of a state directory."""

    async def test() -> None:
        store = DirectoryObjects(tmp_path)
        owner = claim(store, log="log", nonce="one", writer="a", at_ms=1)
        values_of(store).write(b"{}")

        async def nobody(keys: Sequence[str]) -> Sequence[str]:
            return ()

        options = SweeperOptions(age_s=0.0, interval_s=0.0)
        claimed = [False]

        def check() -> None:
            if not claimed[0]:
                claim(store, log="log", nonce="two", writer="b", at_ms=2)
            claimed[0] = True
            owner.check()

        sweeper = Sweeper(values_of(store), nobody, check, options, now_ms=lambda: 10**15)
        with pytest.raises(Fenced):
            await sweeper.run_once()
        assert len(list(store.list("value/"))) == 1

    run(test)


def test_more_than_a_page_is_swept_in_pages() -> None:
    async def test() -> None:
        async with Bench() as bench:
            kept = bench.write()
            await bench.submit("a", kept)
            for _ in range(2 * PAGE):
                bench.write()
            bench.now_ms = 10_000
            assert await bench.twice() == (Swept(2 * PAGE + 1, 2 * PAGE, 0), Swept(2 * PAGE + 1, 0, 2 * PAGE))
            assert bench.objects.keys() == list(keys_of(kept))
            assert bench.objects.done["delete"] == 2

    run(test)


def test_a_sweep_that_fails_is_made_again() -> None:
    """What it had seen before counts still, and what it had not removed is removed later."""

    async def test() -> None:
        async with Bench() as bench:
            bench.write()
            await bench.sweeper.run_once()
            bench.clock_s += HOUR_S
            bench.objects.refusing = {"delete"}
            with pytest.raises(ValuesAway):
                await bench.sweeper.run_once()
            bench.objects.refusing = set()
            assert await bench.sweeper.run_once() == Swept(1, 0, 1)

    run(test)


def test_a_shard_that_does_not_answer_keeps_everything() -> None:
    async def test() -> None:
        async with Bench() as bench:
            bench.write()
            await bench.sweeper.run_once()
            bench.clock_s += HOUR_S
            await bench.dispatcher.close()
            with pytest.raises(BackOffError):
                await bench.sweeper.run_once()
            assert len(bench.objects.keys()) == 1

    run(test)


def test_a_result_that_came_too_late_is_removed() -> None:
    async def test() -> None:
        async with Bench() as bench:
            await bench.submit("a", b"{}")
            lease = await bench.lease()
            bench.dispatcher.emit(RunnerLost(RUNNER))
            late = bench.write()
            await bench.report(lease, late)
            assert bench.remover._work is not None
            await asyncio.wait([bench.remover._work])
            assert bench.objects.keys() == []

    run(test)


def test_what_cannot_be_removed_at_once_is_left_to_the_sweeper() -> None:
    async def test() -> None:
        async with Bench() as bench:
            first, second = keys_of(bench.write(), bench.write())
            bench.objects.away = 1
            bench.remover.remove([first])
            assert bench.remover._work is not None
            await asyncio.wait([bench.remover._work])
            bench.remover.remove([second])
            assert bench.remover._work is not None
            await asyncio.wait([bench.remover._work])
            assert bench.objects.keys() == [first]
            assert await bench.twice() == (Swept(1, 1, 0), Swept(1, 0, 1))

    run(test)
