"""History in a table: what leaves it and when, what is still known of it, and when that is over."""

from __future__ import annotations

import pytest

from helpers.tables import CANCEL, LEASE, RERUN, RUNNER, history_file, listed, put, refuses, task
from taskservice.core.changes import Change
from taskservice.core.history import DEAD, DONE
from taskservice.core.operations import OperationKind
from taskservice.core.past import EndedKey, Past
from taskservice.core.table import TaskTable
from taskservice.core.types import TERMINAL_STATES, ListFilter, Priority, TaskState
from taskservice.core.values import digest

FILE = history_file()


def ended(table: TaskTable, states=DONE, before_ms: int = 10**15, after=None, limit: int = 100, bytes_max: int = 10**9):
    return [one.no for one in table.past.ended(states, before_ms, after, limit, bytes_max)]


def gone(table: TaskTable, *nos: int, file=FILE, last: bool = True, state: TaskState = TaskState.SUCCEEDED, **fields):
    """These tasks ended, and are in history."""
    for no in nos:
        put(table, state, no, **fields)
    table.past.archive(file, [(no, row) for row, no in enumerate(nos)], last=last)


def past_listed(table: TaskTable, before_no: int | None = None, limit: int = 100, **wanted) -> list[int]:
    return [one.no for one in table.past.listing(ListFilter(**wanted), before_no, limit)]


def test_what_has_ended_comes_first_ended_first(table: TaskTable) -> None:
    for no, at_ms in ((1, 50), (2, 40), (3, 40), (4, 60)):
        put(table, TaskState.QUEUED, no)
        table.change(Change(OperationKind.CANCEL, at_ms), [no])
    put(table, TaskState.RUNNING, 5)
    put(table, TaskState.QUEUED, 6)
    put(table, TaskState.FAILED, 7)
    assert ended(table) == [2, 3, 1, 4]
    assert ended(table, DEAD) == [7]
    assert ended(table, before_ms=50) == [2, 3]
    assert ended(table, after=EndedKey(40, 2)) == [3, 1, 4]
    assert ended(table, after=EndedKey(40, 3), limit=1) == [1]
    assert ended(table, after=EndedKey(40, 2), before_ms=40) == []
    assert ended(table, limit=3) == [2, 3, 1]


def test_what_has_ended_is_bounded_by_its_bytes(table: TaskTable) -> None:
    for no in range(1, 5):
        put(table, TaskState.SUCCEEDED, no, payload=b"x" * 99)
    assert ended(table, bytes_max=150) == [1, 2]
    assert ended(table, bytes_max=1) == [1]
    assert ended(table, after=EndedKey(6_000, 1), bytes_max=101) == [2, 3]
    assert table.past.ended(DONE, 10**15, None, 1, 1) == table.load([1])


def test_the_last_run_of_a_task_is_known_in_history(table: TaskTable) -> None:
    put(table, TaskState.FAILED, 1)
    table.change(RERUN, [1])
    table.change(CANCEL, [1])
    put(table, TaskState.SUCCEEDED, 2)
    table.past.archive(FILE, [(1, 0), (2, 1)], last=True)
    assert {past.id: past.run for past in table.past.listing(ListFilter(), None, 9)} == {"task-1": 2, "task-2": 1}


def test_a_task_that_leaves_is_known_by_its_place(table: TaskTable) -> None:
    put(table, TaskState.FAILED, 1, payload=b'{"a":1}', priority=Priority.HIGH)
    put(table, TaskState.SUCCEEDED, 2)
    put(table, TaskState.SUCCEEDED, 3)
    table.past.archive(FILE, [(3, 0), (1, 1)], last=True)
    expected = Past(
        1, "task-1", "acme", "mail.send", Priority.HIGH, TaskState.FAILED, digest(b'{"a":1}'), FILE.key, 100, 1
    )
    assert table.past.find("acme", ["task-1", "task-2", "task-9"]) == {"task-1": expected}
    assert table.past.find("umbrella", ["task-1"]) == {}
    assert past_listed(table) == [3, 1]
    assert listed(table) == [2]
    assert table.find("acme", ["task-1", "task-2", "task-3"]) == {"task-2": table.load([2])[0]}
    assert ended(table) == [2]
    assert ended(table, DEAD) == []
    assert {place: count for place, count in table.counts().items() if count} == {
        (task(2).leaf, TaskState.SUCCEEDED): 1
    }
    with pytest.raises(KeyError):
        table.load([1])


@pytest.mark.parametrize("state", [state for state in TaskState if state not in TERMINAL_STATES])
def test_only_what_has_ended_leaves(table: TaskTable, state: TaskState) -> None:
    put(table, TaskState.SUCCEEDED, 1)
    put(table, state, 2)
    refuses(table, lambda: table.past.archive(FILE, [(1, 0), (2, 1)], last=True), 2)


def test_a_task_leaves_once(table: TaskTable) -> None:
    gone(table, 1, last=False)
    refuses(table, lambda: table.past.archive(FILE, [(1, 0)], last=False), 1)
    put(table, TaskState.SUCCEEDED, 2)
    refuses(table, lambda: table.past.archive(FILE, [(2, 0), (2, 1)], last=False), 2)
    refuses(table, lambda: table.past.archive(FILE, [(99, 0)], last=False), 99)


def test_nothing_comes_to_a_finished_file(table: TaskTable) -> None:
    gone(table, 1, last=False)
    gone(table, 2, last=True)
    put(table, TaskState.SUCCEEDED, 3)
    refuses(table, lambda: table.past.archive(FILE, [(3, 2)], last=True), 3)


def test_the_run_and_state_of_those_that_are_here(table: TaskTable) -> None:
    gone(table, 1)
    put(table, TaskState.FAILED, 2)
    put(table, TaskState.RUNNING, 3)
    assert table.past.standing([1, 2, 3, 4]) == {2: (1, TaskState.FAILED), 3: (1, TaskState.RUNNING)}


def test_an_id_in_history_is_taken_until_it_is_forgotten(table: TaskTable) -> None:
    gone(table, 1)
    refuses(table, lambda: table.insert([task(2, id="task-1")]), 2)
    table.past.forget([1])
    table.insert([task(2, id="task-1")])
    assert table.past.find("acme", ["task-1"]) == {}
    assert [one.no for one in table.find("acme", ["task-1"]).values()] == [2]
    assert past_listed(table) == []


def test_an_id_may_live_many_times(table: TaskTable) -> None:
    for no in range(1, 6):
        gone(table, no, id="again", file=history_file(f"history/{no}"))
        table.past.forget([no])
    put(table, TaskState.QUEUED, 9, id="again")
    assert [one.no for one in table.find("acme", ["again"]).values()] == [9]


def test_only_what_is_in_history_is_forgotten_and_once(table: TaskTable) -> None:
    gone(table, 1)
    put(table, TaskState.SUCCEEDED, 2)
    refuses(table, lambda: table.past.forget([1, 2]), 2)
    refuses(table, lambda: table.past.forget([1, 1]), 1)
    table.past.forget([1])
    refuses(table, lambda: table.past.forget([1]), 1)


def test_files_are_unfinished_until_their_last_task(table: TaskTable) -> None:
    other = history_file("history/b")
    gone(table, 1, 2, last=False)
    gone(table, 3, file=other, last=True)
    assert table.past.unfinished() == [FILE]
    assert table.past.files() == {FILE.key: 2, other.key: 1}
    assert table.past.entries() == 3
    table.past.archive(FILE, [], last=True)
    assert table.past.unfinished() == []


def test_forgotten_is_the_finished_file_that_ended_first(table: TaskTable) -> None:
    early, late, open_ = (history_file(f"history/{at}", last_ended_ms=at) for at in (1_000, 2_000, 500))
    gone(table, 5, 4, file=late)
    gone(table, 3, 2, 1, file=early)
    gone(table, 6, file=open_, last=False)
    assert table.past.forgettable(1_000, 9) == []
    assert table.past.forgettable(1_001, 9) == [1, 2, 3]
    assert table.past.forgettable(9_000, 2) == [1, 2]
    table.past.forget([1, 2])
    assert table.past.forgettable(9_000, 9) == [3]
    table.past.forget([3])
    assert table.past.forgettable(9_000, 9) == [4, 5]
    assert table.past.files() == {late.key: 2, early.key: 0, open_.key: 1}


def test_a_file_is_dropped_when_none_of_its_tasks_is_known(table: TaskTable) -> None:
    first, second, third = (history_file(f"history/{day}", day=day) for day in (3, 2, 5))
    gone(table, 1, file=first)
    gone(table, 2, file=second)
    gone(table, 3, file=third)
    assert table.past.droppable(9, 9) == []
    table.past.forget([1, 2])
    assert table.past.droppable(9, 9) == [second, first]
    assert table.past.droppable(3, 9) == [second]
    assert table.past.droppable(9, 1) == [second]
    for keys in ([third.key], [first.key, third.key], ["history/none"], [first.key, first.key]):
        refuses(table, lambda keys=keys: table.past.drop(keys))
    assert table.past.known([first.key, "history/none", third.key]) == [first.key, third.key]
    table.past.drop([first.key, second.key])
    assert table.past.droppable(9, 9) == []
    assert table.past.known([first.key, third.key]) == [third.key]
    assert table.past.files() == {third.key: 1}


def test_a_listing_of_history_takes_every_filter(table: TaskTable) -> None:
    put(table, TaskState.SUCCEEDED, 1, function="mail.read")
    put(table, TaskState.CANCELLED, 2, priority=Priority.LOW)
    put(table, TaskState.FAILED, 3, tags=(("a", "b"),), created_ms=50)
    put(table, TaskState.SUCCEEDED, 4, tenant="umbrella")
    put(table, TaskState.SUCCEEDED, 5)
    table.past.archive(FILE, [(no, no) for no in (4, 3, 2, 1)], last=True)
    assert past_listed(table) == [4, 3, 2, 1]
    assert past_listed(table, tenant="acme") == [3, 2, 1]
    assert past_listed(table, function="mail.read") == [1]
    assert past_listed(table, priority=Priority.LOW) == [2]
    assert past_listed(table, states=(TaskState.FAILED, TaskState.CANCELLED, TaskState.QUEUED)) == [3, 2]
    assert past_listed(table, states=(TaskState.QUEUED,)) == []
    assert past_listed(table, tag=("a", "b")) == [3]
    assert past_listed(table, tag=("a", "c")) == []
    assert past_listed(table, created_before_ms=51) == [3]
    assert past_listed(table, created_after_ms=1_002) == [4, 2]
    assert past_listed(table, created_after_ms=50, created_before_ms=50) == []
    assert past_listed(table, before_no=3) == [2, 1]
    assert past_listed(table, before_no=4, limit=2, tenant="acme") == [3, 2]
    assert past_listed(table, limit=0) == []
    for wanted in ({}, {"tenant": "acme"}):
        after = table.past.listing(ListFilter(**wanted), 4, 9, 1)
        assert [one.no for one in after] == [3, 2]


def test_a_lease_and_a_report_are_not_disturbed(table: TaskTable) -> None:
    gone(table, 1, 2)
    put(table, TaskState.RUNNING, 3)
    table.insert([task(4)])
    table.lease([4], LEASE, RUNNER, 5_000)
    table.succeed([(3, b"1", 5_000, 1), (4, b"1", 5_000, 1)], LEASE, 6_000)
    assert ended(table) == [3, 4]
