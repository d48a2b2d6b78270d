"""Processes that own a log in a store, one after another, and what must be true of the store whatever happened to them."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.crashing_objects import Died
from taskservice.journal import Fenced, JournalError
from taskservice.journal import manifest as manifests
from taskservice.journal.bucket import BucketJournal
from taskservice.journal.checkpoint import CHUNK_PREFIX, INDEX_PREFIX, get_index
from taskservice.journal.checkpointer import Checkpointer
from taskservice.journal.chunks import load
from taskservice.journal.manifest import CheckpointRef, Manifest, Ownership
from taskservice.journal.segments import PREFIX, key_of, may_be_fence, place_of
from taskservice.objects import ObjectInfo, ObjectStore, StoreError, StoreUnavailable
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.disk import RealDisk
from taskservice.objects.memory import MemoryObjects

CHUNK_BYTES = 16
ENDS = (Died, Fenced, StoreUnavailable)
"""How a process may end: it has died, is a zombie, or could not open. None may believe that its log is damaged."""


class Violated(AssertionError):
    """Something was lost, doubled, or removed that is needed."""


class RecordingObjects:
    """A store that knows all manifests that were ever put where none was before, in their order; and can be copied."""

    def __init__(self) -> None:
        self.url = "recording:"
        self.published: list[Manifest] = []
        self._store = self.made()
        self._newest = ""

    def made(self) -> ObjectStore:
        """What the objects are kept in: here, in RAM."""
        return MemoryObjects()

    def copy(self) -> ObjectStore:
        """The same objects, to try something out on."""
        copy = MemoryObjects()
        copy._objects = dict(self._store._objects)
        return copy

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        there = self._store.put_if_absent(key, data)
        if there is None and key.startswith(manifests.PREFIX) and key > self._newest:
            self._newest = key
            self.published.append(manifests.decode(data, key))
        return there

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._store.get(key, start, end)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after)

    def delete(self, keys: Sequence[str]) -> None:
        self._store.delete(keys)

    def close(self) -> None:
        self._store.close()


class UnsyncedDisk(RealDisk):
    """A disk for tests in which processes die and machines do not."""

    def sync(self, fd: int) -> None:
        pass

    def sync_dir(self, path: Path) -> None:
        pass


class RecordingDirectory(RecordingObjects):
    """The same over a directory; each store and each copy has one of its own below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        super().__init__()

    def made(self) -> ObjectStore:
        return DirectoryObjects(Path(tempfile.mkdtemp(dir=self._directory)), disk=UnsyncedDisk())

    def copy(self) -> ObjectStore:
        copy = self.made()
        shutil.copytree(self._store.url, copy.url, dirs_exist_ok=True)
        return copy


@dataclass(frozen=True)
class Code:
    """What is tested; mutants stand in for parts of it."""

    BucketJournal: Any = BucketJournal
    Checkpointer: Any = Checkpointer
    store: Callable[[Path], RecordingObjects] = lambda _: RecordingObjects()
    """Makes a store, in a directory if it needs one."""


CODE = Code()


class Impatient(threading.Event):
    """An event that nobody waits for: retries come at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class Owner:
    """A process that opens the log, recovers, appends what it is told and publishes checkpoints.

    Its table is a file with a line for each segment. `acknowledged` and `published` are what it told others.
    """

    def __init__(self, store: ObjectStore, directory: Path, name: str, code: Code = CODE) -> None:
        self.name = name
        self.submitted: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self.published: list[CheckpointRef] = []
        self.recovered: list[bytes] = []
        self.others: Sequence[Owner] = ()
        """All that have had the log, or will."""
        self._state: list[bytes] = []
        self.store = store
        self._path = directory / f"{name}.table"
        self._code = code
        self._next = 0
        self.journal: Any = None

    def open(self) -> None:
        """It holds the log, and has sealed what was there."""
        self.journal = self._code.BucketJournal(self.store, now_ms=lambda: 1)
        self.journal._closing = Impatient()
        self._open_checkpoints(self.journal.ownership)

    def _open_checkpoints(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self._checkpointer = self._code.Checkpointer(
            self.store,
            self.journal,
            ownership,
            now_ms=lambda: 1,
            stop=Impatient(),
            threads=1,
            load_threads=1,
            cpu_ratio_max=1.0,
            chunk_bytes=CHUNK_BYTES,
        )

    def recover(self) -> None:
        """It knows all that was acknowledged before."""
        ref = self._checkpointer.load(self._path)
        self.recovered = lines_of(self._path) if ref else []
        self.recovered += [segment.body for segment in self.journal.replay(ref.position if ref else None)]
        self._state = list(self.recovered)
        for other in list(self.others):
            if other.epoch < self.epoch and not set(other.acknowledged) <= set(self.recovered):
                raise Violated(f"{self.name} does not know what {other.name} was told: {other.acknowledged}")

    @property
    def epoch(self) -> int:
        """The one it holds or held; 0 if it never had one."""
        return self.journal.epoch if self.journal is not None else 0

    def sweep(self) -> None:
        self._checkpointer.sweep()

    def append(self, count: int = 1, order: Sequence[int] = ()) -> None:
        """So many more segments are durable. Several are under way at once, and get to the store in `order`."""
        bodies = [f"{self.name}.{len(self.submitted) + at}".encode() for at in range(count)]
        self.submitted += bodies
        first, self._next = self._next, self._next + count
        if count == 1:
            self._append(first, bodies[0])
        else:
            self.store.in_order([key_of(self.journal.epoch, first + at) for at in order])
            self._append_at_once(first, bodies)
        self._state += bodies

    def _append_at_once(self, first: int, bodies: list[bytes]) -> None:
        ended: list[BaseException] = []

        def work(number: int, body: bytes) -> None:
            try:
                self._append(number, body)
            except BaseException as error:
                ended.append(error)
                self.journal.close()  # releases those that wait for this one

        threads = [threading.Thread(target=work, args=(first + at, body)) for at, body in enumerate(bodies)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if ended:
            raise ended[0]

    def _append(self, number: int, body: bytes) -> None:
        self.journal.append(number, body)
        self.acknowledged.append(body)

    def publish(self) -> None:
        """A checkpoint of all that is durable stands."""
        self._path.write_bytes(b"".join(line + b"\n" for line in self._state))
        self.published.append(self._checkpointer.publish(self._path, self.journal.position).ref)

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()

    def do(self, steps: Iterable[Callable[[Owner], None]]) -> BaseException | None:
        """All steps are done, in order; gives what ended it if it came to an end before."""
        try:
            for step in steps:
                step(self)
        except ENDS as error:
            self.close()
            return error
        except (JournalError, StoreError) as error:
            self.close()
            raise Violated(f"{self.name} was stopped by {error!r}") from error
        return None


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def check(store: RecordingObjects, owners: Sequence[Owner], directory: Path) -> None:
    """Raises Violated if, of what these owners did one after another, anything is not as it must be.

    The next owner finds all that was acknowledged, once and in order, from either checkpoint; and, once it has swept, the
    store holds what is needed and nothing else. All this happens to a copy: `store` stays as it is.
    """
    found = found_by(Owner(store.copy(), directory, "check"), directory)
    check_told(owners, found)
    epochs = [manifest.epoch for manifest in store.published]
    if epochs != sorted(epochs):
        raise Violated(f"somebody published after a successor's claim: {epochs}")
    stood = {ref.key for manifest in store.published for ref in manifest.checkpoints}
    for owner in owners:
        if not {ref.key for ref in owner.published} <= stood:
            raise Violated(f"{owner.name} believes to have published {owner.published}")


def check_told(owners: Sequence[Owner], found: list[bytes]) -> None:
    """Raises Violated if `found`, what the next owner recovers, is not what these told others, and began with."""
    for owner in owners:
        own = [body for body in found if body.startswith(f"{owner.name}.".encode())]
        if own != owner.submitted[: len(own)] or not set(owner.acknowledged) <= set(own):
            raise Violated(f"{owner.name} was told {owner.acknowledged} of {owner.submitted}; there are {found}")
        if owner.recovered != found[: len(owner.recovered)]:
            raise Violated(f"{owner.name} began with {owner.recovered}; there are {found}")
    if len(set(found)) != len(found):
        raise Violated(f"something is there twice: {found}")


def found_by(owner: Owner, directory: Path) -> list[bytes]:
    """What this next owner recovers, the same from each checkpoint; then it sweeps. Raises Violated if it cannot."""
    try:
        owner.open()
        owner.recover()
        for ref in owner.ownership.manifest.checkpoints[1:]:  # it has recovered from the first
            load(owner.store, ref, directory / "other.table", stop=threading.Event(), threads=1)
            tail = [segment.body for segment in owner.journal.replay(ref.position)]
            if lines_of(directory / "other.table") + tail != owner.recovered:
                raise Violated(f"from {ref.key}, another state is recovered")
        owner.sweep()
    except (JournalError, StoreError) as error:
        raise Violated(f"the next owner cannot start: {type(error).__name__}: {error}") from error
    finally:
        owner.close()
    if owner._checkpointer.damaged:
        raise Violated(f"a checkpoint is damaged: {owner._checkpointer.damaged}")
    check_nothing_else(owner.store, owner.ownership.manifest)
    return owner.recovered


def check_nothing_else(store: ObjectStore, manifest: Manifest) -> None:
    """Raises Violated if the store of a log that was just opened and swept is not exactly what its manifest reaches."""
    chunks = {key for ref in manifest.checkpoints for key in get_index(store, ref).chunk_keys}
    expected = {
        INDEX_PREFIX: {ref.key for ref in manifest.checkpoints},
        CHUNK_PREFIX: chunks,
    }
    for prefix, keys in expected.items():
        there = {info.key for info in store.list(prefix)}
        if there != keys:
            raise Violated(f"not needed: {there - keys}; missing: {keys - there}")
    for info in store.list(manifests.PREFIX):
        if not manifests.decode(store.get(info.key), info.key).claim:
            raise Violated(f"{info.key} is not needed")
    start = manifest.start
    for info in store.list(PREFIX):
        if place_of(info.key) <= (start.epoch, start.number) and not may_be_fence(info.size_bytes):
            raise Violated(f"{info.key} is not needed")
