"""The checkpoints of one owner of the log: each is saved, then published, and only then goes what it makes superfluous.

A crash between any two of these steps leaves garbage and nothing else; `sweep` finds it by listing, at the next opening.
A zombie may still be collecting when its successor is at work. That does no harm: it removes exact keys of its own
epoch or earlier ones that the checkpoints standing at its end did not need; its successor began with these checkpoints, so
it refers to what they refer to, and to what it made itself under its own, later epoch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from taskservice.journal import BEGINNING, JournalCorrupt, Position
from taskservice.journal import manifest as manifests
from taskservice.journal.checkpoint import (
    CHUNK_BYTES,
    CHUNK_PREFIX,
    INDEX_PREFIX,
    CheckpointDamaged,
    Index,
    chunks_prefix,
    get_index,
    index_key,
    place_of,
)
from taskservice.journal.chunks import CPU_RATIO_MAX, LOAD_THREADS, SAVE_THREADS, load, save
from taskservice.journal.manifest import CHECKPOINTS_KEPT, CheckpointRef, Manifest, Ownership
from taskservice.journal.patience import PatientObjects
from taskservice.objects import ObjectStore, StoreRefused

log = logging.getLogger(__name__)

DELETE_KEYS = 1_000
"""In one request."""


class Collected(Protocol):
    """A journal, as far as checkpoints shorten it."""

    def collect(self, upto: Position) -> None:
        """Segments up to this place may be gone."""

    def sweep(self) -> int:
        """What earlier collectors left, or zombies put back, is gone; gives how many segments that were."""


class Published(NamedTuple):
    """What became of one checkpoint."""

    ref: CheckpointRef
    file_bytes: int
    chunks_uploaded: int
    chunks_reused: int
    bytes_uploaded: int
    """As compressed."""
    objects_removed: int
    """Besides segments."""
    refusal: str
    """Why what is superfluous was not removed, as when keys may be put and not deleted; empty if it was."""
    requests: int
    seconds: float


class Swept(NamedTuple):
    """How much garbage was found."""

    segments: int
    checkpoint_objects: int
    """Indexes and chunks."""
    manifests: int


class Checkpointer:
    """Publishes checkpoints of a table's file and removes what they make superfluous. No thread of its own.

    All calls block while the store is away, and raise Stopped once `stop` is set; Fenced if the log is somebody else's; and
    StoreRefused if the store says no: then nothing was published, and the next call does it all again.
    """

    def __init__(
        self,
        store: ObjectStore,
        journal: Collected,
        ownership: Ownership,
        *,
        now_ms: Callable[[], int],
        stop: threading.Event,
        threads: int = SAVE_THREADS,
        load_threads: int = LOAD_THREADS,
        cpu_ratio_max: float = CPU_RATIO_MAX,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.damaged: dict[str, str] = {}
        """Checkpoints that were found to be unreadable, by the key of their index, and why."""
        self.store = PatientObjects(store, stop)
        """What all goes through; knows whether the store is away."""
        self._journal = journal
        self._ownership = ownership
        self._now_ms = now_ms
        self._stop = stop
        self._threads = threads
        self._load_threads = load_threads
        self._cpu_ratio_max = cpu_ratio_max
        self._chunk_bytes = chunk_bytes
        self._lock = threading.Lock()
        self._indexes: dict[str, Index] = {}
        """By their keys: of all checkpoints that stand, or whose objects are still to be removed."""
        self._unfinished: set[tuple[int, int]] = set()
        """Places of own checkpoints whose objects may be there though they were not published."""

    # Reading

    def load(self, path: Path) -> CheckpointRef | None:
        """The newest checkpoint that is whole is at `path`; None if the journal has to be read from its beginning.

        Raises JournalCorrupt if none is whole, and the segments before them are gone.
        """
        with self._lock:
            standing = self._ownership.manifest.checkpoints
            for ref in standing:
                if self._is_loaded(ref, path):
                    return ref
            if len(standing) == CHECKPOINTS_KEPT:
                raise JournalCorrupt(
                    f"Neither checkpoint can be read: {' '.join(self.damaged.values())} Restore the state from a copy."
                )
            return None

    def _is_loaded(self, ref: CheckpointRef, path: Path) -> bool:
        read = partial(load, self.store, ref, path, stop=self._stop, threads=self._load_threads)
        return self._read(ref, read) is not None

    def _index_of(self, ref: CheckpointRef) -> Index | None:
        """The index of a checkpoint that stands; None if it cannot be read."""
        if ref.key in self._indexes:
            return self._indexes[ref.key]
        return None if ref.key in self.damaged else self._read(ref, lambda: get_index(self.store, ref))

    def _read(self, ref: CheckpointRef, read: Callable[[], Index]) -> Index | None:
        """What `read` gives, which is remembered; None, and that is remembered as well, if the checkpoint is damaged."""
        try:
            index = read()
            if index.log != self._ownership.manifest.log:
                raise CheckpointDamaged(f"{self.store.url}: {ref.key} belongs to another log.")
        except CheckpointDamaged as error:
            self._note_damage(ref, error)
            return None
        self._indexes[ref.key] = index
        return index

    def _note_damage(self, ref: CheckpointRef, error: CheckpointDamaged) -> None:
        """The checkpoint will not stand beside the next one. Raises Fenced if a successor may have removed it."""
        self._check()
        log.error("%s The checkpoint before it is used instead.", error)
        self.damaged[ref.key] = str(error)

    # Publishing

    def publish(self, path: Path, position: Position) -> Published:
        """The file at `path`, which holds the state at `position`, is the newest checkpoint; older things are gone.

        It must not change until this returns, and every segment up to `position` must be durable. Raises ValueError if
        the position is not in this owner's epoch, or not after that of the newest checkpoint.
        """
        with self._lock:
            begun_s, requests, bytes_put = time.monotonic(), self.store.requests, self.store.bytes_put
            previous = self._ownership.manifest
            self._check_follows(position)
            self._check()  # before much is uploaded in vain
            index = self._save(path, position)
            self._publish(index)
            removed, refusal = self._collect_if_allowed(previous)
            uploaded = sum(place_of(key) == position[:2] for key in index.chunk_keys)
            return Published(
                ref=index.ref,
                file_bytes=index.file_bytes,
                chunks_uploaded=uploaded,
                chunks_reused=len(index.chunks) - uploaded,
                bytes_uploaded=self.store.bytes_put - bytes_put,
                objects_removed=removed,
                refusal=refusal,
                requests=self.store.requests - requests,
                seconds=time.monotonic() - begun_s,
            )

    def _check_follows(self, position: Position) -> None:
        """Names hold the position, so it must be this owner's to give, and may not have been given already."""
        epoch = self._ownership.epoch
        if position.epoch != epoch or position.number < 0:
            raise ValueError(f"a checkpoint of epoch {epoch} must be after a segment of it, not at {position[:2]}")
        if len(position.chain) != len(BEGINNING.chain):
            raise ValueError(
                "a checkpoint needs the journal's chain at its position, for what comes after is compared with it"
            )
        newest = self._ownership.manifest.checkpoints[:1]
        if newest and (newest[0].epoch, newest[0].segment) >= position[:2]:
            raise ValueError(f"the newest checkpoint is {newest[0].key}; there is nothing new at {position[:2]}")

    def _save(self, path: Path, position: Position) -> Index:
        indexes = [self._index_of(ref) for ref in self._ownership.manifest.checkpoints if ref.key not in self.damaged]
        self._unfinished.add((position.epoch, position.number))
        index = save(
            self.store,
            path,
            position,
            next((index for index in indexes if index is not None), None),
            log=self._ownership.manifest.log,
            stop=self._stop,
            threads=self._threads,
            cpu_ratio_max=self._cpu_ratio_max,
            chunk_bytes=self._chunk_bytes,
        )
        self._indexes[index.ref.key] = index
        return index

    def _publish(self, index: Index) -> None:
        at_ms = self._now_ms()
        self.store.patiently(
            "the next manifest", lambda: self._ownership.publish(index.ref, at_ms, damaged=self.damaged.keys())
        )
        self._unfinished.discard((index.epoch, index.segment))

    def _check(self) -> None:
        self.store.patiently("the newest manifest", self._ownership.check)

    # Removing

    def _collect_if_allowed(self, previous: Manifest) -> tuple[int, str]:
        """What `_collect` gives; or why it could not, which does not make the checkpoint any less published."""
        try:
            return self._collect(previous), ""
        except StoreRefused as error:
            log.warning("%s: what checkpoints make superfluous cannot be removed: %s", self.store.url, error)
            return 0, str(error)

    def _collect(self, previous: Manifest) -> int:
        """What stood beside `previous` and is not needed now is gone; gives how many objects, besides segments."""
        manifest = self._ownership.manifest
        self._collect_segments()
        standing = {ref.key for ref in manifest.checkpoints}
        stale = {ref.key for ref in previous.checkpoints} | self._indexes.keys() - standing
        chunks = {key for index in self._indexes.values() for key in index.chunk_keys}
        for epoch, segment in self._unfinished:
            stale.add(index_key(epoch, segment))
            chunks.update(info.key for info in self.store.list(chunks_prefix(epoch, segment)))
        needed = self._needed(manifest)
        if needed is not None:
            stale |= chunks - needed
        older = range(previous.number + previous.claim, manifest.number)
        doomed = [*sorted(stale - standing), *map(manifests.key_of, older)]
        self._delete(doomed)
        self._indexes = {key: index for key, index in self._indexes.items() if key in standing}
        self._unfinished.clear()
        return len(doomed)

    def _collect_segments(self) -> None:
        manifest = self._ownership.manifest
        if len(manifest.checkpoints) == CHECKPOINTS_KEPT:
            self.store.patiently("what is to be removed", lambda: self._journal.collect(manifest.start))

    def _needed(self, manifest: Manifest) -> set[str] | None:
        """The chunks of the checkpoints that stand; None if that is not known, for an index cannot be read."""
        needed: set[str] = set()
        for ref in manifest.checkpoints:
            index = self._index_of(ref)
            if index is None:
                return None
            needed |= index.chunk_keys
        return needed

    def sweep(self) -> Swept:
        """What former owners left behind is gone: what they did not publish, or had no time to remove.

        Exact keys of earlier epochs only, none that a standing checkpoint refers to; neither fences nor claims. If the
        index of one cannot be read, all chunks stay until it does not stand any more.
        """
        with self._lock:
            self._check()
            manifest = self._ownership.manifest
            self._collect_segments()
            segments = self.store.patiently("the journal's segments", self._journal.sweep)
            indexes = self._stale(INDEX_PREFIX, {ref.key for ref in manifest.checkpoints})
            needed = self._needed(manifest)
            chunks = self._stale(CHUNK_PREFIX, needed) if needed is not None else []
            older = self.store.patiently(
                manifests.PREFIX, lambda: manifests.superseded(self.store, self._ownership.manifest.number)
            )
            self._delete([*indexes, *chunks, *older])
            return Swept(segments, len(indexes) + len(chunks), len(older))

    def _stale(self, prefix: str, needed: set[str]) -> list[str]:
        """The keys below a prefix that an earlier epoch made and nothing needs."""
        found: list[str] = []
        for info in self.store.list(prefix):
            place = place_of(info.key)
            if place is not None and place.epoch < self._ownership.epoch and info.key not in needed:
                found.append(info.key)
        return found

    def _delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        for begin in range(0, len(doomed), DELETE_KEYS):
            self.store.delete(doomed[begin : begin + DELETE_KEYS])
