"""A table's file into the store and back: `save` uploads the chunks that are new, `load` puts them together again.

Both work through the file in a few threads, each with one chunk in RAM. Reading, hashing and compressing a chunk holds no
interpreter lock; the rest is bounded by a share of one core's time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import zstandard

from taskservice.journal import JournalFailed, Position
from taskservice.journal.checkpoint import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    VERSION,
    CheckpointDamaged,
    Chunk,
    Index,
    chunks_prefix,
    get_index,
    put_index,
)
from taskservice.journal.crew import Crew
from taskservice.journal.failures import failed
from taskservice.journal.manifest import CheckpointRef
from taskservice.objects import NoSuchObject, ObjectStore

SAVE_THREADS = 4
LOAD_THREADS = 8
CPU_RATIO_MAX = 0.25
LEVEL = 1
"""Of zstd: 2 ms per chunk. Level 3 takes twice as long and saves a fiftieth."""


def save(
    store: ObjectStore,
    path: Path,
    position: Position,
    base: Index | None,
    *,
    log: str,
    stop: threading.Event,
    threads: int = SAVE_THREADS,
    cpu_ratio_max: float = CPU_RATIO_MAX,
    chunk_bytes: int = CHUNK_BYTES,
) -> Index:
    """The file is in the store, with its index, which nothing refers to yet: to publish it is another matter.

    The caller sees to it that the file does not change meanwhile; that it holds the state at `position`, in an epoch
    of its own; that `base`, whose chunks are used again where they are the same, stands until this one is published;
    and that nothing else was ever saved for this position. It takes `cpu_ratio_max` of one core at most.

    Raises Stopped when `stop` is set; JournalFailed if the file changed or another is in the store for this position.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            before = os.fstat(fd)
            work = _Saving(store, fd, before.st_size, position, base, chunk_bytes)
            Crew(threads, cpu_ratio_max, stop).do(range(work.places), work.worker)
            after = os.fstat(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise JournalFailed(f"{path} cannot be read: {error.strerror}.") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise JournalFailed(f"{path}: it was written to while a checkpoint was made of it. Nothing was published.")
    index = Index(
        VERSION, log, position.epoch, position.number, position.chain.hex(), before.st_size, chunk_bytes, work.chunks
    )
    if put_index(store, index) is not None:
        raise _taken(store, index.ref.key)
    return index


def load(
    store: ObjectStore,
    ref: CheckpointRef,
    path: Path,
    *,
    stop: threading.Event,
    threads: int = LOAD_THREADS,
) -> Index:
    """The file is at `path`, byte for byte as it was saved. What SQLite kept beside another file there is gone.

    Raises CheckpointDamaged if it cannot be had, and leaves what is at `path`; JournalFailed if the disk does not take it.
    """
    index = get_index(store, ref)
    draft = path.with_name(path.name + ".part")
    try:
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, index.file_bytes)
            work = _Loading(store, fd, index)
            Crew(threads, float(threads), stop).do(work.places.items(), lambda: work.load)
        finally:
            os.close(fd)
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        draft.replace(path)
    except OSError as error:
        raise failed(error, path) from error
    finally:
        draft.unlink(missing_ok=True)
    return index


def check(
    store: ObjectStore,
    ref: CheckpointRef,
    *,
    stop: threading.Event,
    seen: Callable[[Chunk, bytes], None],
    threads: int = LOAD_THREADS,
) -> Index:
    """Every chunk of the checkpoint is whole, and `seen` was told of each, once, with the object's bytes.

    `seen` may be called by several threads at once. Raises CheckpointDamaged as `load` does. Nothing is kept.
    """
    index = get_index(store, ref)
    work = _Loading(store, None, index, seen)
    Crew(threads, float(threads), stop).do(work.places.items(), lambda: work.load)
    return index


class _Saving:
    """The chunks of a file on their way into the store."""

    def __init__(
        self,
        store: ObjectStore,
        fd: int,
        file_bytes: int,
        position: Position,
        base: Index | None,
        chunk_bytes: int,
    ) -> None:
        self.places = -(-file_bytes // chunk_bytes)
        self._store = store
        self._fd = fd
        self._file_bytes = file_bytes
        self._chunk_bytes = chunk_bytes
        self._prefix = chunks_prefix(position.epoch, position.number)
        self._keys = {chunk.digest: chunk.key for chunk in base.chunks} if base else {}
        """By the digests of what is in the store already, or on its way."""
        self._done: list[Chunk | None] = [None] * self.places

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """All of them; once all threads have returned."""
        chunks = tuple(chunk for chunk in self._done if chunk is not None)
        assert len(chunks) == len(self._done)
        return chunks

    def worker(self) -> Callable[[int], None]:
        """Puts the chunk at a place where it belongs; one for each thread."""
        buffer = memoryview(bytearray(self._chunk_bytes))
        compressor = zstandard.ZstdCompressor(level=LEVEL)
        return lambda place: self._save(place, buffer, compressor)

    def _save(self, place: int, buffer: memoryview, compressor: zstandard.ZstdCompressor) -> None:
        data = self._read(place, buffer)
        digest = digest_of(data)
        key = self._keys.get(digest)
        if key is None:
            key = self._keys[digest] = f"{self._prefix}{place:06d}"
            if self._store.put_if_absent(key, compressor.compress(data)) is not None:
                raise _taken(self._store, key)
        self._done[place] = Chunk(key, digest)

    def _read(self, place: int, buffer: memoryview) -> memoryview:
        offset = place * self._chunk_bytes
        data = buffer[: min(self._chunk_bytes, self._file_bytes - offset)]
        rest = data
        while rest:
            count = os.preadv(self._fd, [rest], offset)
            if count == 0:
                raise JournalFailed("The table's file became shorter while a checkpoint was made of it.")
            rest, offset = rest[count:], offset + count
        return data


class _Loading:
    """The chunks of a file on their way from the store; a chunk that is needed in several places comes once."""

    def __init__(
        self,
        store: ObjectStore,
        fd: int | None,
        index: Index,
        seen: Callable[[Chunk, bytes], None] = lambda _chunk, _object: None,
    ) -> None:
        self._store = store
        self._fd = fd
        """None: they are only looked at."""
        self._index = index
        self._seen = seen
        self.places: dict[str, list[int]] = {}
        """Of each chunk's key."""
        for place, chunk in enumerate(index.chunks):
            self.places.setdefault(chunk.key, []).append(place)

    def load(self, item: tuple[str, list[int]]) -> None:
        """The chunk is in its places."""
        key, places = item
        lengths = {self._index.length_of(place) for place in places}
        digests = {self._index.chunks[place].digest for place in places}
        packed = self._get(key)
        data = self._decompress(key, packed, max(lengths))
        if lengths != {len(data)} or digests != {digest_of(data)}:
            raise CheckpointDamaged(f"{self._name_of(key)} is not what was put there.")
        self._seen(self._index.chunks[places[0]], packed)
        if self._fd is not None:
            for place in places:
                self._write(self._fd, data, place * self._index.chunk_bytes)

    def _get(self, key: str) -> bytes:
        try:
            return self._store.get(key)
        except NoSuchObject:
            raise CheckpointDamaged(f"{self._name_of(key)} is missing.") from None

    def _decompress(self, key: str, packed: bytes, length: int) -> bytes:
        try:
            if zstandard.frame_content_size(packed) != length:
                raise CheckpointDamaged(f"{self._name_of(key)} does not hold {length} bytes.")
            return zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CheckpointDamaged(f"{self._name_of(key)} is garbled or cut short: {error}.") from error

    def _name_of(self, key: str) -> str:
        return f"{self._store.url}: {key}, needed by {self._index.ref.key},"

    def _write(self, fd: int, data: bytes, offset: int) -> None:
        rest = memoryview(data)
        while rest:
            count = os.pwrite(fd, rest, offset)
            rest, offset = rest[count:], offset + count


def digest_of(data: bytes | memoryview) -> str:
    """Of a chunk, as its index has it."""
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def _taken(store: ObjectStore, key: str) -> JournalFailed:
    return JournalFailed(
        f"{store.url}: {key} is there already and holds something else; nobody but this process may write it. Nothing"
        " was published. End this process: the next one has names of its own."
    )
