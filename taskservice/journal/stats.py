"""What a log consists of: whose it was and is, how much there is of what, and how much of it nobody needs any more."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from msgspec import Struct

from taskservice.journal import manifest as manifests
from taskservice.journal.checkpoint import CHUNK_PREFIX, INDEX_PREFIX, CheckpointDamaged, Index, get_index, place_of
from taskservice.journal.codec import plain_bytes
from taskservice.journal.dump import kind_of
from taskservice.journal.folding import Folding, Progress, decode_at, quiet
from taskservice.journal.manifest import CheckpointRef, Manifest
from taskservice.journal.reader import Reader, standing
from taskservice.journal.segments import PREFIX, may_be_fence, place_if_any
from taskservice.objects import NoSuchObject, ObjectInfo

CLAIMS_MAX = 1_000
"""The newest manifests that are read, to say whose the epochs were."""
TASKS_FILE_BYTES_MAX = 1 << 30
"""A checkpoint that is larger is not fetched to count tasks unless that is asked for."""


class EpochStats(Struct):
    """One epoch."""

    epoch: int
    owner: str = ""
    claimed_ms: int | None = None
    segments: int | None = None
    """How many it has, or had; None if that is not known any more."""
    kept: int = 0
    """Those that are still read."""
    kept_bytes: int = 0
    ended: bool = True
    by_epoch: int | None = None


class CheckpointStats(Struct):
    """One checkpoint that stands."""

    key: str
    epoch: int
    segment: int
    made_ms: int | None
    """When its index was created, by the clock of the store; None if that is gone."""
    file_bytes: int = 0
    chunks: int = 0
    chunks_shared: int = 0
    """With the other one."""
    chunks_bytes: int = 0
    """As they are kept."""
    damage: str = ""


class Garbage(Struct):
    """What the next sweep removes."""

    segments: int = 0
    chunks: int = 0
    indexes: int = 0
    manifests: int = 0
    bytes: int = 0


class Stats(Struct):
    """A log, as of now."""

    url: str
    log: str
    now_ms: int
    epochs: list[EpochStats]
    checkpoints: list[CheckpointStats]
    garbage: Garbage
    fences: int = 0
    segments: int = 0
    segments_bytes: int = 0
    """Of the bodies, as they are kept."""
    plain_bytes: int = 0
    """Of the same, not compressed."""
    records: dict[str, int] = {}
    """How many of each kind."""
    tasks: dict[str, int] | None = None
    """How many there are in each state at the end; None if they were not counted."""

    @property
    def compression(self) -> float:
        """How many times smaller the bodies are than what they hold."""
        return self.plain_bytes / self.segments_bytes if self.segments_bytes else 1.0


def stats(reader: Reader, now_ms: int, *, tasks: bool | None = None, progress: Progress = quiet) -> Stats:
    """The numbers. `tasks`: whether to count them, for which the newest checkpoint is fetched; None: if it is not large.

    Raises JournalCorrupt if a segment cannot be read, what the store raises, and Moved.
    """
    return reader.undisturbed(lambda: _stats(reader, now_ms, tasks, progress))


def _stats(reader: Reader, now_ms: int, tasks: bool | None, progress: Progress) -> Stats:
    objects = _Objects(reader)
    found = Stats(
        reader.store.url,
        reader.manifest.log if reader.manifest else "",
        now_ms,
        epochs=_epochs(reader, objects),
        checkpoints=[_checkpoint(ref, objects) for ref in objects.refs],
        garbage=objects.garbage(),
        fences=len(objects.fences),
    )
    for kept in reader.segments():
        found.segments += 1
        found.segments_bytes += len(kept.body)
        found.plain_bytes += plain_bytes(kept.body)
        for record in decode_at(kept):
            kind = kind_of(record)
            found.records[kind] = found.records.get(kind, 0) + 1
        progress("segments read", found.segments, 0)
    newest = found.checkpoints[0].file_bytes if found.checkpoints else 0
    if tasks or (tasks is None and newest <= TASKS_FILE_BYTES_MAX):
        found.tasks = _count_tasks(reader, objects, progress)
    return found


class _Objects:
    """All that lies beside the segments, listed once."""

    def __init__(self, reader: Reader) -> None:
        self._store = reader.store
        self._reader = reader
        self.refs: list[CheckpointRef] = standing(reader)
        self.indexes: dict[str, Index] = {}
        """Of the checkpoints that stand and can be read."""
        self.damage: dict[str, str] = {}
        for ref in self.refs:
            try:
                self.indexes[ref.key] = get_index(self._store, ref)
            except CheckpointDamaged as error:
                self.damage[ref.key] = str(error)
        self.manifests = self._manifests()
        self.index_infos = {info.key: info for info in self._store.list(INDEX_PREFIX)}
        self.chunks = {info.key: info for info in self._store.list(CHUNK_PREFIX)}
        self._log = list(self._store.list(PREFIX))
        self.fences: dict[int, int] = {}
        """The place of each epoch's."""
        for info in self._log:
            place = place_if_any(info.key)
            if place is not None and may_be_fence(info.size_bytes):
                self.fences.setdefault(place.epoch, place.number)

    def _manifests(self) -> list[Manifest]:
        """The newest, the oldest of them first."""
        found: list[Manifest] = []
        for info in list(self._store.list(manifests.PREFIX))[-CLAIMS_MAX:]:
            with suppress(NoSuchObject):
                found.append(manifests.decode(self._store.get(info.key), info.key))
        return found

    def garbage(self) -> Garbage:
        """What the next owner's sweep would remove; nothing of what an owner may be about to publish now."""
        if not self._reader.manifest:
            return Garbage()
        epoch, start = self._reader.manifest.epoch, self._reader.start[:2]
        segments = [
            info
            for info in self._log
            if (place := place_if_any(info.key)) and place <= start and not may_be_fence(info.size_bytes)
        ]
        needed = {key for index in self.indexes.values() for key in index.chunk_keys}
        chunks = [] if self.damage else self._of_earlier(self.chunks.values(), needed, epoch)
        indexes = self._of_earlier(self.index_infos.values(), {ref.key for ref in self.refs}, epoch)
        older = [each for each in self.manifests[:-1] if not each.claim]
        gone = [*segments, *chunks, *indexes]
        return Garbage(len(segments), len(chunks), len(indexes), len(older), sum(info.size_bytes for info in gone))

    def _of_earlier(self, infos: Iterable[ObjectInfo], needed: set[str], epoch: int) -> list[ObjectInfo]:
        return [
            info for info in infos if info.key not in needed and (place := place_of(info.key)) and place.epoch < epoch
        ]


def _epochs(reader: Reader, objects: _Objects) -> list[EpochStats]:
    found = {
        each.epoch: EpochStats(each.epoch, each.writer, each.at_ms, objects.fences.get(each.epoch))
        for each in objects.manifests
        if each.claim
    }
    for extent in reader.extents:
        epoch = found.setdefault(extent.epoch, EpochStats(extent.epoch))
        epoch.segments, epoch.kept = extent.segments, max(0, extent.segments - extent.first)
        epoch.kept_bytes, epoch.ended, epoch.by_epoch = extent.kept_bytes, extent.ended, extent.by_epoch
    return [found[number] for number in sorted(found)]


def _checkpoint(ref: CheckpointRef, objects: _Objects) -> CheckpointStats:
    info = objects.index_infos.get(ref.key)
    made_ms = None if info is None else info.modified_ms
    found = CheckpointStats(ref.key, ref.epoch, ref.segment, made_ms, damage=objects.damage.get(ref.key, ""))
    index = objects.indexes.get(ref.key)
    if index is not None:
        others = {key for other in objects.indexes.values() if other is not index for key in other.chunk_keys}
        found.file_bytes, found.chunks = index.file_bytes, len(index.chunk_keys)
        found.chunks_shared = len(index.chunk_keys & others)
        found.chunks_bytes = sum(objects.chunks[key].size_bytes for key in index.chunk_keys if key in objects.chunks)
    return found


def _count_tasks(reader: Reader, objects: _Objects, progress: Progress) -> dict[str, int]:
    newest = next((ref for ref in objects.refs if ref.key in objects.indexes), None)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskservice-stats-")))
        state = stack.enter_context(closing(Folding(reader, newest, folder / "table.sqlite")))
        state.go_on(progress=progress)
        counts: dict[str, int] = {}
        for (_, task_state), count in state.table.counts().items():
            counts[str(task_state)] = counts.get(str(task_state), 0) + count
        return counts
