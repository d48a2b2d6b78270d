"""By which of SQLite's partial indexes tasks are reached: the one meant for it, whatever SQLite has been told of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from helpers.tables import put
from taskservice.core.types import TERMINAL_STATES, WAITING_STATES, TaskState
from taskservice.journal.store import changes, past_statements, ranges, statements
from taskservice.journal.store.sqlite import SqliteTable

USERS = {
    "task_queue": [statements.NEXT_DUE_THEN, statements.NEXT_DUE_LATER],
    "task_waiting": [statements.DUE_BY, statements.NEXT_TIMED],
    "task_expiry": [statements.EXPIRED_BY, statements.NEXT_TIMED],
    "task_resume": [statements.RESUMED_BY, statements.NEXT_TIMED],
    "task_press": [statements.PRESSED_BY, statements.NEXT_TIMED],
    "task_listing": [
        statements.LIST_PLACE,
        ranges.NEXT,
        ranges.REACH,
        ranges.COUNT,
        *changes.BETWEEN.values(),
    ],
    "task_done": [past_statements.DONE_THEN, past_statements.DONE_LATER],
    "task_dead": [past_statements.DEAD_THEN, past_statements.DEAD_LATER],
}
"""The partial indexes of tasks, and the statements that need each."""

ONE_STATE = {
    "task_waiting": ("due_ms", WAITING_STATES, ""),
    "task_expiry": (
        "expires_ms",
        (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.PAUSED),
        "expires_ms IS NOT NULL AND",
    ),
    "task_done": ("ended_ms", (TaskState.SUCCEEDED, TaskState.CANCELLED, TaskState.EXPIRED), ""),
}
"""Those of several states: by which column they are ordered, the states, and what else they ask for."""

SHAPES = {
    "not analyzed": None,
    "analyzed when empty": {},
    "one of each": dict.fromkeys(TaskState, 1),
    "some of each": dict.fromkeys(TaskState, 40),
    "most have ended": dict.fromkeys(TaskState, 1) | dict.fromkeys(TERMINAL_STATES, 150),
    "none has ended": dict.fromkeys(TaskState, 150) | dict.fromkeys(TERMINAL_STATES, 1),
}
"""How many tasks of each state there were when the file was analyzed. Half of them may expire."""


@pytest.fixture(params=SHAPES)
def table(request: pytest.FixtureRequest) -> Iterator[SqliteTable]:
    shape = SHAPES[request.param]
    with closing(SqliteTable(":memory:")) as table:
        states = [state for state, count in (shape or {}).items() for _ in range(count)]
        for no, state in enumerate(states):
            put(table, state, no, expires_ms=8_000 + no if no % 2 else None)
        if shape is not None:
            table._db.execute("ANALYZE")
            known = "SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'task'"
            assert bool(table._db.execute(known).fetchone()[0]) is bool(states)
        yield table


def test_every_partial_index_of_tasks_has_its_users() -> None:
    with closing(SqliteTable(":memory:")) as table:
        found = table._db.execute("SELECT name FROM sqlite_master WHERE tbl_name = 'task' AND sql LIKE '% WHERE %'")
        assert {name for (name,) in found} == set(USERS)


@pytest.mark.parametrize("index", USERS)
def test_who_needs_a_partial_index_goes_by_it(table: SqliteTable, index: str) -> None:
    for statement in USERS[index]:
        plan = explained(table, statement)
        assert any(re.match(rf"SEARCH task USING (COVERING )?INDEX {index}\b", step) for step in plan), (
            statement,
            plan,
        )
        assert not any(step.startswith("SCAN task") or "B-TREE" in step for step in plan), (statement, plan)


@pytest.mark.parametrize("index", ONE_STATE)
def test_a_partial_index_of_several_states_serves_who_asks_for_one(table: SqliteTable, index: str) -> None:
    """With `state IN (...)` in its condition it did not: SQLite does not look into the list."""
    column, states, more = ONE_STATE[index]
    for state in states:
        statement = f"SELECT no FROM task INDEXED BY {index} WHERE {more} state = '{state}' AND {column} <= ? LIMIT ?"
        assert f"INDEX {index} " in explained(table, statement)[0]


def explained(table: SqliteTable, statement: str) -> list[str]:
    named = re.findall(r":(\w+)", statement)
    values = dict.fromkeys(named) if named else [None] * statement.count("?")
    return [row[3] for row in table._db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
