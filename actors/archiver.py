"""The archiver: tasks that have been in the table for long enough go to a file of history, and old history goes.

    ask the shard for tasks -> rows of Parquet -> wait until all that is durable -> put the file
        -> tell the shard: the tasks leave the table

It asks and tells in small pieces, each an event of its own, so that no turn of the dispatcher is long. What a crash leaves is
a file that nobody knows, which the next dispatcher's sweep removes, or one that was told in part, which is told to the end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from taskservice.core import effects as fx
from taskservice.core import events as e
from taskservice.core.past import DAY_MS, EndedKey, HistoryFile, WrittenTask
from taskservice.core.types import Task
from taskservice.errors import BackOffError
from taskservice.history.keys import PREFIX, epoch_of, file_key
from taskservice.objects import NoSuchObject, ObjectStore, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

A = TypeVar("A")

TURN_BYTES_MAX = 4 << 20
"""Payloads and results that are read from the table in one turn."""
UNDER_WAY_MAX = 8
"""Turns whose records may be on their way to the journal at a time."""
SWEEP_KEYS = 500
"""Objects that are asked about at a time."""


class Ask(Protocol):
    """Puts an event to the shard, and gives its answer once that is durable: `Dispatcher.ask`."""

    async def __call__(self, make: Callable[[int], e.Event], kind: type[A], /) -> A: ...


@dataclass(frozen=True, slots=True)
class ArchiverOptions:
    """How large files are, and how fast they are made."""

    file_tasks_max: int = 50_000
    file_bytes_max: int = 64 << 20
    """Payloads and results in a file."""
    turn_tasks_max: int = 500
    """Tasks that are read, or leave, in one turn of the dispatcher."""
    pause_s: float = 0.003
    """Between two turns, for others."""
    interval_s: float = 900.0
    """Between two looks, while it takes longer than that to fill a file."""
    retry_s: float = 10.0
    """After something did not come about."""


class Counts(NamedTuple):
    """What one run did."""

    archived: int = 0
    """Tasks."""
    files: int = 0
    forgotten: int = 0
    """Tasks."""
    dropped: int = 0
    """Files."""
    full: bool = False
    """There is more to archive, enough for a file."""


class Archiver:
    """Belongs to the dispatcher's event loop; what blocks is in threads."""

    def __init__(
        self,
        ask: Ask,
        store: ObjectStore,
        epoch: int,
        nonce: Callable[[], str],
        options: ArchiverOptions | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`nonce` gives hexadecimal digits that make a name of this epoch its own."""
        self._ask = ask
        self._store = store
        self._epoch = epoch
        self._nonce = nonce
        self._options = options or ArchiverOptions()
        self._pause = pause
        self._clock_s = clock_s
        self._begun = False
        """What former archivers left is done with."""
        self._written: _Batch | None = None
        """A file that is put, or may be, and is not told to the end."""

    async def run(self) -> None:
        """Never returns. What does not come about is tried again."""
        last_s = self._clock_s()
        while True:
            began_s = self._clock_s()
            try:
                counts = await self.run_once()
                rest_s = self._rest_s(counts, began_s - last_s)
                if any(counts):
                    log.info("history: %s in %.1f s", counts, self._clock_s() - began_s)
            except (BackOffError, StoreError) as error:
                log.warning("history: it did not come about, and will be tried again: %s", error)
                rest_s = self._options.retry_s
            except Exception:
                log.exception("history: it did not come about, for a reason that is a bug; it will be tried again")
                rest_s = self._options.interval_s
            last_s = began_s
            await self._pause(rest_s)

    def _rest_s(self, counts: Counts, since_s: float) -> float:
        """How long until there will be enough for a file, if what was archived is what came in `since_s`."""
        if counts.full:
            return self._options.pause_s
        if not counts.archived:
            return self._options.interval_s
        fills_s = since_s * self._options.file_tasks_max / counts.archived
        return min(self._options.interval_s, max(self._options.pause_s, fills_s))

    async def run_once(self) -> Counts:
        """A file has been made of what may leave, of either kind, and what is old has been forgotten and dropped."""
        if not self._begun:
            await self._resume()
            await self._sweep()
            self._begun = True
        if self._written is not None:
            await self._finish(self._written)
        archived = files = 0
        full = False
        for dead in (False, True):
            batch = await self._collect(dead=dead)
            if batch.rows:
                archived += await self._finish(batch)
                files += 1
                full = full or batch.full
        return Counts(archived, files, await self._forget(), await self._drop(), full)

    async def _collect(self, *, dead: bool) -> _Batch:
        """Tasks of one day, as many as a file takes."""
        options, batch = self._options, _Batch()
        while batch.more(options):
            limit = min(options.turn_tasks_max, options.file_tasks_max - len(batch.rows))
            size = min(TURN_BYTES_MAX, options.file_bytes_max)
            asked = partial(e.EndedAsked, dead=dead, after=batch.last, limit=limit, bytes_max=size)
            answer = await self._ask(asked, fx.EndedAnswer)
            if not answer.tasks:
                break
            await asyncio.to_thread(batch.add, answer.tasks)
            await self._pause(options.pause_s)
        return batch

    async def _finish(self, batch: _Batch) -> int:
        """The file is put, and its tasks have left the table; gives how many. If that is broken off, it can be called again,
        and the same file is put."""
        self._written = batch
        if batch.file is None:
            await asyncio.to_thread(batch.encode, self._epoch, self._nonce())
        file = batch.file
        assert file is not None
        await self._ask(e.UnfinishedAsked, fx.FilesAnswer)  # all that is in it is durable when this is answered
        there = await asyncio.to_thread(self._store.put_if_absent, file.key, batch.data)
        assert there is None, "a name with a nonce is nobody else's"
        archived = await self._tell(file, batch.rows)
        self._written = None
        return archived

    async def _tell(self, file: HistoryFile, rows: Sequence[WrittenTask]) -> int:
        """These tasks have left the table for the file; gives how many. Some are under way at a time, each in a turn of its
        own, but the last only when all others are there: it finishes the file."""
        step, archived = self._options.turn_tasks_max, 0
        *parts, rest = [tuple(rows[start : start + step]) for start in range(0, max(1, len(rows)), step)]
        under_way: deque[asyncio.Task[int]] = deque()
        try:
            for part in parts:
                under_way.append(asyncio.create_task(self._tell_some(file, part, last=False)))
                await self._pause(self._options.pause_s)
                if len(under_way) >= UNDER_WAY_MAX:
                    archived += await under_way.popleft()
            while under_way:
                archived += await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return archived + await self._tell_some(file, rest, last=True)

    async def _tell_some(self, file: HistoryFile, rows: tuple[WrittenTask, ...], *, last: bool) -> int:
        return (await self._ask(partial(e.FileWritten, file=file, rows=rows, last=last), fx.CountAnswer)).count

    async def _resume(self) -> None:
        """Files that a former archiver told in part are told to the end."""
        for file in (await self._ask(e.UnfinishedAsked, fx.FilesAnswer)).files:
            try:
                rows = await asyncio.to_thread(_rows, self._store, file.key)
            except NoSuchObject:
                log.exception("history: %s is not there, though some of its tasks have left the table for it", file.key)
                rows = []
            await self._tell(file, rows)

    async def _sweep(self) -> None:
        """Files that former archivers wrote, and did not come to tell of, are gone."""
        keys = iter(await asyncio.to_thread(_former, self._store, self._epoch))
        while some := tuple(islice(keys, SWEEP_KEYS)):
            unknown = (await self._ask(partial(e.StrangersAsked, keys=some), fx.KeysAnswer)).keys
            if unknown:
                await asyncio.to_thread(self._store.delete, unknown)
                log.info("history: removed %d files that no record speaks of: %s", len(unknown), unknown[:10])

    async def _forget(self) -> int:
        forgotten, some = 0, partial(e.ForgetAsked, limit=self._options.turn_tasks_max)
        while count := (await self._ask(some, fx.CountAnswer)).count:
            forgotten += count
            await self._pause(self._options.pause_s)
        return forgotten

    async def _drop(self) -> int:
        dropped = 0
        while files := (await self._ask(partial(e.DropAsked, limit=SWEEP_KEYS), fx.FilesAnswer)).files:
            for file in files:
                dropped += await self._drop_file(file.key)
        return dropped

    async def _drop_file(self, key: str) -> int:
        """Nothing refers to the file's values any more, and it is gone."""
        try:
            values = await asyncio.to_thread(_value_keys, self._store, key)
        except NoSuchObject:
            log.exception("history: %s is not there; the values of its tasks stay, if it had any", key)
            values = []
        step = self._options.turn_tasks_max
        *parts, rest = [tuple(values[start : start + step]) for start in range(0, max(1, len(values)), step)]
        for part in parts:
            await self._ask(partial(e.OldFileRead, key=key, value_keys=part, last=False), fx.CountAnswer)
            await self._pause(self._options.pause_s)
        told = await self._ask(partial(e.OldFileRead, key=key, value_keys=rest, last=True), fx.CountAnswer)
        if told.count:
            await asyncio.to_thread(self._store.delete, [key])
        return told.count


class _Batch:
    """A file in the making."""

    def __init__(self) -> None:
        self.rows: list[WrittenTask] = []
        self.last: EndedKey | None = None
        self.file: HistoryFile | None = None
        self.data = b""
        self.full = False
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0

    def more(self, options: ArchiverOptions) -> bool:
        """Whether more tasks go into it."""
        self.full = len(self.rows) >= options.file_tasks_max or self._bytes >= options.file_bytes_max
        return not self.full

    def add(self, tasks: Sequence[Task]) -> None:
        """The tasks are in it, after the others."""
        from taskservice.history import parquet  # noqa: PLC0415 - pyarrow takes long to import

        self._batches.append(parquet.batch(tasks))
        first = len(self.rows)
        self.rows += [WrittenTask(task.no, first + at, task.run, task.state) for at, task in enumerate(tasks)]
        self._bytes += sum(len(task.payload) + len(task.result or b"") for task in tasks)
        self.last = EndedKey(tasks[-1].ended_ms or 0, tasks[-1].no)

    def encode(self, epoch: int, nonce: str) -> None:
        """It is bytes, with a name."""
        from taskservice.history import parquet  # noqa: PLC0415 - pyarrow takes long to import

        assert self.last is not None
        self.data = parquet.encode(self._batches)
        self._batches.clear()
        nos = [row.no for row in self.rows]
        first_no, last_no, last_ms = min(nos), max(nos), self.last.ended_ms
        key = file_key(last_ms // DAY_MS, first_no, last_no, epoch, nonce)
        self.file = HistoryFile(key, last_ms // DAY_MS, first_no, last_no, len(nos), len(self.data), last_ms)


def _rows(store: ObjectStore, key: str) -> list[WrittenTask]:
    from taskservice.history import parquet  # noqa: PLC0415 - pyarrow takes long to import

    return [WrittenTask(one.no, row, one.run, one.state) for row, one in enumerate(parquet.written(store.get(key)))]


def _value_keys(store: ObjectStore, key: str) -> list[str]:
    from taskservice.history import parquet  # noqa: PLC0415 - pyarrow takes long to import

    return parquet.value_keys(store.get(key))


def _former(store: ObjectStore, epoch: int) -> list[str]:
    """Files of history that were written before this epoch. Only they may be unknown for good: a dispatcher that does not know
    yet that its time is over sees a successor's, of which it cannot know."""
    return [info.key for info in store.list(PREFIX) if (written := epoch_of(info.key)) is not None and written < epoch]
