"""A shard on a real journal, table and store, in a test's hands: what `world.machine` is in RAM, on a disk or in a bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.journal.bucket import BucketJournal
from taskservice.journal.checkpointer import Checkpointer
from taskservice.journal.manifest import CheckpointRef
from taskservice.journal.opening import StateDir, open_state
from taskservice.journal.reader import Reader, reader_of
from taskservice.journal.recovery import recover
from taskservice.journal.store.file import discard
from taskservice.objects import ObjectStore
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.readonly import ReadOnlyObjects
from world.machine import Machine, bad, ok

Open = Callable[[Callable[[], int]], StateDir]

CHUNK_BYTES = 64 * 1024


def in_directory(path: Path, *, file_bytes_max: int = 2_000) -> Open:
    """State in a local directory; a journal's file is full after a few segments."""
    return lambda now_ms: open_state(str(path), now_ms=now_ms, file_bytes_max=file_bytes_max)


def in_store(store: ObjectStore) -> Open:
    """State as it is in a bucket, in whatever store."""

    def opened(now_ms: Callable[[], int]) -> StateDir:
        journal = BucketJournal(store, now_ms=now_ms)
        return StateDir(store, journal, journal.ownership)

    return opened


class Ledger(Machine):
    """Begins its first epoch at once; `restart` begins the next one on the same state."""

    def __init__(self, opens: Open, folder: Path) -> None:
        self._opens = opens
        self._path = folder / "tasks.sqlite"
        self._opened: StateDir | None = None
        self.source = ""
        """What the last start went on from."""
        super().__init__()
        self.commit()

    def _boot(self) -> None:
        self.die()
        self._opened = self._opens(lambda: self.now_ms)
        self.journal = self._opened.journal
        self.checkpointer = Checkpointer(
            self._opened.store,
            self.journal,
            self._opened.ownership,
            now_ms=lambda: self.now_ms,
            stop=threading.Event(),
            threads=1,
            load_threads=1,
            cpu_ratio_max=1.0,
            chunk_bytes=CHUNK_BYTES,
        )
        manifest = self._opened.ownership.manifest
        recovered = recover(self.journal, manifest, self.checkpointer, self._path, self.limits, self.now_ms)
        self.shard, self.table, self.source = recovered.shard, recovered.table, recovered.source
        self.records = []

    def checkpoint(self) -> CheckpointRef:
        """The state is in a checkpoint, published; what it makes superfluous is gone."""
        self.commit()
        self.table.fold()
        return self.checkpointer.publish(self._path, self.journal.position).ref

    def forget_table(self) -> None:
        """The next start cannot go on from this machine's table. Ends this epoch."""
        self.die()
        discard(self._path)

    def die(self) -> None:
        """The process ends, with what it had not committed."""
        if self._opened is not None:
            self.table.close()
            self._opened.close()
            self._opened = None

    def close(self) -> None:
        self.commit()
        self.die()


def busy(ledger: Ledger, *names: str) -> None:
    """Some tasks more have had their lives: of each name, one succeeds, one fails and will be retried, one is
    cancelled, and one waits unless there is time to run it."""
    for name in names:
        ledger.submit(f"{name}-1", f"{name}-2", payload=b'{"to": "%s"}' % name.encode())
        while leases := ledger.dispatch():
            for lease in leases:
                ledger.report(lease.token, *(_outcome(task) for task in lease.tasks))
        ledger.submit(f"{name}-3", f"{name}-4", payload=b'{"text": "%s"}' % (b"so long " * 100))
        ledger.cancel(f"{name}-3")


def _outcome(task: LeaseTask) -> Outcome:
    return bad(task.no) if task.id.endswith("2") else ok(task.no, result=b'"done"')


def begun(opens: Open, folder: Path) -> Ledger:
    """A service of one function and one runner in its first epoch."""
    ledger = Ledger(opens, folder)
    ledger.register()
    ledger.join()
    return ledger


def went_on(ledger: Ledger) -> None:
    """It died and started again, and its runner is there."""
    ledger.restart()
    ledger.join()
    ledger.settle()


def in_two_epochs(opens: Open, folder: Path) -> Ledger:
    """A log with all that there is: two epochs, two checkpoints, and segments before, between and after them."""
    ledger = begun(opens, folder)
    busy(ledger, "a", "b")
    ledger.checkpoint()
    busy(ledger, "c")
    went_on(ledger)
    busy(ledger, "d")
    ledger.checkpoint()
    busy(ledger, "e")
    return ledger


class Place:
    """Where a test's state is: in a local directory, or as in a bucket but on the disk."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self.path = path / "state"
        self.opens = in_directory(self.path) if kind == "directory" else in_store(DirectoryObjects(self.path))

    def reader(self) -> Reader:
        store = ReadOnlyObjects(DirectoryObjects(self.path, look_only=True))
        return reader_of(store, self.path if self.kind == "directory" else None)

    def files(self) -> dict[str, bytes]:
        """Everything that is there."""
        return {str(each.relative_to(self.path)): each.read_bytes() for each in self.path.rglob("*") if each.is_file()}


@contextmanager
def living(place: Place, folder: Path) -> Iterator[Ledger]:
    """A service with all that there is, which goes on while a test looks."""
    ledger = in_two_epochs(place.opens, folder)
    try:
        yield ledger
    finally:
        ledger.die()
