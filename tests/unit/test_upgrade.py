"""A table of an older schema, brought to today's: what it must count for itself. All else is in `tests/golden`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from helpers.tables import history_file, mark, put, seen
from taskservice.core.types import TERMINAL_STATES, TaskState
from taskservice.journal.store.sqlite import SqliteTable
from taskservice.journal.upgrade import upgrade


def test_tasks_in_history_are_counted_when_they_come_from_version_2(tmp_path: Path) -> None:
    path = tmp_path / "table.sqlite"
    with closing(SqliteTable(path)) as table:
        for no, state in enumerate([TaskState.SUCCEEDED, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED]):
            put(table, state, no)
            put(table, state, no + 10, function="mail.read")
        put(table, TaskState.QUEUED, 20)
        table.past.archive(history_file(), [(no, no) for no in (0, 1, 2, 3, 10, 12)], last=True)
        table.commit(mark(1, 1))
        table.fold()
        before = seen(table)
        assert sum(table.past.counts().values()) == 6
    with closing(sqlite3.connect(path)) as db:
        for name in ("key", "lane", "paused", "expired", *(f"past_{state}" for state in TERMINAL_STATES)):
            db.execute(f"ALTER TABLE leaf DROP COLUMN {name}")
        for name in ("task_expiry", "task_resume", "task_press"):
            db.execute(f"DROP INDEX {name}")
        for name in ("expires_ms", "resume_ms", "deadline_ms", "press_ms"):
            db.execute(f"ALTER TABLE task DROP COLUMN {name}")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    assert upgrade(path) == 2
    with closing(SqliteTable.open(path, lambda stored: 0, any_boot=True)) as table:
        assert seen(table) == before
