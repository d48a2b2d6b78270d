"""A log that somebody else may own, to look at: nothing is claimed, sealed, locked or written.

What is seen is the log up to some moment after the call: all that was acknowledged before it, and perhaps more. The
last epoch may still grow; what is read of it ends at its first hole, or where its file is torn. Its owner may publish a
checkpoint meanwhile and remove what that covers. Before anything is removed there is a newer manifest; so what is not
there, or not whole, is damage only if the manifest is still the one that the reader began with, and else `Moved`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from taskservice.journal import BEGINNING, JournalCorrupt, JournalError, Position
from taskservice.journal.checkpoint import CheckpointDamaged
from taskservice.journal.epochs import EpochDir
from taskservice.journal.frames import HEAD_BYTES
from taskservice.journal.local import EPOCH_NAME
from taskservice.journal.manifest import CheckpointRef, Manifest, latest
from taskservice.journal.segments import key_of, may_be_fence, open_segment, place_if_any, read_fence, read_segment
from taskservice.objects import NoSuchObject, ObjectStore
from taskservice.objects.location import open_to_look

T = TypeVar("T")

AHEAD_MAX = 16
AHEAD_BYTES_MAX = 64 << 20
"""Of segments that are fetched before they are wanted; a single one may be larger."""
ATTEMPTS_MAX = 10
"""An owner publishes every few minutes, so this is a log that cannot be read in that time."""


class NoLog(JournalError):
    """There is nothing to read at that place."""


class Moved(JournalError):
    """The log went on and was shortened while it was read. Begin anew with the newest manifest (`begin_anew`)."""


class Kept(NamedTuple):
    """A segment, and where it is."""

    epoch: int
    number: int
    body: bytes
    chain_before: bytes
    chain: bytes
    """After it."""
    marker: bytes
    """Its writer's; see `frames`."""
    where: str
    """The key of its object, or its file."""
    offset: int
    """At which its frame begins there."""

    @property
    def place(self) -> tuple[int, int]:
        return self.epoch, self.number


class Extent(NamedTuple):
    """What there is of an epoch."""

    epoch: int
    first: int
    """Number of the first segment that is read; those before it are covered by a checkpoint."""
    segments: int
    """How many it has, from number 0 on, as far as can be seen now."""
    ended: bool
    """Whether it is sealed, and can have no more."""
    by_epoch: int | None
    """Who has sealed it, if that is written down."""
    kept_bytes: int
    """Of what is kept of it."""
    sizes: tuple[int, ...] = ()
    """Of the objects from `first` on; empty where segments are no objects."""


class Log(Protocol):
    """How segments are kept."""

    def extents(self, manifest: Manifest | None) -> list[Extent]:
        """The epochs that are not wholly covered by the older checkpoint, in order."""

    def read(self, extents: list[Extent], begin: Position) -> Iterator[Kept]:
        """The segments after `begin`, in order, each continuing the one before. Raises JournalCorrupt."""


class Reader:
    """The log as of one manifest. All calls raise what the store raises; those that read, Moved or JournalCorrupt."""

    def __init__(self, store: ObjectStore, log: Log) -> None:
        self.store = store
        self.log = log
        self.manifest: Manifest | None = None
        self.extents: list[Extent] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """What is read from now on is the log as of its newest manifest."""
        for _ in range(ATTEMPTS_MAX):
            self.manifest = latest(self.store)
            try:
                self.extents = self.log.extents(self.manifest)
            except JournalCorrupt:
                if self.is_moved():
                    continue
                raise
            return
        raise Moved(f"{self.store.url}: it changes faster than it can be listed.")

    @property
    def start(self) -> Position:
        """What comes after this place is kept."""
        return self.manifest.start if self.manifest else BEGINNING

    @property
    def end(self) -> tuple[int, int]:
        """The last segment that can be seen; number -1 if its epoch has none, epoch 0 if there was never one."""
        written = [extent for extent in self.extents if extent.segments]
        return (written[-1].epoch, written[-1].segments - 1) if written else self.start[:2]

    def segments(self, after: Position | None = None) -> Iterator[Kept]:
        """The segments after a place, or all that are kept, in order and each proven to follow the one before.

        An empty chain of `after` is not known, and not compared.
        """
        try:
            yield from self.log.read(self.extents, after or self.start)
        except JournalCorrupt as error:
            if self.is_moved():
                raise Moved(f"{self.store.url}: it was shortened while it was read.") from error
            raise

    def follow(self, after: Position, gap: Callable[[tuple[int, int]], None]) -> Iterator[Kept]:
        """As `segments`, but it goes on if the log is shortened meanwhile; `gap` is told where, if some were not read."""
        at = after
        while True:
            try:
                for kept in self.segments(at):
                    yield kept
                    at = Position(*kept.place, kept.chain)
            except Moved:
                self.begin_anew()
                if self.start[:2] > at[:2]:
                    at = self.start
                    gap(at[:2])
            else:
                return

    def is_moved(self) -> bool:
        """Whether there is a newer manifest, so that what was to be read may be gone."""
        newest = latest(self.store)
        return newest is not None and (self.manifest is None or newest.number != self.manifest.number)

    def undisturbed(self, work: Callable[[], T]) -> T:
        """What `work` gives, done again from its beginning as often as the log was shortened meanwhile."""
        for _ in range(ATTEMPTS_MAX):
            try:
                return work()
            except Moved:
                self.begin_anew()
            except CheckpointDamaged:
                if not self.is_moved():
                    raise
                self.begin_anew()
        message = f"{self.store.url}: it was shortened {ATTEMPTS_MAX} times while it was read; read a copy of it."
        raise Moved(message)


def standing(reader: Reader) -> list[CheckpointRef]:
    """The checkpoints that stand, the newest first, each once: a copy may name its only one twice."""
    return list(dict.fromkeys(reader.manifest.checkpoints)) if reader.manifest else []


@contextmanager
def open_reader(state_dir: str) -> Iterator[Reader]:
    """The log in a local directory or in `s3://bucket/prefix`, to look at. Raises NoLog if there is none."""
    store = open_to_look(state_dir)
    try:
        yield reader_of(store, None if state_dir.startswith("s3:") else Path(state_dir).expanduser())
    finally:
        store.close()


def reader_of(store: ObjectStore, directory: Path | None) -> Reader:
    """The log in `store`; `directory`: where its journal's files are, if segments are no objects."""
    if directory is None:
        reader = Reader(store, BucketLog(store))
        if reader.manifest is None:
            raise NoLog(f"{store.url}: there is no state here. Look at the bucket, the prefix and the endpoint.")
        return reader
    reader = Reader(store, LocalLog(directory / "journal"))
    if not reader.extents:
        raise NoLog(f"{directory}: there is no state here: no service has ever been ready on it.")
    return reader


class BucketLog:
    """Segments as objects; see `segments`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def extents(self, manifest: Manifest | None) -> list[Extent]:
        """As the protocol says. Raises JournalCorrupt if a segment before an epoch's fence is missing."""
        if manifest is None:
            return []
        start = manifest.start
        firsts = {owner.epoch: start.number + 1 if owner.epoch == start.epoch else 0 for owner in manifest.owners}
        return [self._extent(epoch, first) for epoch, first in firsts.items()]

    def _extent(self, epoch: int, first: int) -> Extent:
        while True:
            sizes, fence = self._list(epoch, first)
            end = first + len(sizes)
            if fence is None:
                return Extent(epoch, first, end, ended=False, by_epoch=None, kept_bytes=sum(sizes), sizes=sizes)
            if fence == end:
                by_epoch = read_fence(self._get(epoch, fence), key_of(epoch, fence)).by_epoch
                return Extent(epoch, first, end, ended=True, by_epoch=by_epoch, kept_bytes=sum(sizes), sizes=sizes)
            # All before a fence had been there when it was put: so they came while we were listing, or one is lost.
            for number in range(end, fence):
                self._get(epoch, number, 1)

    def _list(self, epoch: int, first: int) -> tuple[tuple[int, ...], int | None]:
        """The sizes of the segments from `first` up to the first hole, and where the fence is, if there is one."""
        sizes: list[int] = []
        prefix, after = f"{key_of(epoch, 0).rpartition('/')[0]}/", key_of(epoch, first - 1) if first else ""
        for info in self._store.list(prefix, after):
            place = place_if_any(info.key)
            if place is None:
                continue
            if may_be_fence(info.size_bytes):
                return tuple(sizes), place.number  # behind it there may be what a zombie put there
            if place.number == first + len(sizes):
                sizes.append(info.size_bytes)
        return tuple(sizes), None

    def _get(self, epoch: int, number: int, end: int | None = None) -> bytes:
        try:
            return self._store.get(key_of(epoch, number), 0, end)
        except NoSuchObject:
            message = f"{self._store.url}: {key_of(epoch, number)} is missing. Restore the state from a copy."
            raise JournalCorrupt(message) from None

    def read(self, extents: list[Extent], begin: Position) -> Iterator[Kept]:
        """As the protocol says; some are fetched ahead."""
        chain = begin.chain
        for (epoch, number), data in self._ahead(extents, begin[:2]):
            key = key_of(epoch, number)
            frame, after = read_segment(data, key, chain)
            head = open_segment(data, key).head
            yield Kept(epoch, number, frame.body, head.chain, after, head.marker, key, HEAD_BYTES)
            chain = after

    def _ahead(self, extents: list[Extent], begin: tuple[int, int]) -> Iterator[tuple[tuple[int, int], bytes]]:
        wanted = (
            ((extent.epoch, extent.first + at), size)
            for extent in extents
            for at, size in enumerate(extent.sizes)
            if (extent.epoch, extent.first + at) > begin
        )
        ahead: deque[tuple[tuple[int, int], int, Future[bytes]]] = deque()
        ahead_bytes = 0
        with ThreadPoolExecutor(AHEAD_MAX, thread_name_prefix="reader") as threads:
            try:
                for place, size in wanted:
                    while ahead and (len(ahead) >= AHEAD_MAX or ahead_bytes + size > AHEAD_BYTES_MAX):
                        done, done_bytes, future = ahead.popleft()
                        ahead_bytes -= done_bytes
                        yield done, future.result()
                    ahead.append((place, size, threads.submit(self._get, *place)))
                    ahead_bytes += size
                while ahead:
                    done, _, future = ahead.popleft()
                    yield done, future.result()
            finally:
                for _, _, future in ahead:
                    future.cancel()


class LocalLog:
    """Segments in files; see `epochs`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def extents(self, manifest: Manifest | None) -> list[Extent]:
        """As the protocol says. Raises JournalCorrupt if a folder or a seal is missing, or an end is seen to be damaged."""
        if not self._directory.is_dir():
            return []
        start = manifest.start if manifest else BEGINNING
        numbers = sorted(int(path.name) for path in self._directory.iterdir() if EPOCH_NAME.fullmatch(path.name))
        if numbers != list(range(1, len(numbers) + 1)):
            missing = min(set(range(1, len(numbers) + 1)) - set(numbers))
            path = EpochDir(self._directory, missing).path
            raise JournalCorrupt(f"{path}: it is missing. Restore the journal from a copy.")
        folders = [EpochDir(self._directory, number) for number in numbers if number >= start.epoch]
        last_written = max((folder.epoch for folder in folders if folder.logs()), default=0)
        extents: list[Extent] = []
        chain = start.chain
        for folder in folders:
            ended = folder.read_seal() is not None
            if folder.epoch < last_written and not ended:
                raise JournalCorrupt(f"{folder.path / 'sealed'}: it is missing. Restore the journal from a copy.")
            seal = folder.end_now(chain)
            chain = seal.chain_bytes
            first = start.number + 1 if folder.epoch == start.epoch else 0
            kept_bytes = sum(map(_size, folder.logs()))
            extents.append(Extent(folder.epoch, first, seal.segments, ended, None, kept_bytes))
        return extents

    def read(self, extents: list[Extent], begin: Position) -> Iterator[Kept]:
        """As the protocol says; one file is in RAM at a time."""
        chain = begin.chain
        for extent in extents:
            if extent.epoch < begin.epoch:
                continue
            first = begin.number + 1 if extent.epoch == begin.epoch else 0
            folder = EpochDir(self._directory, extent.epoch)
            seal = folder.end_now(chain)
            if seal.segments < extent.segments:
                raise JournalCorrupt(
                    f"{folder.path}: {extent.segments} segments were there, and now there are {seal.segments}."
                    " Restore the journal from a copy."
                )
            for kept in folder.read(seal, chain, first):
                frame = kept.frame
                if frame.number >= extent.segments:
                    break  # it has grown since we looked
                where = str(kept.path)
                yield Kept(extent.epoch, frame.number, frame.body, chain, kept.chain, kept.marker, where, kept.offset)
                chain = kept.chain
            else:
                chain = seal.chain_bytes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was collected just now
        return 0
