"""A table of an older schema, brought to today's: what it must count for itself. All else is in `tests/golden`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from helpers.tables import CANCEL, RERUN, history_file, mark, put, seen
from taskservice.core.types import TERMINAL_STATES, ListFilter, TaskState
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
        for name in (
            "key",
            "lane",
            "memory_bytes",
            "pin",
            "paused",
            "expired",
            *(f"past_{state}" for state in TERMINAL_STATES),
        ):
            db.execute(f"ALTER TABLE leaf DROP COLUMN {name}")
        for name in ("task_expiry", "task_resume", "task_press"):
            db.execute(f"DROP INDEX {name}")
        for name in (
            "expires_ms",
            "resume_ms",
            "deadline_ms",
            "press_ms",
            "preempted",
            "throttles",
            "hooks",
            "log",
            "version",
        ):
            db.execute(f"ALTER TABLE task DROP COLUMN {name}")
        for name in ("checkpoint", "delivery"):
            db.execute(f"DROP TABLE {name}")
        db.execute("ALTER TABLE past DROP COLUMN run")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    assert upgrade(path) == 2
    with closing(SqliteTable.open(path, lambda stored: 0, any_boot=True)) as table:
        assert seen(table) == before


def test_the_indexes_of_version_3_are_made_anew_and_the_rows_stay(tmp_path: Path) -> None:
    """What version 3 had of them: no checkpoint of it was ever released, but whoever ran it has one."""
    path, fresh = tmp_path / "table.sqlite", tmp_path / "fresh.sqlite"
    SqliteTable(fresh).close()
    with closing(SqliteTable(path)) as table:
        for no, state in enumerate(TaskState):
            put(table, state, no, expires_ms=8_000 + no)
        table.commit(mark(1, 1))
        table.fold()
        before = seen(table)
    with closing(sqlite3.connect(path)) as db:
        for name, on in (
            ("task_waiting", "(due_ms) WHERE state IN ('scheduled', 'retrying')"),
            ("task_expiry", "(expires_ms) WHERE expires_ms IS NOT NULL AND state IN ('scheduled', 'queued', 'paused')"),
            ("task_done", "(ended_ms) WHERE state IN ('succeeded', 'cancelled', 'expired')"),
        ):
            db.execute(f"DROP INDEX {name}")
            db.execute(f"CREATE INDEX {name} ON task {on}")
        db.execute("DROP INDEX task_press")
        for name in ("deadline_ms", "press_ms", "preempted", "throttles", "hooks", "log", "version"):
            db.execute(f"ALTER TABLE task DROP COLUMN {name}")
        db.execute("ALTER TABLE leaf DROP COLUMN memory_bytes")
        db.execute("ALTER TABLE leaf DROP COLUMN pin")
        for name in ("checkpoint", "delivery"):
            db.execute(f"DROP TABLE {name}")
        db.execute("ALTER TABLE past DROP COLUMN run")
        db.execute("PRAGMA user_version = 3")
        db.commit()
    assert indexes(path) != indexes(fresh)
    assert upgrade(path) == 3
    assert indexes(path) == indexes(fresh)
    with closing(SqliteTable.open(path, lambda stored: 0, any_boot=True)) as table:
        assert seen(table) == before


def test_runs_of_tasks_that_went_into_history_with_version_11_are_taken_to_be_their_first(tmp_path: Path) -> None:
    path = tmp_path / "table.sqlite"
    with closing(SqliteTable(path)) as table:
        for no in (1, 2):
            put(table, TaskState.FAILED, no)
        table.change(RERUN, [2])
        table.change(CANCEL, [2])
        table.past.archive(history_file(), [(1, 0), (2, 1)], last=True)
        table.commit(mark(1, 1))
        table.fold()
        assert runs(table) == {1: 1, 2: 2}
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE past DROP COLUMN run")
        db.execute("PRAGMA user_version = 11")
        db.commit()
    assert upgrade(path) == 11
    with closing(SqliteTable.open(path, lambda stored: 0, any_boot=True)) as table:
        assert runs(table) == {1: 1, 2: 1}
        put(table, TaskState.FAILED, 3)
        table.change(RERUN, [3])
        table.change(CANCEL, [3])
        table.past.archive(history_file("later"), [(3, 0)], last=True)
        assert runs(table)[3] == 2


def runs(table: SqliteTable) -> dict[int, int]:
    """Of the tasks in history, by number."""
    return {past.no: past.run for past in table.past.listing(ListFilter(), None, 9)}


def indexes(path: Path) -> dict[str, str]:
    """What each is on, without spaces."""
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    return {name: "".join(sql.split()) for name, sql in found}
