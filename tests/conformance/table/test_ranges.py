"""What a table does to a leaf's tasks between two numbers: the steps of bulk operations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from helpers.tables import CANCEL, DELETE, LEAF, PAUSE, RERUN, RESUME, history_file, listed, put, seen, task
from taskservice.core.changes import Change, changed
from taskservice.core.operations import SOURCES, OperationKind
from taskservice.core.stretches import Reach, Stretch
from taskservice.core.table import Changed, QueueKey, TaskTable
from taskservice.core.types import TERMINAL_STATES, ListFilter, TaskState
from taskservice.journal.store import changes, ranges
from taskservice.journal.store.sqlite import SqliteTable

WAITING = (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RETRYING)
ALL = ListFilter(states=WAITING)
QUEUED = ListFilter(states=(TaskState.QUEUED,))
EVER_MS = 10**15


def stretch(after_no: int, to_no: int) -> Stretch:
    return Stretch(LEAF, after_no, to_no)


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
    assert table.count_between(stretch(0, reach.to_no), ALL, EVER_MS) <= 4


def test_a_leaf_that_never_was_has_nothing(table: TaskTable) -> None:
    nowhere = stretch(0, 99)._replace(leaf=LEAF._replace(tenant="nobody"))
    assert table.reach(nowhere.leaf, WAITING, 0, 99, 5) == Reach(99, 0)
    assert table.count_between(nowhere, ALL, EVER_MS) == 0
    assert table.change_between(CANCEL, nowhere, ALL, EVER_MS) == Changed(nowhere.leaf)
    assert table.queued_since(nowhere.leaf, 0, 5) == []
    assert table.past.reach(nowhere.leaf, TERMINAL_STATES, 0, 99, 5) == Reach(99, 0)
    assert table.past.forget_between(nowhere, ListFilter(states=TERMINAL_STATES)) == 0


def test_changed_are_those_between_the_numbers_and_no_others(table: TaskTable) -> None:
    before = [put(table, TaskState.QUEUED, no, payload=b"x" * no) for no in range(1, 7)]
    put(table, TaskState.QUEUED, 14, function="mail.read")
    assert table.count_between(stretch(2, 5), QUEUED, EVER_MS) == 3
    told = Changed(LEAF, ("task-3", "task-4", "task-5"), -3, (3, 4, 5), 12)
    assert table.change_between(CANCEL, stretch(2, 5), QUEUED, EVER_MS) == told
    assert table.load(range(1, 7)) == [*before[:2], *(changed(one, CANCEL) for one in before[2:5]), before[5]]
    assert [key.no for key in table.next_queued(LEAF, None, 9)] == [1, 2, 6]
    assert table.counts()[LEAF, TaskState.CANCELLED] == 3
    assert table.queued_bytes(LEAF) == 1 + 2 + 6


@pytest.mark.parametrize("kind", OperationKind)
def test_every_state_that_is_named_and_no_other(table: TaskTable, kind: OperationKind) -> None:
    """As the pure function says of each task, and as when they are named one by one."""
    tasks = [put(table, state, no, expires_ms=8_000 + no) for no, state in enumerate(TaskState)]
    change = Change(kind, 7_000, 9_000)
    found = table.change_between(change, stretch(-1, 99), ListFilter(states=SOURCES[kind]), EVER_MS)
    meant = [one for one in tasks if one.state in SOURCES[kind]]
    after = [changed(one, change) if one in meant else one for one in tasks]
    assert found.ids == tuple(one.id for one in meant)
    assert table.load(listed(table)[::-1]) == [one for one in after if one is not None]
    named = SqliteTable(":memory:")
    for no, state in enumerate(TaskState):
        put(named, state, no, expires_ms=8_000 + no)
    assert named.change(change, [one.no for one in meant]) == [found]
    assert seen(named) == seen(table)
    named.close()


def test_only_what_had_ended_by_then(table: TaskTable) -> None:
    """What has not ended at all is meant all the same."""
    for no, at_ms in ((1, 6_000), (2, 7_000)):
        table.insert([task(no)])
        table.change(CANCEL._replace(at_ms=at_ms), [no])
    table.insert([task(3)])
    ended = ListFilter(states=SOURCES[OperationKind.DELETE])
    assert [table.count_between(stretch(0, 9), ended, ms) for ms in (5_999, 6_000, 7_000)] == [1, 2, 3]
    assert table.change_between(DELETE, stretch(0, 9), ended, 6_000).ids == ("task-1", "task-3")
    assert listed(table) == [2]


def test_what_is_resumed_or_runs_again_enters_the_queue_in_its_order(table: TaskTable) -> None:
    for no, due_ms in ((1, 50), (2, 40), (3, 99_000)):
        put(table, TaskState.PAUSED, no, due_ms=due_ms, payload=b"x" * no)
        put(table, TaskState.FAILED, no + 10, payload=b"x")
    resumed = table.change_between(RESUME, stretch(0, 99), ListFilter(states=(TaskState.PAUSED,)), EVER_MS)
    assert (resumed.entered, resumed.entered_bytes) == ((QueueKey(40, 2), QueueKey(50, 1)), 3)
    again = table.change_between(RERUN, stretch(0, 99), ListFilter(states=(TaskState.FAILED,)), EVER_MS)
    assert (again.entered, again.unfinished) == (tuple(QueueKey(6_000, no) for no in (11, 12, 13)), 3)
    assert table.next_queued(LEAF, None, 9) == [*resumed.entered, *again.entered]
    assert table.queued_bytes(LEAF) == 6


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
    assert table.count_between(stretch(0, 9), deeper, EVER_MS) == len(nos)
    assert list(table.change_between(CANCEL, stretch(0, 9), deeper, EVER_MS).left) == nos


@pytest.mark.parametrize("change", [CANCEL, PAUSE, DELETE])
def test_what_has_been_changed_is_not_changed_again(table: TaskTable, change: Change) -> None:
    table.insert([task(1), task(2)])
    table.change_between(change, stretch(0, 9), QUEUED, EVER_MS)
    before = seen(table)
    assert table.change_between(change._replace(at_ms=7_000), stretch(0, 9), QUEUED, EVER_MS) == Changed(LEAF)
    assert seen(table) == before


def test_those_that_run_are_counted_by_any_filter(table: TaskTable) -> None:
    for no in range(1, 5):
        put(table, TaskState.RUNNING, no, tags=(("a", "1"),) if no % 2 else ())
    put(table, TaskState.RUNNING, 9, function="mail.read")
    put(table, TaskState.QUEUED, 10, tags=(("a", "1"),))
    assert table.count_running(ListFilter()) == 5
    assert table.count_running(ListFilter(function="mail.send", states=(TaskState.QUEUED,))) == 4
    assert table.count_running(ListFilter(tag=("a", "1"))) == 2
    assert table.count_running(ListFilter(created_after_ms=1_004)) == 2
    assert table.count_running(ListFilter(tenant="nobody", tag=("a", "1"))) == 0


def test_history_is_gone_through_by_the_same_numbers(table: TaskTable) -> None:
    for no, state in (
        (1, TaskState.SUCCEEDED),
        (2, TaskState.FAILED),
        (3, TaskState.SUCCEEDED),
        (4, TaskState.EXPIRED),
    ):
        put(table, state, no, tags=(("a", "1"),) if no == 3 else ())
    put(table, TaskState.SUCCEEDED, 5, function="mail.read")
    put(table, TaskState.SUCCEEDED, 6)
    file = history_file()
    table.past.archive(file, [(no, no) for no in (1, 2, 3, 4, 5)], last=True)
    assert table.past.counts("umbrella") == {}
    assert table.past.counts("acme") == table.past.counts()
    assert sorted((leaf.function, state, count) for (leaf, state), count in table.past.counts().items()) == [
        ("mail.read", "succeeded", 1),
        ("mail.send", "expired", 1),
        ("mail.send", "failed", 1),
        ("mail.send", "succeeded", 2),
    ]
    everything = ListFilter(states=TERMINAL_STATES)
    assert table.past.reach(LEAF, (TaskState.SUCCEEDED,), 0, 99, 1) == Reach(1, 1)
    assert table.past.reach(LEAF, TERMINAL_STATES, 0, 99, 99) == Reach(99, 4)
    assert table.past.count_between(stretch(1, 3), everything) == 2
    assert table.past.forget_between(stretch(0, 99), ListFilter(states=TERMINAL_STATES, tag=("a", "1"))) == 1
    assert table.past.forget_between(stretch(1, 99), ListFilter(states=(TaskState.FAILED,))) == 1
    assert [past.no for past in table.past.listing(ListFilter(), None, 9)] == [5, 4, 1]
    assert table.past.files() == {file.key: 3}
    table.insert([task(7, id="task-3"), task(8, id="task-2")])
    assert table.past.forget_between(stretch(0, 99), everything) == 2
    assert {place: count for place, count in table.past.counts().items() if count} == {
        (task(5, function="mail.read").leaf, TaskState.SUCCEEDED): 1
    }


def test_newer_tasks_are_found_by_their_numbers(table: TaskTable) -> None:
    table.insert([task(no, due_ms=100 - no) for no in range(1, 8)])
    put(table, TaskState.SCHEDULED, 8)
    table.insert([task(9, function="mail.read"), task(10, expires_ms=50)])
    assert table.queued_since(LEAF, 4, 9) == [*(QueueKey(100 - no, no) for no in (5, 6, 7)), QueueKey(1_010, 10, 50)]
    assert [key.no for key in table.queued_since(LEAF, 4, 2)] == [5, 6]
    assert table.queued_since(LEAF, 10, 2) == []


@pytest.fixture
def sqlite() -> Iterator[SqliteTable]:
    with closing(SqliteTable(":memory:")) as table:
        yield table


BY_LISTING = ["SEARCH task USING INDEX task_listing (leaf=? AND state=? AND rowid>? AND rowid<?)"]
BY_PAST_LISTING = ["SEARCH past USING INDEX past_listing (leaf=? AND state=? AND rowid>? AND rowid<?)"]
BY_NUMBER = [
    "SEARCH task USING INTEGER PRIMARY KEY (rowid=?)",
    "LIST SUBQUERY 1",
    "SCAN json_each VIRTUAL TABLE INDEX 1:",
]

PLANS = {
    ranges.NEXT: ["SEARCH task USING INDEX task_listing (leaf=? AND state=? AND rowid>?)"],
    ranges.REACH: [
        "CO-ROUTINE (subquery-1)",
        "SEARCH task USING COVERING INDEX task_listing (leaf=? AND state=? AND rowid>? AND rowid<?)",
        "SCAN (subquery-1)",
    ],
    ranges.REACH_PAST: [
        "CO-ROUTINE (subquery-1)",
        "SEARCH past USING COVERING INDEX past_listing (leaf=? AND state=? AND rowid>? AND rowid<?)",
        "SCAN (subquery-1)",
    ],
    ranges.COUNT: BY_LISTING,
    ranges.COUNT_PAST: BY_PAST_LISTING,
    changes.EXPIRE: BY_NUMBER,
    **dict.fromkeys(changes.BETWEEN.values(), BY_LISTING),
    **dict.fromkeys(changes.NAMED.values(), BY_NUMBER),
}


def test_there_is_a_statement_for_every_kind() -> None:
    assert list(changes.BETWEEN) == list(changes.NAMED) == list(OperationKind)


@pytest.mark.parametrize("statement", PLANS)
def test_a_step_meets_only_the_tasks_of_its_range(sqlite: SqliteTable, statement: str) -> None:
    """By the index of leaf and state, from number to number, without sorting: nothing of what lies between is read."""
    plan = sqlite._db.execute(
        f"EXPLAIN QUERY PLAN {statement}", dict.fromkeys(re.findall(r":(\w+)", statement))
    ).fetchall()
    assert [step[3] for step in plan] == PLANS[statement]
