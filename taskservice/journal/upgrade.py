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


_VALUES_AND_HISTORY = (
    "CREATE TABLE reference (key TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE INDEX task_done ON task (ended_ms) WHERE state IN ('succeeded', 'cancelled')",
    "CREATE INDEX task_dead ON task (ended_ms) WHERE state = 'failed'",
    """
    CREATE TABLE past (
        no INTEGER PRIMARY KEY,
        tenant INTEGER NOT NULL,
        id TEXT NOT NULL,
        leaf INTEGER NOT NULL,
        state TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        tags TEXT NOT NULL,
        digest BLOB NOT NULL,
        file INTEGER NOT NULL,
        row INTEGER NOT NULL
    )
    """,
    "CREATE INDEX past_listing ON past (leaf, state)",
    "CREATE INDEX past_file ON past (file)",
    """
    CREATE TABLE history_file (
        file INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        day INTEGER NOT NULL,
        first_no INTEGER NOT NULL,
        last_no INTEGER NOT NULL,
        tasks INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        last_ended_ms INTEGER NOT NULL,
        finished INTEGER NOT NULL,
        known INTEGER NOT NULL
    )
    """,
    "CREATE INDEX file_unfinished ON history_file (finished) WHERE finished = 0",
    "CREATE INDEX file_known ON history_file (last_ended_ms) WHERE finished = 1 AND known > 0",
    "CREATE INDEX file_unused ON history_file (day) WHERE finished = 1 AND known = 0",
)


def _add_values_and_history(db: sqlite3.Connection) -> None:
    """Both came with version 2; before that, no task referred to a value, and none had left the table."""
    for statement in _VALUES_AND_HISTORY:
        db.execute(statement)


_PAUSES_AND_EXPIRY = (
    "ALTER TABLE task ADD COLUMN expires_ms INTEGER",
    "ALTER TABLE task ADD COLUMN resume_ms INTEGER",
    """
    CREATE INDEX task_expiry ON task (expires_ms)
    WHERE expires_ms IS NOT NULL AND state IN ('scheduled', 'queued', 'paused')
    """,
    "CREATE INDEX task_resume ON task (resume_ms) WHERE resume_ms IS NOT NULL AND state = 'paused'",
    "DROP INDEX task_done",
    "CREATE INDEX task_done ON task (ended_ms) WHERE state IN ('succeeded', 'cancelled', 'expired')",
    *(
        f"ALTER TABLE leaf ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0"
        for name in ("paused", "expired", "past_succeeded", "past_failed", "past_cancelled", "past_expired")
    ),
    "ALTER TABLE leaf ADD COLUMN key TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE leaf ADD COLUMN lane TEXT NOT NULL DEFAULT ''",
    *(
        f"UPDATE leaf SET past_{state} = (SELECT count(*) FROM past WHERE past.leaf = leaf.leaf AND state = '{state}')"  # noqa: S608
        for state in ("succeeded", "failed", "cancelled")
    ),
)


def _add_pauses_and_expiry(db: sqlite3.Connection) -> None:
    """Version 3 knows tasks that are paused or have expired, and counts those in history; and keys and lanes of leaves."""
    for statement in _PAUSES_AND_EXPIRY:
        db.execute(statement)


_STATES_ONE_BY_ONE = (
    "DROP INDEX task_waiting",
    "CREATE INDEX task_waiting ON task (due_ms) WHERE state = 'scheduled' OR state = 'retrying'",
    "DROP INDEX task_expiry",
    """
    CREATE INDEX task_expiry ON task (expires_ms)
    WHERE expires_ms IS NOT NULL AND (state = 'scheduled' OR state = 'queued' OR state = 'paused')
    """,
    "DROP INDEX task_done",
    "CREATE INDEX task_done ON task (ended_ms) WHERE state = 'succeeded' OR state = 'cancelled' OR state = 'expired'",
)


def _tell_states_one_by_one(db: sqlite3.Connection) -> None:
    """Version 4 has the same rows; but its indexes of several states serve those as well who ask for one of them."""
    for statement in _STATES_ONE_BY_ONE:
        db.execute(statement)


_DEADLINES = (
    "ALTER TABLE task ADD COLUMN deadline_ms INTEGER",
    "ALTER TABLE task ADD COLUMN press_ms INTEGER",
    "CREATE INDEX task_press ON task (press_ms) WHERE press_ms IS NOT NULL AND state = 'queued'",
)


def _add_deadlines(db: sqlite3.Connection) -> None:
    """Version 5 has tasks with deadlines, which can wait for off-peak hours."""
    for statement in _DEADLINES:
        db.execute(statement)


def _add_memory(db: sqlite3.Connection) -> None:
    """Version 6 has leaves that ask for more memory than their functions say."""
    db.execute("ALTER TABLE leaf ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0")


def _add_preempted(db: sqlite3.Connection) -> None:
    """Version 7 counts how often a task was stopped for others, and how often its downstream had no room for it."""
    db.execute("ALTER TABLE task ADD COLUMN preempted INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE task ADD COLUMN throttles INTEGER NOT NULL DEFAULT 0")


def _add_checkpoints(db: sqlite3.Connection) -> None:
    """Version 8 has the last checkpoints of tasks."""
    db.execute("CREATE TABLE checkpoint (no INTEGER PRIMARY KEY, checkpoint BLOB NOT NULL)")


_HOOKS = (
    "ALTER TABLE task ADD COLUMN hooks TEXT",
    """
    CREATE TABLE delivery (
        no INTEGER NOT NULL, run INTEGER NOT NULL, endpoint TEXT NOT NULL, next_ms INTEGER, ended_ms INTEGER NOT NULL,
        delivery BLOB NOT NULL, UNIQUE (no, run)
    )
    """,
    "CREATE INDEX delivery_owed ON delivery (endpoint, next_ms) WHERE next_ms IS NOT NULL",
    "CREATE INDEX delivery_old ON delivery (ended_ms)",
)


def _add_hooks(db: sqlite3.Connection) -> None:
    """Version 9 has what follows the end of a task, and whom that is still to be told."""
    for statement in _HOOKS:
        db.execute(statement)


def _add_logs(db: sqlite3.Connection) -> None:
    """Version 10 knows where a task's log is."""
    db.execute("ALTER TABLE task ADD COLUMN log TEXT NOT NULL DEFAULT ''")


def _add_versions(db: sqlite3.Connection) -> None:
    """Version 11 knows the version of the code that a task's last lease was for, and leaves whose tasks stay on one."""
    db.execute("ALTER TABLE task ADD COLUMN version INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE leaf ADD COLUMN pin INTEGER NOT NULL DEFAULT 0")


def _add_runs_of_history(db: sqlite3.Connection) -> None:
    """Version 12 knows the last run of tasks in history, from which they can be run again. What it was before is not known."""
    db.execute("ALTER TABLE past ADD COLUMN run INTEGER NOT NULL DEFAULT 1")


STEPS: Mapping[int, Step] = {
    1: _add_values_and_history,
    2: _add_pauses_and_expiry,
    3: _tell_states_one_by_one,
    4: _add_deadlines,
    5: _add_memory,
    6: _add_preempted,
    7: _add_checkpoints,
    8: _add_hooks,
    9: _add_logs,
    10: _add_versions,
    11: _add_runs_of_history,
}
"""From a version to the next one. They say what the schema was then, and take nothing from `mapping`, which goes on."""


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
