"""A shard as its journal says, by the shortest way: from the table that is still on this disk, from a checkpoint, or from
the first segment on.

    table of a process before (if the journal leads from it)  \
    newest checkpoint that is whole, else the one before        >  + the segments after it  =  the state
    nothing, if there was never more than one checkpoint       /
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from taskservice.core.limits import Limits
from taskservice.core.restore import restore
from taskservice.core.shard import Shard
from taskservice.journal import BEGINNING, Journal, JournalCorrupt, Position
from taskservice.journal.codec import decode
from taskservice.journal.manifest import CheckpointRef, Manifest
from taskservice.journal.marks import mark_at, surplus
from taskservice.journal.store.file import Stored
from taskservice.journal.store.sqlite import SqliteTable
from taskservice.journal.upgrade import upgrade


class Recovered(NamedTuple):
    """A shard that has begun its epoch, and how it came to be."""

    shard: Shard
    table: SqliteTable
    source: str
    """What the table was made from."""
    segments: int
    """How many were folded on top of it."""


class Loader(Protocol):
    """Knows the checkpoints: `checkpointer.Checkpointer`."""

    def load(self, path: Path) -> CheckpointRef | None:
        """The newest checkpoint that is whole is at `path`; None if the journal has to be read from its beginning.

        Raises JournalCorrupt if none is whole, and the segments before them are gone.
        """


def recover(
    journal: Journal, manifest: Manifest, checkpoints: Loader, path: Path, limits: Limits, now_ms: int
) -> Recovered:
    """The shard is as the journal says, its table is at `path`, and the writer's epoch has begun.

    `manifest`: the writer's claim. Raises JournalCorrupt if what was acknowledged cannot be read back; Fenced if somebody
    else has opened the journal meanwhile.
    """
    table, position, source = _table(journal, manifest, checkpoints, path)
    shard = Shard(restore(table, limits))
    replayed = ((mark_at(manifest, each.epoch, each.number), decode(each.body)) for each in journal.replay(position))
    segments = shard.recover(replayed)
    journal.check()  # whoever was overtaken while reading may have read holes where a collector was
    shard.open(mark_at(manifest, journal.epoch, -1), now_ms)
    return Recovered(shard, table, source, segments)


def _table(journal: Journal, manifest: Manifest, checkpoints: Loader, path: Path) -> tuple[SqliteTable, Position, str]:
    """The table to go on from, its place in the journal, and where it comes from."""
    table = SqliteTable.open(path, partial(_surplus, journal, manifest))
    if table.mark is not None:
        return table, Position(table.mark.epoch, table.mark.segment), "the table that was there"
    table.close()
    loaded = checkpoints.load(path)
    if loaded is None:
        return SqliteTable(path), BEGINNING, "the journal alone"
    return open_loaded(path, loaded), loaded.position, loaded.key


def open_loaded(path: Path, loaded: CheckpointRef) -> SqliteTable:
    """The table of the checkpoint that was just put at `path`, in the schema of this version.

    Raises JournalCorrupt if that is not the state at the checkpoint's place, or a newer version wrote it.
    """
    upgrade(path)
    table = SqliteTable.open(path, lambda _: 0, any_boot=True)
    if table.mark is None or (table.mark.epoch, table.mark.segment) != (loaded.epoch, loaded.segment):
        mark = table.mark
        table.close()
        raise JournalCorrupt(f"{loaded.key} is whole, and yet no table of the state at that place, but at {mark}.")
    return table


def _surplus(journal: Journal, manifest: Manifest, stored: Stored) -> int | None:
    return surplus(manifest, stored.mark, journal.sealed_segments(stored.mark.epoch))
