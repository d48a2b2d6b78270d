"""The table's file: folded when its log has grown, and made a checkpoint of now and then.

The file may be folded only at rest: when every commit is durable and nothing has changed since the last one. Between two
folds it does not change, so a checkpoint is made of it in a thread while the dispatcher goes on; until that is done the
next fold waits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taskservice.core.table import TaskTable
from taskservice.journal import JournalError, Position
from taskservice.journal.patience import Stopped
from taskservice.objects import StoreError

log = logging.getLogger(__name__)


class Publisher(Protocol):
    """Makes checkpoints: `journal.checkpointer.Checkpointer`. All calls block."""

    def publish(self, path: Path, position: Position) -> object:
        """The file, which holds the state at `position`, is the newest checkpoint; gives what to log about it."""

    def sweep(self) -> object:
        """What former owners left is gone; gives what to log about it."""


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """When the table's file is folded, and when a checkpoint is made of it."""

    wal_bytes_max: int = 64 << 20
    """Of the table's log, after which it is folded."""
    interval_s: float = 300.0
    """Between two checkpoints, if anything has happened."""
    journal_bytes_max: int = 64 << 20
    """Of records in the journal since the last checkpoint, after which the next one is due: what a recovery has to apply."""
    close_s: float = 10.0
    """How long the last checkpoint may take when the service stops."""


class Keeper:
    """Belongs to one event loop. `stop` ends what the publisher is at; `wake` asks for a turn, in which
    `wants_rest` is asked; `failed` is told if the log is somebody else's."""

    def __init__(
        self,
        table: TaskTable,
        path: Path,
        publisher: Publisher,
        stop: threading.Event,
        wake: Callable[[], None],
        failed: Callable[[BaseException], None],
        options: KeeperOptions | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._path = path
        self._publisher = publisher
        self._stop = stop
        self._wake = wake
        self._failed = failed
        self._options = options or KeeperOptions()
        self._clock_s = clock_s
        self._last_s = clock_s()
        """When the last checkpoint was begun; or this, when there was none."""
        self._last_mark = table.mark
        """What the last checkpoint holds, or what this dispatcher began with."""
        self._last_bytes = 0
        self._work: asyncio.Future[object] | None = None
        self._publishing = False
        """A checkpoint is being made of the file, which must not change."""

    def wants_rest(self, journal_bytes: int) -> bool:
        """Whether the file is to be folded as soon as that can be. `journal_bytes`: all that was appended so far."""
        if self._publishing:
            return False
        return self._table.wal_bytes >= self._options.wal_bytes_max or self._is_due(journal_bytes)

    def rest(self, position: Position, journal_bytes: int) -> None:
        """The file is folded, and a checkpoint is on its way if it is due. `position`: of the table's last commit."""
        due = self._is_due(journal_bytes)
        self._table.fold()
        if due:
            self._last_s, self._last_bytes = self._clock_s(), journal_bytes
            self._publish(position)

    def sweep(self) -> None:
        """What former owners left is going."""
        if self._work is None:
            self._begin("sweep", self._publisher.sweep)

    async def close(self, position: Position) -> None:
        """The state is in a checkpoint, if that could be had within `close_s`; nothing is under way. To be called at rest."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=self._options.close_s)
        if self._work is None and self._table.mark != self._last_mark:
            self._table.fold()
            await asyncio.wait([self._publish(position)], timeout=self._options.close_s)
        await self.stop()

    async def stop(self) -> None:
        """Nothing is under way any more."""
        self._stop.set()
        if self._work is not None:
            await asyncio.wait([self._work])

    def _publish(self, position: Position) -> asyncio.Future[object]:
        self._last_mark, self._publishing = self._table.mark, True
        return self._begin("checkpoint", lambda: self._publisher.publish(self._path, position))

    def _is_due(self, journal_bytes: int) -> bool:
        if self._work is not None or self._table.mark == self._last_mark:
            return False
        waited_s, appended = self._clock_s() - self._last_s, journal_bytes - self._last_bytes
        return waited_s >= self._options.interval_s or appended >= self._options.journal_bytes_max

    def _begin(self, what: str, work: Callable[[], object]) -> asyncio.Future[object]:
        self._work = asyncio.get_running_loop().run_in_executor(None, work)
        self._work.add_done_callback(lambda done: self._ended(what, done))
        return self._work

    def _ended(self, what: str, done: asyncio.Future[object]) -> None:
        self._work, self._publishing = None, False
        error = done.exception()
        self._wake()
        if error is None:
            log.info("%s: %s", what, done.result())
        elif isinstance(error, (Stopped, StoreError)):
            log.warning("%s: it did not come about, and will be tried again: %s", what, error)
        elif isinstance(error, JournalError):
            self._failed(error)
        else:
            log.error(
                "%s: it did not come about, for a reason that is a bug; it will be tried again", what, exc_info=error
            )
