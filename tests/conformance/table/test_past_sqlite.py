"""What is promised of history in SQLite beyond `PastTasks`: its plans, and what a file has of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers.tables import history_file, mark, put, seen, task
from taskservice.core.table import IllegalMove
from taskservice.core.types import TaskState
from taskservice.journal.store import past_statements as statements
from taskservice.journal.store.sqlite import SqliteTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.sqlite"


@pytest.fixture
def table(path: Path) -> Iterator[SqliteTable]:
    with closing(SqliteTable(path)) as table:
        yield table


_BY_NO = "SEARCH {} USING INTEGER PRIMARY KEY (rowid=?)"

PLANS = {
    "DONE_THEN": ["SEARCH task USING INDEX task_done (ended_ms=? AND rowid>?)", _BY_NO.format("payload")],
    "DONE_LATER": ["SEARCH task USING INDEX task_done (ended_ms>? AND ended_ms<?)", _BY_NO.format("payload")],
    "DEAD_THEN": ["SEARCH task USING INDEX task_dead (ended_ms=? AND rowid>?)", _BY_NO.format("payload")],
    "DEAD_LATER": ["SEARCH task USING INDEX task_dead (ended_ms>? AND ended_ms<?)", _BY_NO.format("payload")],
    "STANDING": [_BY_NO.format("task")],
    "LEAVING": [_BY_NO.format("payload"), _BY_NO.format("task")],
    "DELETE_TASKS": [_BY_NO.format("task")],
    "DELETE_PAYLOADS": [_BY_NO.format("payload")],
    "DELETE_PAST": [_BY_NO.format("past")],
    "PAST_UNSETTLED": ["SEARCH past USING INTEGER PRIMARY KEY (rowid>?)"],
    "LOAD_PAST": [_BY_NO.format("past"), _BY_NO.format("history_file")],
    "LIST_PAST": ["SEARCH past USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "LIST_PAST_PLACE": ["SEARCH past USING INDEX past_listing (leaf=? AND state=? AND rowid>? AND rowid<?)"],
    "PAST_IDS": [_BY_NO.format("past")],
    "FORGET_BETWEEN": ["SEARCH past USING INDEX past_listing (leaf=? AND state=? AND rowid>? AND rowid<?)"],
    "DROP_ID": ["SEARCH task_id USING PRIMARY KEY (tenant=? AND id=?)"],
    "PAST_OF_FILE": ["SEARCH past USING COVERING INDEX past_file (file=?)"],
    "FIND_FILE": ["SEARCH history_file USING INDEX sqlite_autoindex_history_file_1 (key=?)"],
    "FILE_TOLD": [_BY_NO.format("history_file")],
    "FILE_FORGOTTEN": [_BY_NO.format("history_file")],
    "UNFINISHED": ["SEARCH history_file USING INDEX file_unfinished (finished=?)"],
    "FORGETTABLE": ["SEARCH history_file USING INDEX file_known (last_ended_ms<?)"],
    "DROPPABLE": ["SEARCH history_file USING INDEX file_unused (day<?)"],
    "UNUSED": ["SEARCH history_file USING INDEX sqlite_autoindex_history_file_1 (key=?)"],
    "KNOWN_FILES": ["SEARCH history_file USING COVERING INDEX sqlite_autoindex_history_file_1 (key=?)"],
    "DROP_FILE": ["SEARCH history_file USING INDEX sqlite_autoindex_history_file_1 (key=?)"],
    "INSERT_PAST": [],
    "INSERT_FILE": [],
}
"""By what each statement reaches its rows: none walks through a table, and none sorts."""

WALKS = {"ENTRIES", "FILES"}
"""For tests alone."""


def test_the_plan_of_every_statement_is_known() -> None:
    names = {name for name in vars(statements) if name.isupper() and name[0] != "_"}
    assert names - {"SCHEMA", "COLUMNS", "BEYOND_PLACE", "PASSES_PAST"} == {*PLANS, *WALKS}


@pytest.mark.parametrize("name", PLANS)
def test_no_statement_walks_through_history(table: SqliteTable, name: str) -> None:
    statement = getattr(statements, name)
    named = re.findall(r":(\w+)", statement)
    values = dict.fromkeys(named) if named else [None] * statement.count("?")
    plan = [row[3] for row in table._db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert [step for step in plan if "json_each" not in step and "LIST" not in step] == PLANS[name]


def test_a_file_has_all_of_history(table: SqliteTable, path: Path) -> None:
    for no in range(1, 5):
        put(table, TaskState.SUCCEEDED, no, tags=(("a", str(no)),))
    table.past.archive(history_file("history/a"), [(1, 0), (2, 1)], last=True)
    table.past.archive(history_file("history/b"), [(3, 0)], last=False)
    table.past.forget([2])
    table.commit(mark(1, 0))
    before = seen(table)
    table.close()
    with closing(SqliteTable.open(path, lambda _: 0)) as again:
        assert seen(again) == before


@pytest.mark.parametrize("generation", [2, 5, 1_000])
def test_an_id_that_waited_when_its_task_left_is_still_taken_after_a_restart(path: Path, generation: int) -> None:
    with closing(SqliteTable(path)) as table:
        table._ids.generation = generation
        for no in range(1, 10):
            put(table, TaskState.SUCCEEDED, no)
        table.past.archive(history_file(), [(no, no) for no in range(1, 9)], last=True)
        table.past.forget([4, 8])
        table.commit(mark(1, 0))
    with closing(SqliteTable.open(path, lambda _: 0)) as again:
        for no in (1, 2, 3, 5, 6, 7, 9):
            with pytest.raises(IllegalMove):
                again.insert([task(20, id=f"task-{no}")])
        again.insert([task(21, id="task-4"), task(22, id="task-8")])
        assert {one.no for one in again.past.find("acme", [f"task-{no}" for no in range(10)]).values()} == {
            1, 2, 3, 5, 6, 7,
        }  # fmt: skip


def test_ids_that_are_forgotten_while_others_wait_take_none_of_them_along(table: SqliteTable) -> None:
    """When the next generation begins, all that waits goes to the index, however few of it are left."""
    table._ids.generation = 6
    for no in range(1, 7):
        put(table, TaskState.SUCCEEDED, no)
    table.past.archive(history_file(), [(no, no) for no in range(1, 5)], last=True)
    table.past.forget([1, 2, 3, 4])
    for no in range(7, 13):
        put(table, TaskState.SUCCEEDED, no)
    assert set(table.find("acme", [f"task-{no}" for no in range(1, 13)])) == {f"task-{no}" for no in range(5, 13)}
