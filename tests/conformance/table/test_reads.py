"""What a table finds, in which order, and what a filter lets through."""

from __future__ import annotations

import pytest

from helpers.tables import BOOM, CANCEL, LEAF, LEASE, ODD_TAGS, RUNNER, listed, mark, put, seen, task
from taskservice.core.records import RetryRow
from taskservice.core.table import QueueKey, TaskTable
from taskservice.core.types import Leaf, ListFilter, Priority, TaskState


def test_load_keeps_the_order_asked_for(table: TaskTable) -> None:
    table.insert([task(no) for no in range(5)])
    assert [one.no for one in table.load([3, 0, 4, 3])] == [3, 0, 4, 3]
    assert table.load([]) == []


def test_load_of_a_missing_task_is_a_key_error(table: TaskTable) -> None:
    table.insert([task(1)])
    with pytest.raises(KeyError, match="2"):
        table.load([1, 2])


def test_find_leaves_out_what_is_not_there(table: TaskTable) -> None:
    table.insert([task(1), task(2)])
    assert table.find("acme", ["task-2", "no", "task-1", "task-2", "TASK-1", "", 'x"']) == {
        "task-1": task(1),
        "task-2": task(2),
    }
    assert table.find("acme", []) == {}


def test_calls_about_thousands_of_tasks_are_one_call(table: TaskTable) -> None:
    tasks = [task(no) for no in range(2_500)]
    nos = [one.no for one in tasks]
    table.insert(tasks)
    assert table.load(nos[::-1]) == tasks[::-1]
    assert list(table.find("acme", [one.id for one in tasks]).values()) == tasks
    table.lease(nos, LEASE, RUNNER, 4_000)
    table.succeed([(no, b"1", 4_000, 1) for no in nos], LEASE, 5_000)
    assert table.counts() == {(LEAF, TaskState.SUCCEEDED): 2_500}


def test_a_queue_is_ordered_by_due_time_then_number(table: TaskTable) -> None:
    table.insert([task(1, due_ms=30), task(2, due_ms=20), task(3, due_ms=-5), task(4, due_ms=20)])
    assert table.next_queued(LEAF, None, 9) == [QueueKey(-5, 3), QueueKey(20, 2), QueueKey(20, 4), QueueKey(30, 1)]
    assert table.next_queued(LEAF, QueueKey(20, 2), 1) == [QueueKey(20, 4)]
    assert table.next_queued(LEAF, QueueKey(20, 3), 9) == [QueueKey(20, 4), QueueKey(30, 1)]
    assert table.next_queued(LEAF, QueueKey(30, 1), 9) == []


def test_a_queue_holds_the_queued_tasks_of_its_leaf_alone(table: TaskTable) -> None:
    for no, state in enumerate(TaskState):
        put(table, state, no)
    table.insert(
        [task(20, tenant="umbrella"), task(21, function="mail.read"), task(22, priority=Priority.LOW), task(23)]
    )
    queued = list(TaskState).index(TaskState.QUEUED)
    assert [key.no for key in table.next_queued(LEAF, None, 9)] == [queued, 23]
    assert table.next_queued(Leaf("nobody", "mail.send", Priority.NORMAL), None, 9) == []


def test_a_task_handed_back_is_in_its_old_place_and_a_retried_one_in_a_new_one(table: TaskTable) -> None:
    table.insert([task(no) for no in (1, 2, 3)])
    table.lease([1, 2], LEASE, RUNNER, 4_000)
    assert [key.no for key in table.next_queued(LEAF, None, 9)] == [3]
    table.hand_back([1], LEASE)
    table.retry([RetryRow(2, 9_000, BOOM, 1, 0, 0, 1)], LEASE)
    assert [key.no for key in table.next_queued(LEAF, None, 9)] == [1, 3]
    table.make_due([2])
    assert table.next_queued(LEAF, None, 9)[-1] == QueueKey(9_000, 2)


def test_due_tasks_come_longest_due_first(table: TaskTable) -> None:
    for no, due_ms in ((1, 50), (2, 40), (3, 40), (4, 51)):
        put(table, TaskState.SCHEDULED, no, due_ms=due_ms)
    put(table, TaskState.RETRYING, 5)
    put(table, TaskState.QUEUED, 6, due_ms=1)
    assert [one.no for one in table.due_by(50, 9)] == [2, 3, 1]
    assert [one.no for one in table.due_by(50, 2)] == [2, 3]
    assert [one.no for one in table.due_by(10_000, 9)] == [2, 3, 1, 4, 5]
    assert table.due_by(39, 9) == []
    assert table.due_by(50, 1) == table.load([2])


def test_the_next_due_time_is_that_of_the_waiting_tasks(table: TaskTable) -> None:
    put(table, TaskState.QUEUED, 1, due_ms=1)
    assert table.next_timed_ms() is None
    put(table, TaskState.SCHEDULED, 2, due_ms=50)
    put(table, TaskState.SCHEDULED, 3, due_ms=40)
    assert table.next_timed_ms() == 40
    table.change(CANCEL, [3])
    assert table.next_timed_ms() == 50
    table.make_due([2])
    assert table.next_timed_ms() is None
    put(table, TaskState.RETRYING, 4)
    assert table.next_timed_ms() == 9_000


def test_counts_follow_every_move(table: TaskTable) -> None:
    for no, state in enumerate(TaskState):
        put(table, state, no)
        put(table, state, no + 10, tenant="umbrella", priority=Priority.HIGH)
    table.insert([task(30, function="mail.read")])
    theirs = Leaf("umbrella", "mail.send", Priority.HIGH)
    mine = {(LEAF, state): 1 for state in TaskState} | {(task(30, function="mail.read").leaf, TaskState.QUEUED): 1}
    assert table.counts("acme") == mine
    assert table.counts() == mine | {(theirs, state): 1 for state in TaskState}
    assert table.counts("nobody") == {}
    table.change(CANCEL, [1, 11, 30])
    assert (LEAF, TaskState.QUEUED) not in {place for place, count in table.counts().items() if count}
    assert table.counts()[LEAF, TaskState.CANCELLED] == 2


def test_a_listing_is_newest_first_and_bounded(table: TaskTable) -> None:
    table.insert([task(no, tenant="umbrella" if no % 3 else "acme") for no in range(12)])
    assert listed(table, limit=3) == [11, 10, 9]
    assert listed(table, limit=2, tenant="acme") == [9, 6]
    assert listed(table, limit=2, before_no=6, tenant="acme") == [3, 0]
    assert listed(table, limit=0) == []
    assert table.listing(ListFilter(), None, 1) == table.load([11])


def test_listings_by_state(table: TaskTable) -> None:
    for no, state in enumerate(TaskState):
        put(table, state, no)
        put(table, state, no + 10)
    for no, state in enumerate(TaskState):
        assert listed(table, states=(state,)) == [no + 10, no]
        assert listed(table, states=(state,), before_no=no + 10) == [no]
        assert listed(table, states=(state,), limit=1) == [no + 10]
    failed, running = (list(TaskState).index(state) for state in (TaskState.FAILED, TaskState.RUNNING))
    both = [failed + 10, running + 10, failed, running]
    assert listed(table, states=(TaskState.FAILED, TaskState.RUNNING)) == both
    assert listed(table, states=tuple(TaskState)) == listed(table)


def test_listings_by_function_priority_and_all_at_once(table: TaskTable) -> None:
    put(table, TaskState.RUNNING, 1, function="mail.read")
    put(table, TaskState.RUNNING, 2, priority=Priority.BATCH)
    put(table, TaskState.QUEUED, 3, function="mail.read", priority=Priority.BATCH)
    put(table, TaskState.FAILED, 4, function="mail.read", tenant="umbrella", tags=(("a", "b"),))
    assert listed(table, function="mail.read") == [4, 3, 1]
    assert listed(table, function="mail") == []
    assert listed(table, priority=Priority.BATCH) == [3, 2]
    assert listed(table, function="mail.read", priority=Priority.NORMAL) == [4, 1]
    exact = {
        "tenant": "umbrella",
        "states": (TaskState.FAILED,),
        "function": "mail.read",
        "priority": Priority.NORMAL,
        "tag": ("a", "b"),
        "created_after_ms": 1_004,
        "created_before_ms": 1_005,
    }
    assert listed(table, **exact) == [4]
    others = {
        "tenant": "acme",
        "states": (TaskState.RUNNING,),
        "function": "mail.send",
        "priority": Priority.BATCH,
        "tag": ("a", "c"),
        "created_after_ms": 1_005,
        "created_before_ms": 1_004,
    }
    for name, value in others.items():
        assert listed(table, **{**exact, name: value}) == [], name


def test_creation_bounds_include_the_first_and_exclude_the_last(table: TaskTable) -> None:
    put(table, TaskState.RUNNING, 0, created_ms=10)
    table.insert([task(no, created_ms=10 * no) for no in (1, 2, 3)])
    assert listed(table, created_after_ms=20) == [3, 2]
    assert listed(table, created_before_ms=20) == [1, 0]
    assert listed(table, created_after_ms=10, created_before_ms=30, tenant="acme") == [2, 1, 0]


@pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.RUNNING])
def test_a_tag_is_found_whatever_it_is_made_of(table: TaskTable, state: TaskState) -> None:
    for no, tag in enumerate(ODD_TAGS):
        put(table, state, no, tags=(tag,))
    for no, tag in enumerate(ODD_TAGS):
        assert listed(table, tag=tag) == [no]
        assert listed(table, tag=tag, tenant="acme") == [no]


def test_a_tag_is_key_and_value_of_one_pair(table: TaskTable) -> None:
    table.insert([task(1, tags=(("a", "1"), ("b", "2"))), task(2, tags=(("a[", ","), ("]x", "y"))), task(3)])
    assert listed(table, tag=("a", "1")) == listed(table, tag=("b", "2")) == [1]
    for absent in (("a", "2"), ("b", "1"), ("A", "1"), ("a", ""), ("", ""), (",", "],["), ("1", "b")):
        assert listed(table, tag=absent) == []


@pytest.mark.parametrize("wanted", [{}, {"tenant": "acme"}, {"states": (TaskState.QUEUED, TaskState.RUNNING)}])
def test_pages_stay_in_step_while_tasks_are_added(table: TaskTable, wanted: dict) -> None:
    table.insert([task(no, priority=list(Priority)[no % 5]) for no in range(10)])
    table.lease([3, 6], LEASE, RUNNER, 4_000)
    pages, before_no = [], None
    while page := listed(table, before_no=before_no, limit=4, **wanted):
        pages += page
        before_no = page[-1]
        table.insert([task(100 + len(pages))])
    assert pages == list(range(9, -1, -1))


def test_a_commit_takes_nothing_away(table: TaskTable) -> None:
    put(table, TaskState.RUNNING)
    before = seen(table)
    table.commit(mark(1, 0))
    table.commit(mark(1, 1))
    assert seen(table) == before
    table.succeed([(1, b"1", 4_000, 1)], LEASE, 5_000)


def test_passing_says_which_of_these_tasks_have_the_tag_and_the_age(table: TaskTable) -> None:
    """In the order given; ids and numbers that are not asked about do not matter."""
    for no in range(1, 7):
        tags = (("job", "1"), ("x", "y")) if no % 2 else (("job", "11"),)
        put(table, TaskState.QUEUED if no < 5 else TaskState.PAUSED, no, tags=tags, created_ms=1_000 * no)
    nos = [6, 5, 3, 1, 2]
    assert table.passing(nos, ListFilter()) == nos
    assert table.passing(nos, ListFilter("acme", tag=("job", "1"))) == [5, 3, 1]
    assert table.passing(nos, ListFilter(created_after_ms=3_000)) == [6, 5, 3]
    assert table.passing(nos, ListFilter(created_before_ms=3_000)) == [1, 2]
    assert table.passing(nos, ListFilter(tag=("job", "1"), created_after_ms=2_000, created_before_ms=5_000)) == [3]
    assert table.passing([], ListFilter()) == []
    assert table.passing([2], ListFilter(tag=("job", "2"))) == []


def test_totals_are_the_sums_over_a_functions_leaves(table: TaskTable) -> None:
    table.insert([task(1), task(2, priority=Priority.LOW), task(3, function="mail.read"), task(4, tenant="umbrella")])
    table.lease([2], LEASE, RUNNER, 4_000)
    name = task(1).function
    assert {place: count for place, count in table.totals("acme").items() if count} == {
        (name, TaskState.QUEUED): 1,
        (name, TaskState.RUNNING): 1,
        ("mail.read", TaskState.QUEUED): 1,
    }
    assert table.totals("nobody") == {}
