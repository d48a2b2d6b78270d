"""What a table does to a leaf's tasks between two numbers: the steps of bulk operations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from msgspec.structs import replace

from helpers.tables import LEAF, put, seen, task
from taskservice.core.table import Changed, Reach, TaskTable
from taskservice.core.types import ListFilter, TaskState
from taskservice.journal.store import ranges
from taskservice.journal.store.sqlite import SqliteTable

WAITING = (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RETRYING)
ALL = ListFilter(states=WAITING)
QUEUED = ListFilter(states=(TaskState.QUEUED,))


def test_reach_counts_tasks_and_not_numbers(table: TaskTable) -> None:
    table.insert([task(no) for no in (10, 20, 30, 40)])
    table.insert([task(no, function="mail.read") for no in (11, 12, 13)])
    for limit, reach in ((1, Reach(10, 1)), (3, Reach(30, 3)), (4, Reach(40, 4)), (5, Reach(99, 4))):
        assert table.reach(LEAF, QUEUED.states, 0, 99, limit) == reach
    assert table.reach(LEAF, QUEUED.states, 10, 99, 2) == Reach(30, 2)
    assert table.reach(LEAF, QUEUED.states, 10, 30, 2) == Reach(30, 2)
    assert table.reach(LEAF, QUEUED.states, 10, 29, 2) == Reach(29, 1)
    assert table.reach(LEAF, QUEUED.states, 40, 40, 2) == Reach(40, 0)


def test_states_share_what_may_be_met(table: TaskTable) -> None:
    for no in range(1, 9):
        put(table, TaskState.QUEUED if no % 2 else TaskState.SCHEDULED, no)
    put(table, TaskState.RUNNING, 9)
    reach = table.reach(LEAF, WAITING[:2], 0, 99, 4)
    assert reach.to_no < 99
    assert table.count_between(LEAF, ALL, 0, reach.to_no) <= 4


def test_a_leaf_that_never_was_has_nothing(table: TaskTable) -> None:
    nowhere = LEAF._replace(tenant="nobody")
    assert table.reach(nowhere, WAITING, 0, 99, 5) == Reach(99, 0)
    assert table.count_between(nowhere, ALL, 0, 99) == 0
    assert table.cancel_between(nowhere, ALL, 0, 99, 6_000) == Changed((), (), 0)
    assert table.queued_since(nowhere, 0, 5) == []


def test_cancelled_are_those_between_the_numbers_and_no_others(table: TaskTable) -> None:
    before = [put(table, TaskState.QUEUED, no, payload=b"x" * no) for no in range(1, 7)]
    put(table, TaskState.QUEUED, 14, function="mail.read")
    assert table.count_between(LEAF, QUEUED, 2, 5) == 3
    assert table.cancel_between(LEAF, QUEUED, 2, 5, 6_000) == Changed(("task-3", "task-4", "task-5"), (3, 4, 5), 12)
    cancelled = [replace(one, state=TaskState.CANCELLED, ended_ms=6_000) for one in before[2:5]]
    assert table.load(range(1, 7)) == [*before[:2], *cancelled, before[5]]
    assert [key.no for key in table.next_queued(LEAF, None, 9)] == [1, 2, 6]
    assert table.counts()[LEAF, TaskState.CANCELLED] == 3
    assert table.queued_bytes(LEAF) == 1 + 2 + 6


def test_every_state_that_is_named_and_no_other(table: TaskTable) -> None:
    for no, state in enumerate(TaskState):
        put(table, state, no)
    waiting = [no for no, state in enumerate(TaskState) if state in WAITING]
    changed = table.cancel_between(LEAF, ALL, -1, 99, 6_000)
    assert sorted(changed.ids) == [f"task-{no}" for no in waiting]
    assert changed.queued == (list(TaskState).index(TaskState.QUEUED),)
    assert {one.no for one in table.listing(ListFilter(states=(TaskState.CANCELLED,)), None, 99)} == {
        *waiting,
        list(TaskState).index(TaskState.CANCELLED),
    }
    assert table.next_due_ms() is None


@pytest.mark.parametrize(
    ("wanted", "nos"),
    [
        ({"tag": ("a", "1")}, [1, 3]),
        ({"tag": ("a", "")}, []),
        ({"created_after_ms": 1_003}, [3, 4]),
        ({"created_before_ms": 1_003}, [1, 2]),
        ({"created_after_ms": 1_002, "created_before_ms": 1_004, "tag": ("a", "1")}, [3]),
    ],
)
def test_a_filter_may_go_deeper_than_the_leaf(table: TaskTable, wanted: dict, nos: list[int]) -> None:
    table.insert([task(no, tags=(("a", "1"),) if no % 2 else ()) for no in (1, 2, 3, 4)])
    deeper = ListFilter(states=WAITING, **wanted)
    assert table.count_between(LEAF, deeper, 0, 9) == len(nos)
    assert list(table.cancel_between(LEAF, deeper, 0, 9, 6_000).queued) == nos


def test_what_has_been_cancelled_is_not_cancelled_again(table: TaskTable) -> None:
    table.insert([task(1), task(2)])
    table.cancel_between(LEAF, QUEUED, 0, 9, 6_000)
    before = seen(table)
    assert table.cancel_between(LEAF, QUEUED, 0, 9, 7_000) == Changed((), (), 0)
    assert seen(table) == before


def test_newer_tasks_are_found_by_their_numbers(table: TaskTable) -> None:
    table.insert([task(no, due_ms=100 - no) for no in range(1, 8)])
    put(table, TaskState.SCHEDULED, 8)
    table.insert([task(9, function="mail.read"), task(10)])
    assert table.queued_since(LEAF, 4, 9) == [5, 6, 7, 10]
    assert table.queued_since(LEAF, 4, 2) == [5, 6]
    assert table.queued_since(LEAF, 10, 2) == []


@pytest.fixture
def sqlite() -> Iterator[SqliteTable]:
    with closing(SqliteTable(":memory:")) as table:
        yield table


PLANS = {
    "NEXT": ["SEARCH task USING COVERING INDEX task_listing (leaf=? AND state=? AND rowid>?)"],
    "REACH": [
        "CO-ROUTINE (subquery-1)",
        "SEARCH task USING COVERING INDEX task_listing (leaf=? AND state=? AND rowid>? AND rowid<?)",
        "SCAN (subquery-1)",
    ],
    "COUNT": ["SEARCH task USING INDEX task_listing (leaf=? AND state=? AND rowid>? AND rowid<?)"],
    "CANCEL": ["SEARCH task USING INDEX task_listing (leaf=? AND state=? AND rowid>? AND rowid<?)"],
}


def test_the_plan_of_every_statement_is_known() -> None:
    assert {name for name in vars(ranges) if name.isupper() and name[0] != "_"} == {*PLANS, "PAYLOAD_BYTES"}


@pytest.mark.parametrize("name", PLANS)
def test_a_step_meets_only_the_tasks_of_its_range(sqlite: SqliteTable, name: str) -> None:
    """By the index of leaf and state, from number to number, without sorting: nothing of what lies between is read."""
    statement = getattr(ranges, name)
    plan = sqlite._db.execute(
        f"EXPLAIN QUERY PLAN {statement}", dict.fromkeys(re.findall(r":(\w+)", statement))
    ).fetchall()
    assert [step[3] for step in plan] == PLANS[name]
