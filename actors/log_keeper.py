"""A runner's keeper of logs: every few seconds what its node's attempts have written goes to the state directory, in one object.

    supervisors -> spool -> [bundle, put_if_absent] -> gone from the spool

While the store is away the spool grows, to `buffer_bytes_max` at most; then what was written first is dropped, and its place
in the logs says so. What runners of this machine have left behind that are dead is stored as well.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from taskservice.core.types import TaskNo, Token
from taskservice.logs.bundle import make_bundle
from taskservice.logs.pieces import frame
from taskservice.objects import ObjectStore, StoreError
from taskservice.runtime.spool import Spool
from taskservice.runtime.spool_owner import SpoolOwner, new_spool, orphans

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """When a bundle is closed, and how much may wait."""

    buffer_bytes_max: int = 256 << 20
    """What may wait on this machine's disk while the store is away."""
    age_s: float = 5.0
    """What was written waits so long for more to be stored with it."""
    bundle_bytes_max: int = 8 << 20
    """A bundle is closed before that time when it has grown to this."""
    look_s: float = 0.5
    """Between two looks at the spool."""
    orphans_s: float = 60.0
    """Between two looks for what dead runners have left."""
    retry_s: float = 5.0
    """After the store could not be reached."""
    closing_s: float = 5.0
    """How long the end of the runner may wait for the store; what is not stored by then waits for the next runner."""


class Kept(NamedTuple):
    """What one turn has done."""

    stored: int = 0
    """Bundles."""


class LogKeeper:
    """Belongs to its runner's event loop; what blocks is on threads, in one at a time."""

    def __init__(
        self,
        root: Path,
        session: str,
        open_store: Callable[[], ObjectStore],
        now_ms: Callable[[], int],
        options: KeeperOptions | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """The spool is there. The store is opened when there is something to store. Raises OSError."""
        self._root = root
        self._open_store = open_store
        self._now_ms = now_ms
        self._options = options or KeeperOptions()
        self._clock_s = clock_s
        self._store: ObjectStore | None = None
        self._spool = new_spool(root, session, now_ms())
        self._own = Spool(self._spool.folder)
        self._orphans: list[SpoolOwner] = []
        self._since_s: float | None = None
        """When it was first seen that something is written for the open bundle."""
        self._looked_s = float("-inf")
        """For orphans."""
        self._turn = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where supervisors write."""
        return self._spool.folder

    async def run(self) -> None:
        """`run_once` again and again, until it is cancelled."""
        while True:
            try:
                await self.run_once()
                rest_s = self._options.look_s
            except StoreError as error:
                log.warning("logs of tasks wait on this machine: %s", error)
                rest_s = self._options.retry_s
            except Exception:  # whatever it is: no task ends because its log cannot be kept
                log.exception("the spool of tasks' logs cannot be read or written")
                rest_s = self._options.retry_s
            await asyncio.sleep(rest_s)

    async def run_once(self) -> Kept:
        """What has waited long enough is stored. Raises StoreError if it cannot be: then what is too much was dropped."""
        return await asyncio.to_thread(self._store_due)

    async def close(self) -> None:
        """All is stored, or waits for the next runner of this machine."""
        try:
            async with asyncio.timeout(self._options.closing_s):
                await asyncio.to_thread(self._close)
        except (TimeoutError, StoreError, OSError) as error:
            log.warning("logs of tasks wait for the next runner of this machine: %s", error)

    def salvage(self, token: Token, nos: Iterable[TaskNo]) -> list[tuple[TaskNo, str]]:
        """Of those attempts, whose process has died, all that they had put on their pages; gives where it will be. Blocks
        for about as long as reading that takes."""
        pieces = [piece for no in nos if (piece := self._spool.salvage(no, token)) is not None]
        if not pieces:
            return []
        try:
            place = self._own.append(b"".join(map(frame, pieces)))
        except OSError as error:
            log.warning("logs of lease %s are lost: %s", token, error)
            return []
        return [(piece.no, place) for piece in pieces]

    def _store_due(self) -> Kept:
        with self._turn:
            return self._turn_once()

    def _turn_once(self) -> Kept:
        now_s, options = self._clock_s(), self._options
        size = self._spool.open_bytes
        if size and self._since_s is None:
            self._since_s = now_s
        if self._since_s is not None and (size >= options.bundle_bytes_max or now_s - self._since_s >= options.age_s):
            self._spool.open_next(self._now_ms())
            self._since_s = None
        elif not size and not self._spool.is_of_today(self._now_ms()):
            self._spool.open_next(self._now_ms())  # logs are kept by the day in their place
        if now_s - self._looked_s >= options.orphans_s:
            self._looked_s = now_s
            self._orphans += orphans(self._root)
        try:
            stored = sum(self._store_closed(spool) for spool in (*self._orphans, self._spool))
        except StoreError:
            self._drop()
            raise
        for orphan in self._orphans:
            orphan.close()
        self._orphans.clear()
        return Kept(stored)

    def _close(self) -> None:
        with self._turn:
            self._since_s = float("-inf")
            self._turn_once()
            self._own.close()
            self._spool.close()

    def _store_closed(self, spool: SpoolOwner) -> int:
        """How many bundles were stored: all that are closed."""
        stored = 0
        for place in spool.closed():
            pieces = spool.read(place)
            if pieces:
                there = self._objects().put_if_absent(place.key, make_bundle(pieces))
                if there is not None:
                    log.warning("%s was there before, and stays as it was", place.key)
                stored += 1
            spool.remove(place)
        return stored

    def _drop(self) -> None:
        """No more waits than may; the oldest is dropped first."""
        limit = self._options.buffer_bytes_max
        why = f"the store was away, and log_buffer_bytes_max is {limit}"
        waiting = [(spool, place) for spool in (*self._orphans, self._spool) for place in spool.closed()]
        size = self._spool.open_bytes + sum(spool.size_bytes(place) for spool, place in waiting)
        for spool, place in waiting:
            if size > limit and not spool.is_short(place):
                size -= spool.size_bytes(place)
                log.warning("%d bytes of tasks' logs were dropped: %s", spool.shorten(place, why), why)
                size += spool.size_bytes(place)
        for spool, place in waiting:
            if size > limit:  # by the marks alone
                size -= spool.size_bytes(place)
                spool.remove(place)
                log.warning("what %s would have held is dropped without a mark: %s", place, why)

    def _objects(self) -> ObjectStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store
