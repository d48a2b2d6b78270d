"""The schema and the SQL of history, beside those of the working table. Each statement has one fixed text."""

# ruff: noqa: S608 - texts are put together from constants of this package only
from __future__ import annotations

from taskservice.journal.store.mapping import BEYOND_PLACE, COLUMNS
from taskservice.journal.store.ranges import PASSES_PAST

SCHEMA = (
    # The terms of a partial index are repeated in the statements that use it. Ordered by `no` where the time is the same.
    "CREATE INDEX task_done ON task (ended_ms) WHERE state = 'succeeded' OR state = 'cancelled' OR state = 'expired'",
    "CREATE INDEX task_dead ON task (ended_ms) WHERE state = 'failed'",
    # By number, as the tasks come and go: so archiving and forgetting write neighbours. The ids stay where they were, in
    # `task_id`, which knows tasks here and there; `tenant` and `id` say which of its rows to remove.
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
        row INTEGER NOT NULL,
        run INTEGER NOT NULL DEFAULT 1
    )
    """,
    "CREATE INDEX past_listing ON past (leaf, state)",
    "CREATE INDEX past_file ON past (file)",
    # `known`: tasks of it that are in `past`.
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

_ENDED = f"SELECT {COLUMNS} FROM task INDEXED BY {{}} JOIN payload USING (no) WHERE {{}}"

# The terms of each index, which is named so that SQLite takes no other one, whatever it has heard of the file.
_DONE = _ENDED.format("task_done", "(state = 'succeeded' OR state = 'cancelled' OR state = 'expired')")

_DEAD = _ENDED.format("task_dead", "state = 'failed'")

# Two of each, because SQLite would walk through all that ended at the same time to compare pairs of time and number.
# Where the time is given, the plus keeps SQLite from going by the other bound.
_THEN = "AND ended_ms = ? AND no > ? AND +ended_ms < ? ORDER BY no LIMIT ?"

_LATER = "AND ended_ms > ? AND ended_ms < ? ORDER BY ended_ms, no LIMIT ?"

DONE_THEN = f"{_DONE} {_THEN}"

DONE_LATER = f"{_DONE} {_LATER}"

DEAD_THEN = f"{_DEAD} {_THEN}"

DEAD_LATER = f"{_DEAD} {_LATER}"

STANDING = "SELECT no, run, state FROM task WHERE no IN (SELECT value FROM json_each(?))"

LEAVING = """
    SELECT no, tenant, id, leaf, state, created_ms, tags, payload, run FROM task JOIN payload USING (no)
    WHERE no IN (SELECT value FROM json_each(?))
"""

INSERT_PAST = f"INSERT INTO past VALUES ({', '.join('?' * 11)})"

DELETE_TASKS = "DELETE FROM task WHERE no IN (SELECT value FROM json_each(?))"

DELETE_PAYLOADS = "DELETE FROM payload WHERE no IN (SELECT value FROM json_each(?))"

DELETE_PAST = "DELETE FROM past WHERE no IN (SELECT value FROM json_each(?))"

PAST_UNSETTLED = "SELECT no, tenant, id FROM past WHERE no >= ?"

_PAST = """
    SELECT past.no, id, leaf, state, digest, key, size_bytes, row, run
    FROM past JOIN history_file ON history_file.file = past.file
"""

LOAD_PAST = f"{_PAST} WHERE past.no IN (SELECT value FROM json_each(?))"

_PASSES = f"no < :before_no AND no > :after_no AND {BEYOND_PLACE} ORDER BY no DESC LIMIT :limit"

LIST_PAST = f"SELECT no FROM past WHERE {_PASSES}"

LIST_PAST_PLACE = f"SELECT no FROM past WHERE leaf = :leaf AND state = :state AND {_PASSES}"

PAST_IDS = "SELECT no, tenant, id, file, leaf, state FROM past WHERE no IN (SELECT value FROM json_each(?))"

FORGET_BETWEEN = f"""
    DELETE FROM past INDEXED BY past_listing WHERE {PASSES_PAST} RETURNING no, tenant, id, file, leaf, state
"""

DROP_ID = "DELETE FROM task_id WHERE tenant = ? AND id = ?"

PAST_OF_FILE = "SELECT no FROM past WHERE file = ? ORDER BY no LIMIT ?"

ENTRIES = "SELECT count(*) FROM past"

FIND_FILE = "SELECT file, finished FROM history_file WHERE key = ?"

INSERT_FILE = """
    INSERT INTO history_file (key, day, first_no, last_no, tasks, size_bytes, last_ended_ms, finished, known)
    VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)
"""

FILE_TOLD = "UPDATE history_file SET finished = ?, known = known + ? WHERE file = ?"

FILE_FORGOTTEN = "UPDATE history_file SET known = known - ? WHERE file = ?"

_FILE = "SELECT key, day, first_no, last_no, tasks, size_bytes, last_ended_ms FROM history_file"

UNFINISHED = f"{_FILE} WHERE finished = 0 ORDER BY file"

FORGETTABLE = """
    SELECT file FROM history_file WHERE finished = 1 AND known > 0 AND last_ended_ms < ? ORDER BY last_ended_ms, file LIMIT 1
"""

DROPPABLE = f"{_FILE} WHERE finished = 1 AND known = 0 AND day < ? ORDER BY day, file LIMIT ?"

UNUSED = """
    SELECT key FROM history_file
    WHERE finished = 1 AND known = 0 AND key IN (SELECT value FROM json_each(?))
"""

KNOWN_FILES = "SELECT key FROM history_file WHERE key IN (SELECT value FROM json_each(?))"

DROP_FILE = "DELETE FROM history_file WHERE key = ?"

FILES = "SELECT key, known FROM history_file ORDER BY file"
