"""What is promised of the table in SQLite beyond `TaskTable`: its file, its plans, its memory of what runs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers.tables import CANCEL, LEASE, RUNNER, mark, put, refuses, seen, task
from taskservice.core.types import ListFilter, TaskState
from taskservice.journal.store import statements
from taskservice.journal.store.sqlite import SqliteTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.sqlite"


@pytest.fixture
def table(path: Path) -> Iterator[SqliteTable]:
    with closing(SqliteTable(path)) as table:
        yield table


def read(path: Path, statement: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(statement).fetchall()


def test_a_commit_stores_tasks_and_their_place_in_the_journal_together(table: SqliteTable, path: Path) -> None:
    put(table, TaskState.RUNNING, 1)
    table.commit(mark(4, 0))
    put(table, TaskState.QUEUED, 2)
    table.commit(mark(4, 1))
    table.change(CANCEL, [2])
    put(table, TaskState.QUEUED, 3)
    table.close()
    assert read(path, "SELECT epoch, segment FROM meta") == [(4, 1)]
    assert read(path, "SELECT no, state FROM task ORDER BY no") == [(1, "running"), (2, "queued")]


def test_a_file_says_the_names_behind_its_numbers(table: SqliteTable, path: Path) -> None:
    put(table, TaskState.QUEUED, 1)
    put(table, TaskState.QUEUED, 2, tenant="umbrella")
    table.commit(mark(1, 0))
    table.close()
    named = "SELECT no, name, function, priority FROM task JOIN leaf USING (leaf) JOIN tenant ON tenant.tenant = task.tenant"
    assert read(path, named) == [(1, "acme", "mail.send", "normal"), (2, "umbrella", "mail.send", "normal")]


def test_opening_starts_empty_whatever_was_there(table: SqliteTable, path: Path) -> None:
    put(table, TaskState.QUEUED)
    table.commit(mark(1, 0))
    table.close()
    for suffix in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).write_bytes(b"left by somebody else")
    with closing(SqliteTable(path)) as anew:
        assert anew.listing(ListFilter(), None, 10) == []
        assert anew.counts() == {}
        put(anew, TaskState.QUEUED)


def test_a_file_that_is_no_table_is_replaced(path: Path) -> None:
    path.write_bytes(b"not a database" * 1_000)
    with closing(SqliteTable(path)) as table:
        put(table, TaskState.QUEUED)


def test_nobody_else_can_open_the_file_while_it_is_in_use(table: SqliteTable, path: Path) -> None:
    put(table, TaskState.QUEUED)
    table.commit(mark(1, 0))
    with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM task")
    table.commit(mark(1, 1))


def test_what_sqlite_cannot_hold_is_kept_out_whole() -> None:
    with closing(SqliteTable(":memory:")) as table:
        put(table, TaskState.QUEUED)
        before = seen(table)
        with pytest.raises(OverflowError):
            table.insert([task(2), task(3, due_ms=2**70), task(4)])
        assert seen(table) == before
        table.insert([task(2), task(4)])


def test_a_refused_lease_leaves_nothing_in_the_memory_of_what_runs(table: SqliteTable) -> None:
    put(table, TaskState.QUEUED, 1)
    refuses(table, lambda: table.lease([1, 2], LEASE, RUNNER, 4_000), 2)
    refuses(table, lambda: table.hand_back([1], LEASE), 1)


INDEXED = {
    "LOAD": "INTEGER PRIMARY KEY",
    "STANDINGS": "INTEGER PRIMARY KEY",
    "SIZES": "INTEGER PRIMARY KEY",
    "FIND": "PRIMARY KEY (tenant=? AND id=?)",
    "UNSETTLED": "INTEGER PRIMARY KEY (rowid>?)",
    "NEXT_DUE_THEN": "task_queue (leaf=? AND due_ms=? AND rowid>?)",
    "NEXT_DUE_LATER": "task_queue (leaf=? AND due_ms>?)",
    "DUE_BY": "task_waiting (due_ms<?)",
    "EXPIRED_BY": "task_expiry (expires_ms>? AND expires_ms<?)",
    "RESUMED_BY": "task_resume (resume_ms>? AND resume_ms<?)",
    "PRESSED_BY": "task_press (press_ms>? AND press_ms<?)",
    "PRESS": "INTEGER PRIMARY KEY",
    "LIST_ALL": "INTEGER PRIMARY KEY (rowid<?)",
    "LIST_PLACE": "task_listing (leaf=? AND state=? AND rowid<?)",
    "LIST_NOS": "INTEGER PRIMARY KEY",
    "PASSING": "INTEGER PRIMARY KEY",
    "COUNT_NOS": "INTEGER PRIMARY KEY",
    "HOOKED": "INTEGER PRIMARY KEY",
    "RUNNING": "INTEGER PRIMARY KEY (rowid=?)",
    **dict.fromkeys(
        ["MAKE_DUE", "LEASE", "SUCCEED", "RETRY", "FAIL", "HAND_BACK", "PREEMPT", "STOP", "PUT_OFF"],
        "INTEGER PRIMARY KEY (rowid=?)",
    ),
}
"""By what each statement reaches tasks."""

SORTED = {"LIST_NOS", "RUNNING"}
"""Of those, the ones that sort the few tasks that they were given."""

SMALL = {
    "DELETE_LEASE": ["SEARCH lease USING PRIMARY KEY (epoch=? AND seq=?)"],
    "DELETE_NOTE": ["SEARCH note USING INDEX sqlite_autoindex_note_1 (kind=? AND key=?)"],
    "LEASES": ["SCAN lease"],
    "NOTES": ["SEARCH note USING INDEX sqlite_autoindex_note_1 (kind=?)", "USE TEMP B-TREE FOR ORDER BY"],
    "TENANTS": ["SCAN tenant"],
    "LEAVES": ["SCAN leaf", "SEARCH tenant USING INTEGER PRIMARY KEY (rowid=?)"],
    "COUNTS": ["SCAN leaf"],
    "SET_COUNTS": ["SEARCH leaf USING INTEGER PRIMARY KEY (rowid=?)"],
    "DROP_REFERENCE": ["SEARCH reference USING PRIMARY KEY (key=?)"],
    "REFERENCES": [
        "SEARCH reference USING PRIMARY KEY (key=?)",
        "LIST SUBQUERY 1",
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
    ],
    "GET_MARK": ["SCAN meta"],
    "NEXT_TIMED": [
        "CO-ROUTINE (subquery-4)",
        "COMPOUND QUERY",
        "LEFT-MOST SUBQUERY",
        "SEARCH task USING INDEX task_waiting",
        "UNION ALL",
        "SEARCH task USING INDEX task_expiry (expires_ms>?)",
        "UNION ALL",
        "SEARCH task USING INDEX task_resume (resume_ms>?)",
        "UNION ALL",
        "SEARCH task USING INDEX task_press (press_ms>?)",
        "SEARCH (subquery-4)",
    ],
    "GET_SETTLED": ["SCAN meta"],
}
"""The plans of those that reach no tasks: what they walk through is as small as there are leaves, notes, leases."""

INSERTS = {
    "INSERT_TASK",
    "INSERT_PAYLOAD",
    "INSERT_TENANT",
    "INSERT_LEAF",
    "SETTLE",
    "SET_LEASE",
    "SET_NOTE",
    "ADD_REFERENCE",
    "SET_MARK",
}
"""One row to its place: no plan."""


def test_the_plan_of_every_statement_is_known() -> None:
    others = {"PRAGMAS", "COLUMNS", "BEYOND_PLACE", "TERMINAL_STATES", "CACHE_BYTES", "FOLD"}
    assert {name for name in vars(statements) if name.isupper() and name[0] != "_"} - others == {
        *INDEXED,
        *SMALL,
        *INSERTS,
    }


@pytest.mark.parametrize("name", INDEXED)
def test_no_statement_walks_through_the_table(table: SqliteTable, name: str) -> None:
    """SQLite's own plan: tasks are reached by the index meant for it, in the order wanted, without sorting them."""
    plan = explained(table, getattr(statements, name))
    on_tasks = [step for step in plan if " task " in step or " task_id " in step]
    assert len(on_tasks) == 1
    assert INDEXED[name] in on_tasks[0]
    assert on_tasks[0].startswith("SEARCH")
    assert name in SORTED or not any("B-TREE" in step for step in plan)
    payloads = [step for step in plan if " payload " in step]
    assert all("INTEGER PRIMARY KEY (rowid=?)" in step for step in payloads)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_walked_through_is_small(table: SqliteTable, name: str) -> None:
    assert [step.strip() for step in explained(table, getattr(statements, name))] == SMALL[name]


@pytest.mark.parametrize("name", INSERTS)
def test_a_row_goes_to_its_place(table: SqliteTable, name: str) -> None:
    assert explained(table, getattr(statements, name)) == []


def explained(table: SqliteTable, statement: str) -> list[str]:
    named = re.findall(r":(\w+)", statement)
    values = dict.fromkeys(named) if named else [None] * statement.count("?")
    return [row[3] + " " for row in table._db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
