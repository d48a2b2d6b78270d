"""A shard as its journal says, by the shortest way: from the table that is still on this disk, from a checkpoint, or from
the first segment on.

    table of a process before (if the journal leads from it)  \
    newest checkpoint that is whole, else the one before        >  + the segments after it  =  the state
    nothing, if there was never more than one checkpoint       /
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from taskservice.core.restore import restore
from taskservice.core.shard import Shard
from taskservice.core.types import Limits
from taskservice.journal import BEGINNING, Journal, JournalCorrupt, Position
from taskservice.journal.checkpoint import CheckpointDamaged, load
from taskservice.journal.codec import decode
from taskservice.journal.manifest import CheckpointRef, Manifest
from taskservice.journal.marks import mark_at, surplus
from taskservice.journal.store.file import Stored, discard
from taskservice.journal.store.sqlite import SqliteTable
from taskservice.objects import ObjectStore

log = logging.getLogger(__name__)


class Recovered(NamedTuple):
    """A shard that has begun its epoch, and how it came to be."""

    shard: Shard
    table: SqliteTable
    source: str
    """What the table was made from."""
    segments: int
    """How many were folded on top of it."""


def recover(
    journal: Journal, manifest: Manifest, store: ObjectStore, path: Path, limits: Limits, now_ms: int
) -> Recovered:
    """The shard is as the journal says, its table is at `path`, and the writer's epoch has begun.

    `manifest`: the writer's claim. Raises JournalCorrupt if what was acknowledged cannot be read back.
    """
    table, position, source = _table(journal, manifest, store, path)
    shard = Shard(restore(table, limits))
    replayed = ((mark_at(manifest, each.epoch, each.number), decode(each.body)) for each in journal.replay(position))
    segments = shard.recover(replayed)
    shard.open(mark_at(manifest, journal.epoch, -1), now_ms)
    return Recovered(shard, table, source, segments)


def _table(journal: Journal, manifest: Manifest, store: ObjectStore, path: Path) -> tuple[SqliteTable, Position, str]:
    """The table to go on from, its place in the journal, and where it comes from."""
    table = SqliteTable.open(path, partial(_surplus, journal, manifest))
    if table.mark is not None:
        return table, Position(table.mark.epoch, table.mark.segment), "the table that was there"
    for reference in manifest.checkpoints:
        table.close()
        table, damage = _from_checkpoint(store, reference, path)
        if not damage:
            return table, reference.position, reference.key
        log.error("%s is passed over: %s", reference.key, damage)
    if manifest.start != BEGINNING:
        table.close()
        raise JournalCorrupt(
            f"{store.url}: neither checkpoint can be read ({_names(manifest.checkpoints)}), and the segments before them"
            " are gone. Restore the state from a copy."
        )
    return table, BEGINNING, "the journal alone"


def _surplus(journal: Journal, manifest: Manifest, stored: Stored) -> int | None:
    return surplus(manifest, stored.mark, journal.sealed_segments(stored.mark.epoch))


def _from_checkpoint(store: ObjectStore, reference: CheckpointRef, path: Path) -> tuple[SqliteTable, str]:
    """The checkpoint's table; or an empty one, and what is wrong with the checkpoint."""
    discard(path)
    try:
        load(store, reference, path)
    except CheckpointDamaged as damage:
        return SqliteTable(path), str(damage)
    table = SqliteTable.open(path, lambda _: 0, any_boot=True)
    mark = table.mark
    if mark is not None and (mark.epoch, mark.segment) == (reference.epoch, reference.segment):
        return table, ""
    table.close()
    return SqliteTable(path), f"its table is of another place in the journal, or none of this version: {mark}"


def _names(references: Iterable[CheckpointRef]) -> str:
    return ", ".join(reference.key for reference in references)
