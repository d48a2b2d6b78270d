"""The table's file in the dispatcher's care: folded at rest, made a checkpoint of when that is due, and gone on from."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from taskservice.actors.dispatcher import Dispatcher
from taskservice.actors.dispatcher_options import DispatcherOptions
from taskservice.actors.keeper import Keeper, KeeperOptions
from taskservice.core.limits import Limits
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import FunctionName, ListFilter, NewTask, TaskId
from taskservice.journal import Fenced, Position
from taskservice.journal.checkpointer import Checkpointer
from taskservice.journal.opening import StateDir, open_state
from taskservice.journal.recovery import Recovered, recover
from taskservice.objects import StoreRefused
from world.durable import durable
from world.machine import function

NOW_MS = 1_000_000
ROOM_FOR_ALL = 10_000


class Service:
    """One life of a dispatcher on a state directory and a table file, as `actors.processes` puts it together."""

    def __init__(self, folder: Path, options: KeeperOptions) -> None:
        self.state: StateDir = open_state(str(folder / "state"), now_ms=lambda: NOW_MS)
        self.stop = threading.Event()
        self.checkpointer = Checkpointer(
            self.state.store, self.state.journal, self.state.ownership, now_ms=lambda: NOW_MS, stop=self.stop
        )
        self.path = folder / "table.sqlite"
        manifest = self.state.ownership.manifest
        self.recovered: Recovered = recover(
            self.state.journal, manifest, self.checkpointer, self.path, Limits(), NOW_MS
        )
        self.fatal: list[BaseException] = []
        self.dispatcher = Dispatcher(
            self.state.journal,
            self.recovered.shard,
            self._launch,
            self.fatal.append,
            DispatcherOptions(commit_timeout_s=5.0),
            now_ms=lambda: NOW_MS,
            rng=Random(1),
            keeper=lambda wake, failed: Keeper(
                self.recovered.table, self.path, self.checkpointer, self.stop, wake, failed, options
            ),
        )

    async def _launch(self, *_: object) -> bool:
        return True

    async def submit(self, *ids: str) -> None:
        tasks = [NewTask(TaskId(id), FunctionName("app.f"), b'"' + b"x" * 500 + b'"') for id in ids]
        await self.dispatcher.submit(DEFAULT_TENANT, tasks)

    @property
    def checkpoints(self) -> list[tuple[int, int]]:
        return [(ref.epoch, ref.segment) for ref in self.state.ownership.manifest.checkpoints]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services, one after the other, on one state."""
    services: list[Service] = []

    def start(**options: float) -> Service:
        services.append(Service(tmp_path, KeeperOptions(**options)))  # type: ignore[arg-type]
        return services[-1]

    yield start
    for service in services:
        service.recovered.table.close()
        service.state.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(bounded())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.wait([asyncio.create_task(asyncio.to_thread(lambda: None))])


def test_checkpoints_are_made_while_tasks_come_in_and_two_of_them_stand(live: Callable[..., Service]) -> None:
    async def test() -> None:
        service = live(journal_bytes_max=1)
        service.dispatcher.start()
        await service.dispatcher.register([function()])
        for n in range(5):
            seen = service.checkpoints
            await service.submit(*(f"t{n}-{i}" for i in range(50)))
            await until(lambda seen=seen: service.checkpoints[:1] != seen[:1])  # type: ignore[misc]
        assert len(service.checkpoints) == 2
        await service.dispatcher.close()
        assert not service.fatal

    run(test)


def test_the_table_is_folded_when_its_log_has_grown(live: Callable[..., Service]) -> None:
    async def test() -> None:
        service = live(wal_bytes_max=100_000)
        service.dispatcher.start()
        await service.dispatcher.register([function()])
        for n in range(20):
            await service.submit(*(f"t{n}-{i}" for i in range(50)))
            assert service.recovered.table.wal_bytes < 1_000_000
        assert service.checkpoints == []
        assert service.recovered.table.folded_bytes > 200_000
        await service.dispatcher.close()
        assert len(service.checkpoints) == 1, "the last thing that is done"

    run(test)


def test_each_way_to_recover_comes_to_the_same(live: Callable[..., Service], tmp_path: Path) -> None:
    """From the table that is there; from a checkpoint; and from the journal, where no checkpoint is whole."""
    states, sources = [], []

    async def first() -> None:
        service = live(journal_bytes_max=1)
        service.dispatcher.start()
        await service.dispatcher.register([function()])
        await service.submit("a", "b")
        await until(lambda: bool(service.checkpoints))
        await service.submit("c")
        states.append(durable(service.recovered.shard.state))
        service.stop.set()
        service.recovered.table.close()
        service.state.close()

    def again() -> None:
        service = live()
        sources.append(service.recovered.source)
        states.append(durable(service.recovered.shard.state))
        service.recovered.table.close()
        service.state.close()

    run(first)
    again()
    (tmp_path / "table.sqlite").unlink()
    again()
    for chunk in (tmp_path / "state" / "chunk").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    (tmp_path / "table.sqlite").unlink()
    again()
    assert sources[0] == "the table that was there"
    assert sources[1].startswith("checkpoint/")
    assert sources[2] == "the journal alone"
    for state in states:
        numbers = state.pop("numbers")
        assert isinstance(numbers, tuple)
        assert numbers[1] == 4
    assert states[0] == states[1] == states[2] == states[3]


class Refuses:
    """A publisher that may not write, or is not the owner any more."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def publish(self, path: Path, position: Position) -> object:
        self.asked += 1
        raise self.error

    def sweep(self) -> object:
        return None


@pytest.mark.parametrize(
    ("error", "ends"), [(StoreRefused("no access"), False), (Fenced("taken over"), True), (KeyError("a bug"), False)]
)
def test_a_checkpoint_that_fails_ends_the_dispatcher_only_if_the_log_is_not_its_own(
    live: Callable[..., Service], error: Exception, ends: bool
) -> None:
    async def test() -> None:
        service = live()
        refuses, fatal = Refuses(error), []
        options = KeeperOptions(journal_bytes_max=1, interval_s=1e9)
        keeper = Keeper(
            service.recovered.table, service.path, refuses, threading.Event(), lambda: None, fatal.append, options
        )
        state = service.recovered.shard
        state.cut()
        assert keeper.wants_rest(ROOM_FOR_ALL)
        keeper.rest(service.state.journal.position, ROOM_FOR_ALL)
        assert not keeper.wants_rest(2 * ROOM_FOR_ALL), "the file must not change while it is read"
        await keeper.stop()
        assert refuses.asked == 1
        assert bool(fatal) is ends

    run(test)


def test_nothing_that_was_accepted_is_missing_after_the_last_checkpoint(live: Callable[..., Service]) -> None:
    async def test() -> None:
        service = live(journal_bytes_max=20_000)
        service.dispatcher.start()
        await service.dispatcher.register([function()])
        await asyncio.gather(*(service.submit(*(f"t{n}-{i}" for i in range(20))) for n in range(50)))
        await service.dispatcher.close()
        service.recovered.table.close()
        service.path.unlink()
        successor = live()
        assert successor.recovered.segments == 0, "the checkpoint at the end has it all"
        tasks = successor.recovered.table.listing(ListFilter(), None, ROOM_FOR_ALL)
        assert len(tasks) == 1_000

    run(test)
