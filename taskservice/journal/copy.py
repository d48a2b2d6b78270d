"""A log at another place: as a backup, on the way from a directory to a bucket and back, or as it was at some earlier place.

What is copied is the log itself, with its name, its owners, its checkpoints and its segments, frame for frame; so the chain
that proves it goes on unbroken, whatever the segments are kept in. Everything that is neither segment nor checkpoint nor
manifest (history, large values) is copied as it is, and last: what a record refers to was there before the record.

The copy is a log only when its manifest is there, and that comes at the very end. Until then there is one that says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import NamedTuple, Protocol, Self

import msgspec

from taskservice.journal import BEGINNING, JournalCorrupt, JournalError, Position
from taskservice.journal import chunks as chunk_files
from taskservice.journal import manifest as manifests
from taskservice.journal.checkpoint import CHUNK_PREFIX, INDEX_PREFIX, CheckpointDamaged, Chunk, put_index
from taskservice.journal.epochs import SEAL_VERSION, Seal
from taskservice.journal.folding import Progress, decode_at, quiet
from taskservice.journal.frames import FrameWriter
from taskservice.journal.local import FILE_BYTES_MAX
from taskservice.journal.manifest import CheckpointRef, Manifest, Owner
from taskservice.journal.reader import ATTEMPTS_MAX, Kept, Moved, NoLog, Reader, standing
from taskservice.journal.segments import FENCE_VERSION, PREFIX, Fence, encode_fence, key_of
from taskservice.objects import NoSuchObject, ObjectStore

JOURNAL_PREFIX = "journal/"
PROBE_PREFIX = "probe/"
OF_THE_LOG = (PREFIX, JOURNAL_PREFIX, manifests.PREFIX, INDEX_PREFIX, CHUNK_PREFIX, PROBE_PREFIX)
"""What is made anew, or is nobody's. All else is copied as it is."""
UNFINISHED = manifests.key_of(0)
"""Stands until the copy is a log, whose first manifest has the number 1."""
DELETE_KEYS = 1_000
THREADS = 16
QUEUE_MAX = 16
"""Objects that are read and not yet written: each may be many megabytes."""


class Copied(NamedTuple):
    """What is there now."""

    epoch: int
    segment: int
    """The last one."""
    checkpoints: list[str]
    left_out: list[str]
    """Checkpoints that are damaged, and why."""
    segments: int
    objects: int
    """That are neither."""


class NotEmpty(JournalError):
    """There is something at the place where the copy was to be."""


class Target(Protocol):
    """Where segments go: one after another, as they follow."""

    def add(self, kept: Kept) -> None:
        """The segment will be there."""

    def end(self, ends: list[Position], last_epoch: int) -> None:
        """All are there, and every epoch has ended at its place. `ends`: of those that have segments."""


def copy(
    reader: Reader,
    target: ObjectStore,
    *,
    local: bool,
    writer: str,
    now_ms: int,
    upto: tuple[int, int] | None = None,
    progress: Progress = quiet,
) -> Copied:
    """The log is in `target`, which was empty, up to segment `upto` or to its end; a service may start on it.

    `local`: as a directory of this machine has it, with the segments in files. A checkpoint that is damaged is left out, if
    there is another way. Begins anew, as often as needed, if the source's owner shortens the log meanwhile. Raises
    NotEmpty; JournalCorrupt if what is to be copied is damaged, or does not reach from a checkpoint to `upto`; Moved; and
    what the stores raise.
    """
    if reader.manifest is None:
        raise NoLog(f"{reader.store.url}: it has no owner yet. Start a service on it once, and stop it.")
    unfinished = _begin(reader, target, writer, now_ms)
    damaged: dict[str, str] = {}
    for _ in range(ATTEMPTS_MAX):
        try:
            return _Copy(reader, target, upto, damaged, progress).run(unfinished, local=local)
        except Moved:
            reader.begin_anew()
        except CheckpointDamaged:
            if reader.is_moved():
                reader.begin_anew()
                damaged.clear()
        _empty(target)
    raise Moved(
        f"{reader.store.url}: it was shortened {ATTEMPTS_MAX} times while it was copied. Stop its service first."
    )


def place_at(reader: Reader, at_ms: int) -> tuple[int, int]:
    """The last segment before the first that speaks of a later time. Raises JournalCorrupt if there is none.

    Times are those of the clocks of the log's owners.
    """
    last: tuple[int, int] | None = None
    for kept in reader.segments():
        if any(record.at_ms > at_ms for record in decode_at(kept)):
            break
        last = kept.place
    if last is None:
        raise JournalCorrupt(f"{reader.store.url}: all that is kept is later than that time, but for a checkpoint.")
    return last


def _begin(reader: Reader, target: ObjectStore, writer: str, now_ms: int) -> Manifest:
    """It is ours to write to, and nobody takes it for a log before it is one."""
    if f"{target.url}/".startswith(f"{reader.store.url.rstrip('/')}/"):
        raise NotEmpty(f"{target.url} is within {reader.store.url}. Name another place.")
    there = next((info.key for info in target.list("") if not info.key.startswith(PROBE_PREFIX)), None)
    if there is not None:
        raise NotEmpty(f"{target.url} is not empty: {there} is there. Name another place, or remove what is there.")
    manifest = Manifest(
        version=manifests.VERSION,
        number=0,
        log="",
        claim=True,
        at_ms=now_ms,
        writer=f"{writer}, copying {reader.store.url}",
        owners=(Owner(0, ""),),
        checkpoints=(),
        unfinished="this is a copy that was not finished. Remove all that is here, and copy again.",
    )
    if target.put_if_absent(UNFINISHED, manifests.encode(manifest)) is not None:
        raise NotEmpty(f"{target.url}: somebody else copies something there at this moment.")
    return manifest


def _empty(target: ObjectStore) -> None:
    """What was copied there is gone, but for what says that it is unfinished."""
    keys = [info.key for info in target.list("") if info.key != UNFINISHED and not info.key.startswith(PROBE_PREFIX)]
    for begin in range(0, len(keys), DELETE_KEYS):
        target.delete(keys[begin : begin + DELETE_KEYS])


class _Copy:
    """One attempt, which fails with Moved or CheckpointDamaged if there is to be another one."""

    def __init__(
        self,
        reader: Reader,
        target: ObjectStore,
        upto: tuple[int, int] | None,
        damaged: dict[str, str],
        progress: Progress,
    ) -> None:
        self._reader = reader
        self._source = reader.store
        self._target = target
        self._upto = upto
        self._damaged = damaged
        self._progress = progress
        self._refs = [
            ref
            for ref in standing(reader)
            if ref.key not in damaged and (upto is None or (ref.epoch, ref.segment) <= upto)
        ]
        """The checkpoints to copy, the newest first."""
        self._start = self._found_start()
        """After this place, segments are copied."""

    def _found_start(self) -> Position:
        start = self._reader.start
        if start.epoch == 0:
            return start
        if self._refs:
            return self._refs[-1].position
        if self._damaged:
            raise JournalCorrupt(f"{' '.join(self._damaged.values())} There is no other way to that place.")
        raise JournalCorrupt(
            f"{self._source.url}: the log begins at {start.epoch}/{start.number}; what was before cannot be restored."
        )

    def run(self, unfinished: Manifest, *, local: bool) -> Copied:
        """All of it is there, and is a log."""
        for ref in self._refs:
            self._copy_checkpoint(ref)
        with _Workers() as workers:
            segments: Target = _Files(self._target) if local else _Objects(self._target, workers)
            count, ends = self._copy_segments(segments)
            workers.wait()
            others = self._copy_others(workers)
        end = ends[-1] if ends else self._start
        if self._upto is not None and end[:2] != self._upto:
            wanted = f"{self._upto[0]}/{self._upto[1]}"
            raise JournalCorrupt(
                f"{self._source.url}: there is no segment {wanted}; it ends at {end.epoch}/{end.number}."
            )
        last_epoch = self._upto[0] if self._upto else max(each.epoch for each in self._reader.extents)
        segments.end(ends, last_epoch)
        self._finish(unfinished, last_epoch)
        keys = [ref.key for ref in self._refs]
        return Copied(end.epoch, end.number, keys, list(self._damaged.values()), count, others)

    def _copy_checkpoint(self, ref: CheckpointRef) -> None:
        done = 0
        lock = threading.Lock()

        def seen(chunk: Chunk, packed: bytes) -> None:
            nonlocal done
            self._target.put_if_absent(chunk.key, packed)
            with lock:
                done += 1
                self._progress("chunks copied", done, 0)

        try:
            index = chunk_files.check(self._source, ref, stop=threading.Event(), seen=seen)
        except CheckpointDamaged as error:
            self._damaged[ref.key] = str(error)
            raise
        put_index(self._target, index)

    def _copy_segments(self, segments: Target) -> tuple[int, list[Position]]:
        """How many there were, and where each epoch that has some ends, from that of the start on."""
        ends = [self._start] if self._start.epoch else []
        count = 0
        for kept in self._reader.segments(self._start):
            if self._upto is not None and kept.place > self._upto:
                break
            segments.add(kept)
            count += 1
            if ends and ends[-1].epoch == kept.epoch:
                ends.pop()
            ends.append(Position(*kept.place, kept.chain))
            self._progress("segments copied", count, 0)
        return count, ends

    def _copy_others(self, workers: _Workers) -> int:
        """What is neither segment nor checkpoint; what goes away meanwhile, nobody needs."""
        count = 0

        def one(key: str) -> None:
            with suppress(NoSuchObject):
                self._target.put_if_absent(key, self._source.get(key))

        for info in self._source.list(""):
            if not info.key.startswith(OF_THE_LOG):
                workers.do(one, info.key)
                count += 1
                self._progress("other objects copied", count, 0)
        workers.wait()
        return count

    def _finish(self, unfinished: Manifest, last_epoch: int) -> None:
        """It is a log. An only checkpoint stands twice, where the segments before it are not there: the log begins with it."""
        source, checkpoints = self._reader.manifest, tuple(self._refs)
        assert source is not None, "or there would be nothing to copy"
        if self._start.epoch:
            checkpoints = (checkpoints[0], checkpoints[-1])
        manifest = msgspec.structs.replace(
            unfinished,
            number=1,
            log=source.log,
            owners=tuple(each for each in source.owners if self._start.epoch <= each.epoch <= last_epoch),
            checkpoints=checkpoints,
            generation=source.generation,
            unfinished="",
        )
        _put(self._target, manifests.key_of(1), manifests.encode(manifest))
        self._target.delete([UNFINISHED])


def _put(target: ObjectStore, key: str, data: bytes) -> None:
    if target.put_if_absent(key, data) is not None:
        raise NotEmpty(f"{target.url}: {key} is there. Somebody else writes to the same place.")


class _Workers:
    """Some threads, with as much work as they can do and little that waits."""

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="copy")
        self._busy: set[Future[None]] = set()
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._busy:
            future.cancel()
        self._threads.shutdown(wait=True)

    def do(self, work: Callable[..., None], *arguments: object) -> None:
        """It will have been done when `wait` returns. Raises what an earlier one raised."""
        if len(self._busy) >= QUEUE_MAX:
            self._settle(wait(self._busy, return_when=FIRST_COMPLETED).done)
        self._busy.add(self._threads.submit(work, *arguments))

    def wait(self) -> None:
        """All is done. Raises what one of them raised."""
        self._settle(wait(self._busy).done)

    def _settle(self, done: Iterable[Future[None]]) -> None:
        for future in done:
            self._busy.discard(future)
            future.result()


def _frame(kept: Kept) -> tuple[bytes, bytes]:
    """The head of a file that begins with it, and its frame, as its writer wrote them."""
    writer = FrameWriter(kept.epoch, kept.chain_before, kept.marker)
    writer.number = kept.number
    head, frame = writer.head(), writer.frame(kept.body)
    assert writer.chain == kept.chain
    return head, frame


class _Objects:
    """Segments as objects; see `segments`."""

    def __init__(self, target: ObjectStore, workers: _Workers) -> None:
        self._target = target
        self._workers = workers

    def add(self, kept: Kept) -> None:
        """It will be there when the workers are done."""
        self._workers.do(_put, self._target, key_of(kept.epoch, kept.number), b"".join(_frame(kept)))

    def end(self, ends: list[Position], last_epoch: int) -> None:
        """Each has its fence, but for those that wrote nothing: whoever opens the log sets them."""
        self._workers.wait()
        for end in ends:
            fence = Fence(FENCE_VERSION, end.epoch, end.number + 1, end.epoch + 1)
            _put(self._target, key_of(end.epoch, end.number + 1), encode_fence(fence))


class _Files:
    """Segments in files, as many to each as fit; see `epochs`."""

    def __init__(self, target: ObjectStore, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._target = target
        self._most = file_bytes_max
        self._epoch = self._first = 0
        self._parts: list[bytes] = []

    def add(self, kept: Kept) -> None:
        """It is in its file, or will be in the next one."""
        head, frame = _frame(kept)
        if self._parts and (kept.epoch != self._epoch or sum(map(len, self._parts)) + len(frame) > self._most):
            self._write()
        if not self._parts:
            self._epoch, self._first = kept.epoch, kept.number
            self._parts = [head]
        self._parts.append(frame)

    def end(self, ends: list[Position], last_epoch: int) -> None:
        """Every epoch has its folder and its seal, from the first one on: of those before the checkpoint only the names
        count. One that wrote nothing has the chain of the one before."""
        self._write()
        by_epoch = {end.epoch: end for end in ends}
        chain = BEGINNING.chain
        for epoch in range(1, last_epoch + 1):
            end = by_epoch.get(epoch)
            segments, chain = (0, chain) if end is None else (end.number + 1, end.chain)
            seal = msgspec.json.encode(Seal(SEAL_VERSION, epoch, segments, chain.hex())) + b"\n"
            _put(self._target, f"{JOURNAL_PREFIX}{epoch:08d}/sealed", seal)

    def _write(self) -> None:
        if self._parts:
            _put(self._target, f"{JOURNAL_PREFIX}{self._epoch:08d}/{self._first:010d}.log", b"".join(self._parts))
            self._parts = []
