"""A journal of objects: in a bucket, or wherever an `ObjectStore` is. Only `put_if_absent` decides anything.

Opening it claims the next epoch (`manifest`), then seals every earlier one that is not (`sealing`). An append puts a
segment where there is none (`segments`). Whatever a former owner puts after its epoch was sealed lies behind the fence, or
finds the fence in its place and is refused. Clocks, locks and leases are not asked.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random

from taskservice.journal import (
    Fenced,
    JournalCorrupt,
    JournalError,
    JournalFailed,
    Position,
    Segment,
)
from taskservice.journal import manifest as manifests
from taskservice.journal.frames import FrameWriter
from taskservice.journal.sealing import Sealed, seal
from taskservice.journal.segments import PREFIX, key_of, may_be_fence, place_if_any, read_segment
from taskservice.objects import NoSuchObject, ObjectStore, StoreError

log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 4
READ_AHEAD = 16
"""Segments that are fetched at once when the journal is replayed; each may be tens of megabytes."""
RETRY_S_MAX = 5.0
"""Between two attempts to append while the store is away."""
WARN_INTERVAL = 12
"""So many failed attempts between two lines in our own log."""
DELETE_KEYS = 1_000


class BucketJournal:
    """The log in `store`, of which this is now the only writer.

    Raises JournalCorrupt if what is there cannot be read, Fenced if somebody else has opened it meanwhile, and what
    the store raises if it cannot be reached.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        now_ms: Callable[[], int],
        in_flight_max: int = IN_FLIGHT_MAX,
        nonce: str | None = None,
    ) -> None:
        """`nonce`: the owner's name, 16 random bytes in hexadecimal that were never used before."""
        marker = os.urandom(16) if nonce is None else bytes.fromhex(nonce)
        self.in_flight_max = in_flight_max
        self._store = store
        self.ownership = manifests.claim(
            store,
            log=uuid.uuid4().hex,
            nonce=marker.hex(),
            writer=f"{socket.gethostname()} {os.getpid()}",
            at_ms=now_ms(),
        )
        self._start = self.ownership.manifest.start
        """What comes after this place is kept."""
        self._sealed = self._seal_earlier()
        self.ownership.check()  # or a successor may have removed what we took for holes
        chain = self._sealed[-1].chain if self._sealed else self._start.chain
        self._writer = FrameWriter(self.epoch, chain, marker)
        self._turn = threading.Condition()
        self._landed = 0
        """Segments of this epoch that are durable, with all before them."""
        self._out_of_order: dict[int, bool] = {}
        """Segments that are durable, but for one before them."""
        self._refusal: JournalError | None = None
        self._closing = threading.Event()
        self._jitter = Random(marker)
        self._trouble = ""
        """Of the last attempt to append that failed, with all its repetitions."""

    @property
    def epoch(self) -> int:
        """The epoch that this writer holds."""
        return self.ownership.epoch

    @property
    def position(self) -> Position:
        """Just after the last segment that was handed to `append`."""
        return Position(self.epoch, self._writer.number - 1, self._writer.chain)

    @property
    def trouble(self) -> str:
        """Why appends do not get through at the moment; empty while they do."""
        return self._trouble or self._store.trouble

    def sealed_segments(self, epoch: int) -> int | None:
        """How many segments an earlier epoch has; None if that is not known any more."""
        return next((sealed.segments for sealed in self._sealed if sealed.epoch == epoch), None)

    # Reading

    def replay(self, after: Position | None = None) -> Iterator[Segment]:
        """The segments of all earlier epochs, in order; some are fetched ahead. Raises JournalCorrupt, or Fenced."""
        begin = after or self._start
        chain = begin.chain
        places = [
            (sealed.epoch, number)
            for sealed in self._sealed
            for number in range(sealed.first, sealed.segments)
            if (sealed.epoch, number) > (begin.epoch, begin.number)
        ]
        for (epoch, number), data in self._fetch_ahead(places):
            frame, chain = read_segment(data, key_of(epoch, number), chain)
            yield Segment(epoch, number, frame.body)
        if self._sealed and chain and chain != self._sealed[-1].chain:
            raise JournalCorrupt(
                f"{self._store.url}: the segments after {begin.epoch}/{begin.number} do not continue it."
                " Restore the state from a copy."
            )

    def _fetch_ahead(self, places: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], bytes]]:
        ahead: list[Future[bytes]] = []
        with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="replay") as threads:
            try:
                for at, place in enumerate(places):
                    while len(ahead) < READ_AHEAD and at + len(ahead) < len(places):
                        ahead.append(threads.submit(self._fetch, *places[at + len(ahead)]))
                    yield place, ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()

    def _fetch(self, epoch: int, number: int) -> bytes:
        try:
            return self._store.get(key_of(epoch, number))
        except NoSuchObject:
            self.ownership.check()  # a successor may have collected it; then we are fenced
            message = f"{self._store.url}: {key_of(epoch, number)} is missing. Restore the state from a copy."
            raise JournalCorrupt(message) from None

    # Writing

    def append(self, number: int, body: bytes) -> None:
        """The segment and all before it are durable. Returns only then, however long the store is away.

        Raises Fenced; JournalFailed if the journal is closed meanwhile; after either, so does every further call.
        """
        with self._turn:
            self._wait_until(lambda: number <= self._writer.number or number >= self._landed + self.in_flight_max)
            if number != self._writer.number or number >= self._landed + self.in_flight_max:
                message = f"segment {number} does not follow: the next one of this epoch is {self._writer.number}"
                raise ValueError(message)
            head = self._writer.head()
            data = head + self._writer.frame(body)
            self._turn.notify_all()
        key = key_of(self.epoch, number)
        try:
            self._put_patiently(key, data)
        except BaseException as error:
            interrupted = JournalFailed(f"{key}: an append was interrupted; whether the store has it is unknown.")
            with self._turn:
                self._refusal = self._refusal or (error if isinstance(error, JournalError) else interrupted)
                self._turn.notify_all()
            raise
        with self._turn:
            self._out_of_order[number] = True
            while self._out_of_order.pop(self._landed, False):
                self._landed += 1
            self._turn.notify_all()
            self._wait_until(lambda: number < self._landed)

    def _wait_until(self, reached: Callable[[], bool]) -> None:
        """Raises what has ended the journal, if that comes first."""
        self._turn.wait_for(lambda: reached() or self._refusal is not None or self._closing.is_set())
        if self._refusal is not None:
            raise type(self._refusal)(*self._refusal.args)
        if self._closing.is_set():
            raise ValueError("the journal is closed")

    def _put_patiently(self, key: str, data: bytes) -> None:
        """The object is ours and durable. The same bytes go to the same key until it is known what became of them."""
        attempts = 0
        while True:
            try:
                other = self._store.put_if_absent(key, data)
            except StoreError as error:
                attempts += 1
                self._trouble = str(error)
                if attempts % WARN_INTERVAL == 1:
                    log.warning("%s cannot be written, trying on: %s", key, error)
                pause_s = self._jitter.random() * min(RETRY_S_MAX, 0.1 * 2.0 ** min(attempts, 10))
                if self._closing.wait(pause_s):
                    message = f"{key}: the journal was closed while the store was away; whether it has it is unknown."
                    raise JournalFailed(message) from error
                continue
            self._trouble = ""
            if other is not None:
                raise Fenced(f"{self._store.url}: epoch {self.epoch} was ended by a successor. End this process.")
            return

    def check(self) -> None:
        """Raises Fenced if somebody else has opened the journal; costs one request."""
        self.ownership.check()

    def close(self) -> None:
        """Nothing can be appended any more."""
        self._closing.set()
        with self._turn:
            self._turn.notify_all()

    # What checkpoints make superfluous

    def collect(self, upto: Position) -> None:
        """The segments up to this place are gone; it must be that of the older checkpoint of an own manifest."""
        for sealed in self._sealed:
            last = upto.number + 1 if sealed.epoch == upto.epoch else sealed.segments
            if sealed.epoch <= upto.epoch:
                self._delete_range(sealed.epoch, sealed.first, min(last, sealed.segments))
        if upto.epoch == self.epoch:
            first = self._start.number + 1 if self._start.epoch == self.epoch else 0
            self._delete_range(self.epoch, first, upto.number + 1)
        self._sealed = [
            sealed if sealed.epoch > upto.epoch else sealed._replace(first=upto.number + 1, chain_before=upto.chain)
            for sealed in self._sealed
            if sealed.epoch >= upto.epoch
        ]
        self._start = upto

    def sweep(self) -> int:
        """What earlier collectors left, or zombies put back, is gone; gives how many segments that were."""
        start = self._start
        stale: list[str] = []
        for info in self._store.list(PREFIX):
            place = place_if_any(info.key)
            if place is None:
                continue
            if place > (start.epoch, start.number):
                break
            if not may_be_fence(info.size_bytes):
                stale.append(info.key)
        self._delete(stale)
        return len(stale)

    def _delete_range(self, epoch: int, begin: int, end: int) -> None:
        self._delete([key_of(epoch, number) for number in range(begin, end)])

    def _delete(self, keys: list[str]) -> None:
        for begin in range(0, len(keys), DELETE_KEYS):
            self._store.delete(keys[begin : begin + DELETE_KEYS])

    # Opening

    def _seal_earlier(self) -> list[Sealed]:
        """All earlier epochs whose segments may be needed, ended; in order."""
        start = self._start
        found: list[Sealed] = []
        chain = start.chain
        for owner in self.ownership.manifest.owners[:-1]:
            first = start.number + 1 if owner.epoch == start.epoch else 0
            try:
                found.append(seal(self._store, owner.epoch, first, chain, self.epoch))
            except (NoSuchObject, JournalCorrupt) as error:
                self.ownership.check()  # a successor may have collected what is missing; then we are fenced
                if isinstance(error, JournalCorrupt):
                    raise
                raise JournalCorrupt(f"{self._store.url}: {error}. Restore the state from a copy.") from error
            chain = found[-1].chain
        return found
