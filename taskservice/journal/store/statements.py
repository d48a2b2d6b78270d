"""The SQL of the working table. Each statement has one fixed text, so that SQLite prepares it once."""

# ruff: noqa: S608 - texts are put together from constants of this package only
from __future__ import annotations

from taskservice.core.types import TERMINAL_STATES, TaskState
from taskservice.journal.store.mapping import BEYOND_PLACE, COLUMNS

CACHE_BYTES = 192 * 1024 * 1024
"""Memory that SQLite may use for pages of the table; what is beyond it is read from the file again."""

PRAGMAS = (
    # With 4 KB a commit of one task takes 35 us less of 114, and a task in one of a thousand 1 us more of 28.
    "PRAGMA page_size = 8192",
    "PRAGMA auto_vacuum = NONE",
    f"PRAGMA cache_size = -{CACHE_BYTES // 1024}",
    # Nobody who looks into the file can hold up a commit: they see "database is locked" until it is closed. Said before
    # the log is first used, it also spares the file of shared memory (-shm) by which several users would agree.
    "PRAGMA locking_mode = EXCLUSIVE",
    # The database changes only when it is folded into: in between it is a copy of a known place in the journal. Takes
    # 1 to 2 us more of the 26 of a task's life than a rollback journal in memory, the folding included.
    "PRAGMA journal_mode = WAL",
    "PRAGMA wal_autocheckpoint = 0",
    # Good for as long as the machine runs; afterwards the journal has it all.
    "PRAGMA synchronous = OFF",
    "PRAGMA secure_delete = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA automatic_index = OFF",
)

FOLD = "PRAGMA wal_checkpoint(TRUNCATE)"

INSERT_TASK = f"INSERT INTO task VALUES ({', '.join('?' * 30)})"

INSERT_PAYLOAD = "INSERT INTO payload VALUES (?, ?)"

STANDINGS = "SELECT no, leaf, state FROM task WHERE no IN (SELECT value FROM json_each(?))"

HOOKED = "SELECT no FROM task WHERE no IN (SELECT value FROM json_each(?)) AND hooks IS NOT NULL"

# The moves. Whether a task may make them has been checked before.
MAKE_DUE = "UPDATE task SET state = 'queued' WHERE no = ?"

# A lease's are checked by it, so that they are read but once, when they are loaded.
LEASE = """
    UPDATE task SET state = 'running', attempt = attempt + 1, epoch = ?, seq = ?, started_ms = ?, version = ?
    WHERE no = ? AND state = 'queued'
"""

SUCCEED = """
    UPDATE task
    SET state = 'succeeded', epoch = NULL, seq = NULL, result = ?, started_ms = ?, duration_us = ?, ended_ms = ?,
        log = coalesce(nullif(?, ''), log)
    WHERE no = ?
"""

RETRY = """
    UPDATE task
    SET state = 'retrying', epoch = NULL, seq = NULL, started_ms = NULL, expires_ms = NULL,
        leaf = ?, due_ms = ?, error = ?, attempt = ?, crashes = ?, losses = ?, throttles = ?, duration_us = ?,
        log = coalesce(nullif(?, ''), log)
    WHERE no = ?
"""

FAIL = """
    UPDATE task
    SET state = 'failed', epoch = NULL, seq = NULL,
        error = ?, crashes = ?, losses = ?, duration_us = ?, ended_ms = ?, log = coalesce(nullif(?, ''), log)
    WHERE no = ?
"""

HAND_BACK = """
    UPDATE task
    SET state = 'queued', attempt = attempt - 1, epoch = NULL, seq = NULL, started_ms = NULL,
        log = coalesce(nullif(?, ''), log)
    WHERE no = ?
"""

PREEMPT = """
    UPDATE task
    SET state = 'queued', attempt = attempt - 1, preempted = preempted + 1, epoch = NULL, seq = NULL, started_ms = NULL,
        expires_ms = NULL, log = coalesce(nullif(?, ''), log)
    WHERE no = ?
"""

STOP = """
    UPDATE task
    SET state = 'cancelled', epoch = NULL, seq = NULL, ended_ms = ?, log = coalesce(nullif(?, ''), log)
    WHERE no = ?
"""

_TASKS = f"SELECT {COLUMNS} FROM task JOIN payload USING (no)"

LOAD = f"{_TASKS} WHERE no IN (SELECT value FROM json_each(?))"

FIND = "SELECT id, no FROM task_id WHERE tenant = ? AND id IN (SELECT value FROM json_each(?))"

UNSETTLED = "SELECT no, tenant, id FROM task WHERE no >= ?"

# What was on its way to the index when the process ended may be in it already.
SETTLE = "INSERT OR IGNORE INTO task_id VALUES (?, ?, ?)"

# Two, because SQLite would walk through all that are due at the same time to compare pairs of time and number.
NEXT_DUE_THEN = """
    SELECT due_ms, no, expires_ms FROM task INDEXED BY task_queue
    WHERE leaf = ? AND state = 'queued' AND due_ms = ? AND no > ? ORDER BY no LIMIT ?
"""

NEXT_DUE_LATER = """
    SELECT due_ms, no, expires_ms FROM task INDEXED BY task_queue
    WHERE leaf = ? AND state = 'queued' AND due_ms > ? ORDER BY due_ms, no LIMIT ?
"""

# The terms of a partial index are repeated, or SQLite does not see that it may use it. It is named, so that SQLite takes no other
# one, whatever it has heard of the file, and refuses the statement if it cannot use it.
_WAITS = "(state = 'scheduled' OR state = 'retrying')"

DUE_BY = f"""
    SELECT {COLUMNS} FROM task INDEXED BY task_waiting JOIN payload USING (no)
    WHERE {_WAITS} AND due_ms <= ? ORDER BY due_ms, no LIMIT ?
"""

_EXPIRES = """
    INDEXED BY task_expiry
    WHERE expires_ms IS NOT NULL AND (state = 'scheduled' OR state = 'queued' OR state = 'paused')
"""

EXPIRED_BY = f"SELECT no FROM task {_EXPIRES} AND expires_ms <= ? ORDER BY expires_ms, no LIMIT ?"

_RESUMES = "INDEXED BY task_resume WHERE resume_ms IS NOT NULL AND state = 'paused'"

RESUMED_BY = f"SELECT no FROM task {_RESUMES} AND resume_ms <= ? ORDER BY resume_ms, no LIMIT ?"

_PRESSES = "INDEXED BY task_press WHERE press_ms IS NOT NULL AND state = 'queued'"

PRESSED_BY = f"SELECT no, leaf, deadline_ms FROM task {_PRESSES} AND press_ms <= ? ORDER BY press_ms, no LIMIT ?"

PRESS = """
    UPDATE task SET leaf = :leaf, press_ms = NULL WHERE no IN (SELECT value FROM json_each(:nos))
    RETURNING no, due_ms, expires_ms
"""

PUT_OFF = "UPDATE task SET press_ms = ? WHERE no = ?"

# The least of four, each the first of its index; NULL where there is none.
NEXT_TIMED = f"""
    SELECT min(at_ms) FROM (
        SELECT min(due_ms) AS at_ms FROM task INDEXED BY task_waiting WHERE {_WAITS}
        UNION ALL SELECT min(expires_ms) FROM task {_EXPIRES}
        UNION ALL SELECT min(resume_ms) FROM task {_RESUMES}
        UNION ALL SELECT min(press_ms) FROM task {_PRESSES}
    )
"""

# How the listings end: newest first.
_PASSES = f"no < :before_no AND {BEYOND_PLACE} ORDER BY no DESC LIMIT :limit"

LIST_ALL = f"SELECT no FROM task WHERE {_PASSES}"

LIST_PLACE = f"SELECT no FROM task WHERE leaf = :leaf AND state = :state AND state <> 'running' AND {_PASSES}"

LIST_NOS = f"SELECT no FROM task WHERE no IN (SELECT value FROM json_each(:nos)) AND {_PASSES}"

PASSING = f"SELECT no FROM task WHERE no IN (SELECT value FROM json_each(:nos)) AND {BEYOND_PLACE}"

COUNT_NOS = f"SELECT count(*) FROM task WHERE no IN (SELECT value FROM json_each(:nos)) AND {BEYOND_PLACE}"

SIZES = "SELECT leaf, length(payload) FROM task JOIN payload USING (no) WHERE no IN (SELECT value FROM json_each(?))"

SET_LEASE = "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)"

DELETE_LEASE = "DELETE FROM lease WHERE epoch = ? AND seq = ?"

LEASES = "SELECT epoch, seq, runner, nos FROM lease ORDER BY epoch, seq"

RUNNING = """
    SELECT task.no, task.leaf FROM json_each(:nos) AS granted JOIN task ON task.no = granted.value
    WHERE task.state = 'running' AND task.epoch = :epoch AND task.seq = :seq ORDER BY granted.key
"""

SET_NOTE = """
    INSERT INTO note VALUES (:kind, :key, :value) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value
"""

DELETE_NOTE = "DELETE FROM note WHERE kind = :kind AND key = :key"

NOTES = "SELECT key, value FROM note WHERE kind = ? ORDER BY rowid"

INSERT_TENANT = "INSERT INTO tenant VALUES (?, ?)"

INSERT_LEAF = (
    "INSERT INTO leaf (leaf, tenant, function, priority, key, lane, memory_bytes, pin) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

TENANTS = "SELECT tenant, name FROM tenant ORDER BY tenant"

LEAVES = """
    SELECT leaf, tenant.name, function, priority, key, lane, memory_bytes, pin
    FROM leaf JOIN tenant ON tenant.tenant = leaf.tenant
    ORDER BY leaf
"""

# In the order in which `Counts` has them.
_COUNTED = (*TaskState, *(f"past_{state}" for state in TERMINAL_STATES), "queued_bytes")

SET_COUNTS = f"UPDATE leaf SET {', '.join(f'{name} = ?' for name in _COUNTED)} WHERE leaf = ?"

COUNTS = f"SELECT leaf, {', '.join(_COUNTED)} FROM leaf ORDER BY leaf"

SET_MARK = "INSERT OR REPLACE INTO meta VALUES (0, ?, ?, ?, ?, ?, ?)"

GET_MARK = "SELECT log, nonce, epoch, segment, boot FROM meta"

GET_SETTLED = "SELECT settled_no FROM meta"

ADD_REFERENCE = "INSERT OR IGNORE INTO reference VALUES (?)"

DROP_REFERENCE = "DELETE FROM reference WHERE key = ?"

REFERENCES = "SELECT key FROM reference WHERE key IN (SELECT value FROM json_each(?))"
