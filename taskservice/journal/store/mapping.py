"""What a task looks like in SQLite: the schema, and the one place where tasks become rows and rows become tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.types import ErrorInfo, Hooks, Leaf, ListFilter, Task, TaskId, TaskNo, TaskState, Token

APPLICATION_ID = 0x74736B74
"""Says in a file's header that it is one of these."""

SCHEMA_VERSION = 12
"""Of the files written now; others are not read."""

SCHEMA = (
    # A task's moves rewrite its row. The payload, which never changes, is therefore kept apart: that costs 1 us more per
    # task's life at 200 bytes, nothing at 2 KB, and saves 25 us of 75 at 20 KB.
    """
    CREATE TABLE task (
        no INTEGER PRIMARY KEY,
        tenant INTEGER NOT NULL,
        id TEXT NOT NULL,
        leaf INTEGER NOT NULL,
        state TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        due_ms INTEGER NOT NULL,
        max_attempts INTEGER NOT NULL,
        timeout_ms INTEGER NOT NULL,
        run INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        losses INTEGER NOT NULL,
        epoch INTEGER,
        seq INTEGER,
        started_ms INTEGER,
        ended_ms INTEGER,
        duration_us INTEGER,
        tags TEXT NOT NULL,
        error TEXT,
        result BLOB,
        expires_ms INTEGER,
        resume_ms INTEGER,
        deadline_ms INTEGER,
        press_ms INTEGER,
        preempted INTEGER NOT NULL DEFAULT 0,
        throttles INTEGER NOT NULL DEFAULT 0,
        hooks TEXT,
        log TEXT NOT NULL DEFAULT '',
        version INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE TABLE payload (no INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
    # Not an index of `task`: rows come here later than there. See `ids`.
    """
    CREATE TABLE task_id (
        tenant INTEGER NOT NULL, id TEXT NOT NULL, no INTEGER NOT NULL, PRIMARY KEY (tenant, id)
    ) WITHOUT ROWID
    """,
    # Each ends with `no`, and is ordered by it where the rest is equal: SQLite puts the row's own number there. Where several
    # states are meant, they are told one by one: so that SQLite sees that the index has the tasks of any one of them.
    "CREATE INDEX task_queue ON task (leaf, due_ms) WHERE state = 'queued'",
    "CREATE INDEX task_waiting ON task (due_ms) WHERE state = 'scheduled' OR state = 'retrying'",
    # Of the tasks that may expire, or are to be resumed, only: others cost nothing here.
    """
    CREATE INDEX task_expiry ON task (expires_ms)
    WHERE expires_ms IS NOT NULL AND (state = 'scheduled' OR state = 'queued' OR state = 'paused')
    """,
    "CREATE INDEX task_resume ON task (resume_ms) WHERE resume_ms IS NOT NULL AND state = 'paused'",
    "CREATE INDEX task_press ON task (press_ms) WHERE press_ms IS NOT NULL AND state = 'queued'",
    # What runs is listed from RAM: leaving it out spares each task's life two changes of this index.
    "CREATE INDEX task_listing ON task (leaf, state) WHERE state <> 'running'",
    # Numbers for names: about a sixth less time, and a seventh less to store, than with the names in every row.
    "CREATE TABLE tenant (tenant INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    # With what is counted, as of the last commit: who opens the file need not walk through its tasks.
    """
    CREATE TABLE leaf (
        leaf INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, function TEXT NOT NULL, priority TEXT NOT NULL,
        scheduled INTEGER NOT NULL DEFAULT 0,
        queued INTEGER NOT NULL DEFAULT 0,
        running INTEGER NOT NULL DEFAULT 0,
        retrying INTEGER NOT NULL DEFAULT 0,
        succeeded INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        cancelled INTEGER NOT NULL DEFAULT 0,
        queued_bytes INTEGER NOT NULL DEFAULT 0,
        paused INTEGER NOT NULL DEFAULT 0,
        expired INTEGER NOT NULL DEFAULT 0,
        past_succeeded INTEGER NOT NULL DEFAULT 0,
        past_failed INTEGER NOT NULL DEFAULT 0,
        past_cancelled INTEGER NOT NULL DEFAULT 0,
        past_expired INTEGER NOT NULL DEFAULT 0,
        key TEXT NOT NULL DEFAULT '',
        lane TEXT NOT NULL DEFAULT '',
        memory_bytes INTEGER NOT NULL DEFAULT 0,
        pin INTEGER NOT NULL DEFAULT 0
    )
    """,
    # The leases under which tasks run; `nos` is a JSON list of those to which it was granted.
    """
    CREATE TABLE lease (
        epoch INTEGER NOT NULL, seq INTEGER NOT NULL, runner TEXT NOT NULL, nos TEXT NOT NULL,
        PRIMARY KEY (epoch, seq)
    ) WITHOUT ROWID
    """,
    # Payloads and results that are objects of their own.
    "CREATE TABLE reference (key TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE note (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (kind, key))",
    """
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 0), log TEXT NOT NULL, nonce TEXT NOT NULL, epoch INTEGER NOT NULL,
        segment INTEGER NOT NULL, boot TEXT NOT NULL, settled_no INTEGER NOT NULL
    )
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

COLUMNS = """
    no, id, leaf, state, payload, tags, created_ms, due_ms, max_attempts, timeout_ms, run, attempt, crashes, losses,
    epoch, seq, started_ms, ended_ms, duration_us, result, error, expires_ms, resume_ms,
    deadline_ms, press_ms, preempted, throttles, hooks, log, version
"""
"""What `to_task` wants, in its order: of `task`, and `payload`."""

BEYOND_PLACE = """
    (:created_after_ms IS NULL OR created_ms >= :created_after_ms)
    AND (:created_before_ms IS NULL OR created_ms < :created_before_ms)
    AND (:tag IS NULL OR instr(tags, :tag) > 0)
"""
"""What a filter says beyond leaf and state. See `beyond_place`."""

Row = tuple[Any, ...]
"""What SQLite takes and gives: its types are those of the columns."""

STATES = {str(state): state for state in TaskState}

_encode = msgspec.json.Encoder()
_error = msgspec.json.Decoder(ErrorInfo)
_hooks = msgspec.json.Decoder(Hooks)
_pair = msgspec.json.Decoder(tuple[str, str])


def to_row(task: Task, tenant: int, leaf: int) -> Row:
    """The row in `task` of a new task, whose tenant and leaf have these numbers."""
    epoch, seq = task.token or (None, None)
    return (
        task.no,
        tenant,
        task.id,
        leaf,
        task.state,
        task.created_ms,
        task.due_ms,
        task.max_attempts,
        task.timeout_ms,
        task.run,
        task.attempt,
        task.crashes,
        task.losses,
        epoch,
        seq,
        task.started_ms,
        task.ended_ms,
        task.duration_us,
        tags_text(task.tags) if task.tags else "",
        None if task.error is None else error_text(task.error),
        task.result,
        task.expires_ms,
        task.resume_ms,
        task.deadline_ms,
        task.press_ms,
        task.preempted,
        task.throttles,
        None if task.hooks is None else _encode.encode(task.hooks).decode(),
        task.log,
        task.version,
    )


def to_task(row: Row, leaves: list[Leaf]) -> Task:
    """The task of a row of COLUMNS; `leaves` gives the leaf of each number."""
    no, id, leaf, state, payload, tags, created_ms, due_ms, max_attempts, timeout_ms, run, attempt, *rest = row
    crashes, losses, epoch, seq, started_ms, ended_ms, duration_us, result, error, *times = rest
    expires_ms, resume_ms, deadline_ms, press_ms, preempted, throttles, hooks, log, version = times
    tenant, function, priority, key, lane, memory_bytes, pin = leaves[leaf]
    return Task(
        TaskNo(no),
        TaskId(id),
        tenant,
        function,
        priority,
        STATES[state],
        payload,
        tuple(map(_pair.decode, tags.split("\n")[1:-1])) if tags else (),
        created_ms,
        due_ms,
        max_attempts,
        timeout_ms,
        run,
        attempt,
        crashes,
        losses,
        None if epoch is None else Token(epoch, seq),
        started_ms,
        ended_ms,
        duration_us,
        result,
        None if error is None else _error.decode(error),
        expires_ms,
        resume_ms,
        key,
        lane,
        deadline_ms,
        press_ms,
        memory_bytes,
        preempted,
        throttles,
        None if hooks is None else _hooks.decode(hooks),
        log,
        pin,
        version,
    )


def retried(row: RetryRow, leaf: int) -> Row:
    """For `statements.RETRY`: the task stands in the leaf of that number."""
    error = error_text(row.error)
    counts = (row.attempt, row.crashes, row.losses, row.throttles)
    return (leaf, row.due_ms, error, *counts, row.duration_us, row.log, row.no)


def failed(row: DeadRow, at_ms: int) -> Row:
    """For `statements.FAIL`."""
    return (error_text(row.error), row.crashes, row.losses, row.duration_us, at_ms, row.log, row.no)


def tags_text(tags: Iterable[tuple[str, str]]) -> str:
    r"""Tags as JSON pairs, one a line, with a line feed before and after: JSON never holds a bare line feed, so a task
    has a tag exactly if `tags_text([tag])` occurs in its text, whatever characters the tag is made of."""
    return "\n" + "".join(_encode.encode(tag).decode() + "\n" for tag in tags)


def beyond_place(wanted: ListFilter) -> dict[str, object]:
    """What the filter says of BEYOND_PLACE; None: any."""
    return {
        "created_after_ms": wanted.created_after_ms,
        "created_before_ms": wanted.created_before_ms,
        "tag": None if wanted.tag is None else tags_text([wanted.tag]),
    }


def error_text(error: ErrorInfo) -> str:
    return _encode.encode(error).decode()


def json_list(values: Iterable[int] | Iterable[str]) -> str:
    """For `IN (SELECT value FROM json_each(?))`: one statement for lists of any length."""
    return _encode.encode(list(values)).decode()
