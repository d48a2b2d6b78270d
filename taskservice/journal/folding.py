"""The state that a log comes to, from a checkpoint and the segments after it, in a table of one's own: to look at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from taskservice.core.limits import Limits
from taskservice.core.past import Past
from taskservice.core.records import Record
from taskservice.core.restore import restore
from taskservice.core.shard import Shard
from taskservice.core.state import State
from taskservice.core.table import Mark, TaskTable
from taskservice.core.types import ListFilter, Task, TaskNo
from taskservice.journal import JournalCorrupt, JournalError, Position
from taskservice.journal.chunks import load
from taskservice.journal.codec import decode
from taskservice.journal.manifest import CheckpointRef
from taskservice.journal.marks import mark_at
from taskservice.journal.reader import Kept, Reader
from taskservice.journal.recovery import open_loaded
from taskservice.journal.store.sqlite import SqliteTable

PAGE_TASKS = 1_000
"""Compared at once."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is; 0 of 0 if that is not known."""


def quiet(_what: str, _done: int, _of: int) -> None:
    """Nobody wants to know."""


class Folding:
    """A state in a file, which goes from place to place with the log. To be closed."""

    def __init__(self, reader: Reader, ref: CheckpointRef | None, path: Path) -> None:
        """The state at the checkpoint; without one, that before the first segment of all.

        Raises CheckpointDamaged, JournalCorrupt, or what the store raises.
        """
        self._reader = reader
        if ref is None:
            self.table = SqliteTable(path)
            self.position = reader.start
        else:
            load(reader.store, ref, path, stop=threading.Event())
            self.table = open_loaded(path, ref)
            self.position = ref.position
        self.shard = Shard(restore(self.table, Limits()))
        self.segments = 0
        """How many were folded."""

    @property
    def state(self) -> State:
        """What the log says up to `position`; its queues and tallies, too."""
        return self.shard.state

    def go_on(self, upto: tuple[int, int] | None = None, progress: Progress = quiet) -> None:
        """The state is that after segment `upto`, or after the last one that there is.

        Raises JournalCorrupt, which names the segment, if it cannot be folded: it contradicts those before it.
        """
        at: Kept | None = None

        def replayed() -> Iterator[tuple[Mark, Sequence[Record]]]:
            nonlocal at
            for at in self._reader.segments(self.position):
                if upto is not None and at.place > upto:
                    return
                yield mark_at(self._reader.manifest, *at.place), decode_at(at)
                self.position = Position(*at.place, at.chain)
                self.segments += 1
                progress("segments folded", self.segments, 0)

        try:
            self.shard.recover(replayed())
        except JournalError:
            raise
        except Exception as error:
            where = f"{at.where}, at byte {at.offset}" if at else "the table"
            message = f"{where}: it contradicts what is before it: {type(error).__name__}: {error}"
            raise JournalCorrupt(message) from error

    def close(self) -> None:
        """The file is free."""
        self.table.close()


def decode_at(kept: Kept) -> list[Record]:
    """The segment's records. Raises JournalCorrupt, which names the place."""
    try:
        return decode(kept.body)
    except JournalCorrupt as error:
        raise JournalCorrupt(f"{kept.where}, at byte {kept.offset}: {error}") from error


def tasks_of(table: TaskTable) -> Iterator[Task]:
    """All its tasks, the newest first."""
    before: TaskNo | None = None
    while page := table.listing(ListFilter(), before, PAGE_TASKS):
        yield from page
        before = page[-1].no


def _everywhere(table: TaskTable) -> Iterator[Task | Past]:
    """All tasks, and then what is known of those in history."""
    yield from tasks_of(table)
    before: TaskNo | None = None
    while page := table.past.listing(ListFilter(), before, PAGE_TASKS):
        yield from page
        before = page[-1].no


def difference(one: State, other: State, progress: Progress = quiet) -> str:
    """The first thing in which the durable halves of two states are not the same, in words; empty if there is none."""
    for name, mine, yours in zip(_NAMES, _durable(one), _durable(other), strict=True):
        if mine != yours:
            return f"{name}: {_shown(mine)} and {_shown(yours)}"
    pairs = zip_longest(_everywhere(one.table), _everywhere(other.table))
    for count, (mine, yours) in enumerate(pairs, 1):
        if mine != yours:
            named = mine or yours
            return f"task {named.no if named else ''}: {_shown(mine)} and {_shown(yours)}"
        progress("tasks compared", count, one.next_no - 1)
    return ""


_NAMES = ("numbers", "tenants", "keys", "functions", "leases", "counts", "operations", "files of history")


def _durable(state: State) -> tuple[object, ...]:
    return (
        (state.epoch, state.next_no, state.next_lease, state.catalog_version),
        state.tenants,
        state.keys,
        state.functions,
        {token: (lease.runner, lease.leaf, lease.open) for token, lease in state.leases.items()},
        {place: count for place, count in state.table.counts().items() if count},
        {owner: list(group.values()) for owner, group in state.operations.by_owner.items()},
        state.table.past.files(),
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}..."
