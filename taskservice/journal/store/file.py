"""The working table's file: made anew, or taken up again where a process before left it.

The file is two: the database, which holds what was folded, and beside it SQLite's log (`-wal`), which holds the commits
since then. Nothing is synced. So a file is good for as long as the machine runs that wrote it, and only whoever knows the
journal can tell whether it may be used, and how many of its last commits the journal does not have.
"""

from __future__ import annotations

import logging
import mmap
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from taskservice.core.table import Mark
from taskservice.journal.store import checkpoints, deliveries, mapping, past_statements, statements
from taskservice.journal.store.wal import Log

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Place = Path | Literal[":memory:"]


class Stored(NamedTuple):
    """What a file says of itself."""

    mark: Mark
    boot: str
    """The boot of the machine in which its last commit was made."""


Keep = Callable[[Stored], int | None]
"""How many of the last commits the journal does not have and are to be taken back; None: the file is of no use."""


class Unusable(Exception):
    """The file cannot be gone on from. Not an error: the journal has it all."""


def boot_id() -> str:
    """Names the time since the machine was started; empty, which is never the same time, where nobody can say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def wal_of(path: Path) -> Path:
    return beside(path, "-wal")


def discard(path: Path) -> None:
    """There is no table at `path`."""
    for each in (path, *(beside(path, suffix) for suffix in ("-journal", "-wal", "-shm"))):
        each.unlink(missing_ok=True)


def created(path: Place) -> sqlite3.Connection:
    """An empty table, in place of any that was there."""
    if isinstance(path, Path):
        discard(path)
    db = _connect(path)
    for statement in (
        "BEGIN",
        *mapping.SCHEMA,
        *past_statements.SCHEMA,
        *checkpoints.SCHEMA,
        *deliveries.SCHEMA,
        "COMMIT",
        statements.FOLD,
    ):
        db.execute(statement).fetchall()
    return db


def taken_up(path: Path, keep: Keep, *, any_boot: bool) -> sqlite3.Connection:
    """The table at `path` as the journal has it: without the commits that `keep` says are too many.

    `keep` is asked again after a cut and must have no more to cut. Raises Unusable, sqlite3.Error or OSError.
    """
    if not path.exists():
        raise Unusable("there is none")
    db = _connect(path)
    try:
        surplus = _surplus(db, keep, any_boot=any_boot)
        if surplus:
            close(db)
            _cut(path, surplus)
            db = _connect(path)
            if _surplus(db, keep, any_boot=any_boot):
                raise Unusable(f"without its last {surplus} commits it is still not as the journal says")
    except BaseException:
        close(db)
        raise
    return db


def stored(db: sqlite3.Connection) -> Stored | None:
    """What the last commit says; None if there was none."""
    row = db.execute(statements.GET_MARK).fetchone()
    return None if row is None else Stored(Mark(*row[:4]), row[4])


def close(db: sqlite3.Connection) -> None:
    """The file is free. Its commits stay as they are: SQLite would fold them all, those too that the journal does not
    have, but leaves that when it is told to hurry."""
    with suppress(sqlite3.ProgrammingError):  # it is closed already
        db.interrupt()
    db.close()


def _connect(path: Place) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for statement in statements.PRAGMAS:
            db.execute(statement).fetchall()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _surplus(db: sqlite3.Connection, keep: Keep, *, any_boot: bool) -> int:
    version = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if version != (mapping.APPLICATION_ID, mapping.SCHEMA_VERSION):
        raise Unusable("it was written by another version")
    found = stored(db)
    if found is None:
        raise Unusable("nothing was ever committed to it")
    if not any_boot and (not found.boot or found.boot != boot_id()):
        raise Unusable("the machine has been started again since")
    surplus = keep(found)
    if surplus is None:
        raise Unusable(f"the journal does not lead from {found.mark}")
    return surplus


def _cut(path: Path, surplus: int) -> None:
    """The last commits are not in the file any more. Raises Unusable if they, or too few of them, are in the log alone."""
    wal = wal_of(path)
    if not wal.exists() or not wal.stat().st_size:
        raise Unusable(f"its last {surplus} commits are too many, and are folded")
    with wal.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        written = Log(content)
        end = written.end_without(surplus)
        if end is None:
            raise Unusable(
                f"its last {surplus} commits are too many, and only {len(written.commit_ends)} are not folded"
            )
        with path.open("rb") as main:
            for page, now in written.pages_from(end).items():
                # Folding goes on from page to page, and may have been broken off: what is cut off must not be there.
                if os.pread(main.fileno(), written.page_bytes, (page - 1) * written.page_bytes) == now:
                    raise Unusable(f"its last {surplus} commits are too many, and folding them has begun")
    os.truncate(wal, end)
