"""The SQL of the working table. Each statement has one fixed text, so that SQLite prepares it once."""

# ruff: noqa: S608 - texts are put together from constants of this package only
from __future__ import annotations

from taskservice.journal.store.mapping import COLUMNS

PRAGMAS = (
    "PRAGMA page_size = 8192",
    "PRAGMA auto_vacuum = NONE",
    # The file is disposable: nothing is synced, and what is undone is undone from memory. WAL takes 1-2 us more per
    # task's life; OFF 1 us less, but then a refused insert could not be taken back.
    "PRAGMA journal_mode = MEMORY",
    "PRAGMA synchronous = OFF",
    # Nobody who looks into the file can hold up a commit: they see "database is locked" until it is closed.
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA secure_delete = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA automatic_index = OFF",
)

INSERT_TASK = f"INSERT INTO task VALUES ({', '.join('?' * 21)})"

INSERT_PAYLOAD = "INSERT INTO payload VALUES (?, ?)"

STANDINGS = "SELECT no, leaf, state FROM task WHERE no IN (SELECT value FROM json_each(?))"

# The moves. Whether a task may make them has been checked before.
MAKE_DUE = "UPDATE task SET state = 'queued' WHERE no = ?"

LEASE = "UPDATE task SET state = 'running', attempt = attempt + 1, epoch = ?, seq = ?, started_ms = ? WHERE no = ?"

SUCCEED = """
    UPDATE task
    SET state = 'succeeded', epoch = NULL, seq = NULL, result = ?, started_ms = ?, duration_us = ?, ended_ms = ?
    WHERE no = ?
"""

RETRY = """
    UPDATE task
    SET state = 'retrying', epoch = NULL, seq = NULL, started_ms = NULL,
        due_ms = ?, error = ?, attempt = ?, crashes = ?, losses = ?, duration_us = ?
    WHERE no = ?
"""

FAIL = """
    UPDATE task
    SET state = 'failed', epoch = NULL, seq = NULL,
        error = ?, crashes = ?, losses = ?, duration_us = ?, ended_ms = ?
    WHERE no = ?
"""

HAND_BACK = """
    UPDATE task SET state = 'queued', attempt = attempt - 1, epoch = NULL, seq = NULL, started_ms = NULL WHERE no = ?
"""

CANCEL = "UPDATE task SET state = 'cancelled', ended_ms = ? WHERE no = ?"

_TASKS = f"SELECT {COLUMNS} FROM task JOIN payload USING (no)"

LOAD = f"{_TASKS} WHERE no IN (SELECT value FROM json_each(?))"

FIND = f"{_TASKS} WHERE tenant = ? AND id IN (SELECT value FROM json_each(?))"

NEXT_QUEUED = """
    SELECT due_ms, no FROM task
    WHERE leaf = ? AND state = 'queued' AND (due_ms, no) > (?, ?) ORDER BY due_ms, no LIMIT ?
"""

# The terms of a partial index must be repeated word for word, or SQLite does not see that it may use it.
DUE_BY = f"""
    {_TASKS} WHERE state IN ('scheduled', 'retrying') AND due_ms <= ? ORDER BY due_ms, no LIMIT ?
"""

NEXT_DUE = "SELECT due_ms FROM task WHERE state IN ('scheduled', 'retrying') ORDER BY due_ms LIMIT 1"

# How the listings end: what passes the filter beyond leaf and state (NULL: any), newest first.
_PASSES = """
    no < :before_no
    AND (:created_after_ms IS NULL OR created_ms >= :created_after_ms)
    AND (:created_before_ms IS NULL OR created_ms < :created_before_ms)
    AND (:tag IS NULL OR instr(tags, :tag) > 0)
    ORDER BY no DESC LIMIT :limit
"""

LIST_ALL = f"SELECT no FROM task WHERE {_PASSES}"

LIST_PLACE = f"SELECT no FROM task WHERE leaf = :leaf AND state = :state AND state <> 'running' AND {_PASSES}"

LIST_NOS = f"SELECT no FROM task WHERE no IN (SELECT value FROM json_each(:nos)) AND {_PASSES}"

SET_POSITION = "INSERT OR REPLACE INTO meta VALUES (0, ?, ?)"
