"""The file of a checkpoint that an older version made, brought to the schema of this one.

A working table of another version is thrown away, since the journal has it all. A checkpoint cannot be: the segments before
it may be gone. So whoever raises `mapping.SCHEMA_VERSION` adds the step from the version before to STEPS; no step is ever
removed. `tests/golden/` has a checkpoint of each version that was released, which must still be read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from taskservice.journal import JournalCorrupt
from taskservice.journal.store.mapping import APPLICATION_ID, SCHEMA_VERSION

Step = Callable[[sqlite3.Connection], None]
"""Changes the tables, inside a transaction; says nothing of versions."""

STEPS: Mapping[int, Step] = {}
"""From a version to the next one."""


def upgrade(path: Path, *, steps: Mapping[int, Step] = STEPS, version: int = SCHEMA_VERSION) -> int:
    """The table at `path` has the schema of `version`; gives that which it had.

    Each step is there whole or not at all. Raises JournalCorrupt if a newer version wrote it, or it is no table.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            application, found = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            if application != APPLICATION_ID:
                raise JournalCorrupt(f"{path}: this is no table of tasks.")
            if found > version:
                raise JournalCorrupt(
                    f"{path}: it has schema {found}, and this version reads up to {version}: a newer version of taskservice"
                    " wrote it. Start that version, or a later one."
                )
            for each in range(found, version):
                if each not in steps:
                    raise JournalCorrupt(f"{path}: it has schema {found}, from which this version has no way on.")
                db.execute("BEGIN")
                steps[each](db)
                db.execute(f"PRAGMA user_version = {each + 1}")
                db.execute("COMMIT")
    except sqlite3.Error as error:
        raise JournalCorrupt(f"{path}: it cannot be read: {error}.") from error
    return int(found)
