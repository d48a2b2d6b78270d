"""What people do to tasks, and what their time does: named ones here; all of a stretch in `test_ranges`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from helpers.large import key, reference
from helpers.tables import (
    BOOM,
    CANCEL,
    DELETE,
    LEAF,
    LEASE,
    PAUSE,
    RERUN,
    RESUME,
    RUNNER,
    listed,
    mark,
    put,
    seen,
    task,
)
from taskservice.core.history import DEAD, DONE
from taskservice.core.operations import SOURCES, OperationKind
from taskservice.core.records import DeadRow
from taskservice.core.table import Changed, QueueKey, TaskTable
from taskservice.core.types import TERMINAL_STATES, TaskState


@pytest.mark.parametrize("state", SOURCES[OperationKind.CANCEL])
def test_cancelled_a_task_ends_and_is_otherwise_the_same(table: TaskTable, state: TaskState) -> None:
    before = put(table, state, expires_ms=9_000)
    (changed,) = table.change(CANCEL, [1])
    assert table.load([1]) == [replace(before, state=TaskState.CANCELLED, ended_ms=6_000)]
    assert (changed.leaf, changed.ids, changed.unfinished) == (LEAF, ("task-1",), -1)


@pytest.mark.parametrize("state", SOURCES[OperationKind.PAUSE])
@pytest.mark.parametrize("resume_ms", [None, 7_000])
def test_paused_a_task_waits_for_nothing_but_its_own_times(
    table: TaskTable, state: TaskState, resume_ms: int | None
) -> None:
    before = put(table, state)
    (changed,) = table.change(PAUSE._replace(resume_ms=resume_ms), [1])
    assert table.load([1]) == [replace(before, state=TaskState.PAUSED, resume_ms=resume_ms)]
    assert (changed.unfinished, changed.entered) == (0, ())
    assert (table.next_queued(LEAF, None, 9), table.due_by(10**15, 9)) == ([], [])
    assert table.next_timed_ms() == resume_ms
    assert (table.resumed_by(6_999, 9), table.resumed_by(7_000, 9)) == ([], [1] if resume_ms else [])


@pytest.mark.parametrize("state", SOURCES[OperationKind.PAUSE])
def test_resumed_a_task_waits_as_before(table: TaskTable, state: TaskState) -> None:
    before = put(table, state, due_ms=99_000)
    late = put(table, state, 2, due_ms=99_000)
    table.change(PAUSE._replace(resume_ms=7_000), [1, 2])
    table.change(RESUME, [1])
    table.change(RESUME._replace(at_ms=99_000), [2])
    waiting = TaskState.RETRYING if state is TaskState.RETRYING else TaskState.SCHEDULED
    now = TaskState.QUEUED if before.due_ms <= RESUME.at_ms else waiting
    assert table.load([1, 2]) == [replace(before, state=now), replace(late, state=TaskState.QUEUED)]
    assert table.resumed_by(10**15, 9) == []


@pytest.mark.parametrize("state", TERMINAL_STATES)
def test_run_again_a_task_is_as_if_it_had_been_accepted_now(table: TaskTable, state: TaskState) -> None:
    before = put(table, state, expires_ms=5_500)
    (changed,) = table.change(RERUN, [1])
    after = replace(task(1), state=TaskState.QUEUED, due_ms=6_000, run=2)
    assert (table.load([1]), before.run) == ([after], 1)
    assert changed == Changed(LEAF, ("task-1",), 1, entered=(QueueKey(6_000, 1),), entered_bytes=8)
    assert table.expired_by(10**15, 9) == []
    table.lease([1], LEASE, RUNNER, 7_000)
    table.fail([], LEASE, 8_000)


def test_run_again_a_task_has_no_result_and_says_to_which_value_that_referred(table: TaskTable) -> None:
    table.insert([task(1, payload=reference(1)), task(2), task(3)])
    table.lease([1, 2, 3], LEASE, RUNNER, 4_000)
    table.succeed([(1, reference(2), 4_000, 1), (2, b"2", 4_000, 1)], LEASE, 5_000)
    table.fail([DeadRow(3, BOOM, 1, 1, 40)], LEASE, 5_000)
    (changed,) = table.change(RERUN, [3, 2, 1])
    assert changed.values == (key(2),)
    assert [each.result for each in table.load([1, 2, 3])] == [None, None, None]
    assert [table.past.ended(states, 10**15, None, 9, 10**9) for states in (DEAD, DONE)] == [[], []]
    assert table.references([key(1), key(2)]) == [key(1), key(2)]


@pytest.mark.parametrize("state", SOURCES[OperationKind.DELETE])
def test_deleted_a_task_has_never_been(table: TaskTable, state: TaskState) -> None:
    table.insert([task(9)])
    before = seen(table)
    put(table, state, 1, expires_ms=9_000)
    (changed,) = table.change(DELETE, [1])
    assert (changed.ids, changed.unfinished) == (("task-1",), 0 if state in TERMINAL_STATES else -1)
    assert seen(table) == before
    assert table.next_timed_ms() is None
    table.insert([task(1)])
    assert [one.no for one in table.find("acme", ["task-1"]).values()] == [1]


def test_an_id_that_was_deleted_may_be_anothers_and_is_in_the_index_once(table: TaskTable) -> None:
    """Whether the index has it already or not."""
    for no in range(1, 6):
        put(table, TaskState.SUCCEEDED, no, id="again")
        table.commit(mark(1, no))
        table.change(DELETE, [no])
    put(table, TaskState.QUEUED, 9, id="again")
    assert [one.no for one in table.find("acme", ["again"]).values()] == [9]


def test_what_is_deleted_says_to_which_values_it_referred(table: TaskTable) -> None:
    table.insert([task(1, payload=reference(1)), task(2, payload=reference(2)), task(3)])
    table.lease([1, 3], LEASE, RUNNER, 4_000)
    table.succeed([(1, reference(3), 4_000, 1), (3, b"3", 4_000, 1)], LEASE, 5_000)
    (changed,) = table.change(DELETE, [3, 2, 1])
    assert changed.values == tuple(sorted([key(1), key(2), key(3)]))
    assert table.references([key(1), key(2), key(3)]) == [key(1), key(2), key(3)]


@pytest.mark.parametrize("change", [CANCEL, PAUSE, DELETE])
def test_what_leaves_the_queue_is_named_with_its_bytes(table: TaskTable, change) -> None:
    table.insert([task(no, payload=b"x" * no) for no in (3, 1, 2)])
    put(table, TaskState.SCHEDULED, 4)
    (changed,) = table.change(change, [4, 3, 1])
    assert (changed.ids, changed.left, changed.left_bytes) == (("task-1", "task-3", "task-4"), (1, 3), 4)
    assert table.queued_bytes(LEAF) == 2


def test_what_enters_the_queue_is_named_in_its_order(table: TaskTable) -> None:
    for no, due_ms in ((1, 50), (2, 40), (3, 99_000)):
        put(table, TaskState.PAUSED, no, due_ms=due_ms, payload=b"x" * no, expires_ms=no + 7_000)
    (changed,) = table.change(RESUME, [1, 2, 3])
    assert changed.entered == (QueueKey(40, 2, 7_002), QueueKey(50, 1, 7_001))
    assert changed.entered_bytes == table.queued_bytes(LEAF) == 3
    assert table.next_queued(LEAF, None, 9) == list(changed.entered)


def test_each_leaf_is_told_of_apart(table: TaskTable) -> None:
    table.insert([task(1), task(2, function="mail.read"), task(3), task(4, function="mail.read", tenant="umbrella")])
    changed = table.change(CANCEL, [2, 1, 4, 3])
    assert [(each.leaf.tenant, each.leaf.function, each.ids) for each in changed] == [
        ("acme", "mail.read", ("task-2",)),
        ("acme", "mail.send", ("task-1", "task-3")),
        ("umbrella", "mail.read", ("task-4",)),
    ]


@pytest.mark.parametrize("state", ["scheduled", "queued", "paused"])
def test_expired_a_task_ends_and_is_otherwise_the_same(table: TaskTable, state: str) -> None:
    before = put(table, TaskState(state), expires_ms=5_999)
    (changed,) = table.expire([1], 6_000)
    assert table.load([1]) == [replace(before, state=TaskState.EXPIRED, ended_ms=6_000)]
    assert (changed.unfinished, changed.left) == (-1, (1,) if state == "queued" else ())


def test_time_is_over_for_those_that_have_not_started(table: TaskTable) -> None:
    """The longest over first; not for what runs, has run or has ended, nor for what never expires."""
    for no, state in enumerate(TaskState):
        put(table, state, no, expires_ms=100 - no)
        put(table, state, no + 20)
    nos = [list(TaskState).index(TaskState(state)) for state in ("paused", "queued", "scheduled")]
    assert table.expired_by(10**15, 99) == nos
    assert table.expired_by(100, 2) == nos[:2]
    assert table.expired_by(100 - nos[1], 99) == nos[:2]
    assert table.next_timed_ms() == 100 - nos[0]
    table.hand_back([list(TaskState).index(TaskState.RUNNING)], LEASE)
    assert list(TaskState).index(TaskState.RUNNING) in table.expired_by(100, 99)


def test_queued_tasks_are_known_with_the_time_at_which_they_expire(table: TaskTable) -> None:
    table.insert([task(1, due_ms=5, expires_ms=70), task(2, due_ms=5), task(3, due_ms=6, expires_ms=80)])
    keys = [QueueKey(5, 1, 70), QueueKey(5, 2, None), QueueKey(6, 3, 80)]
    assert table.next_queued(LEAF, None, 9) == keys
    for at in range(3):
        assert table.next_queued(LEAF, keys[at], 9) == keys[at + 1 :]
        assert table.next_queued(LEAF, keys[at]._replace(expires_ms=None), 9) == keys[at + 1 :]


def test_the_clock_is_waited_for_by_whatever_comes_first(table: TaskTable) -> None:
    put(table, TaskState.SCHEDULED, 1, due_ms=50)
    assert table.next_timed_ms() == 50
    put(table, TaskState.QUEUED, 2, due_ms=1, expires_ms=40)
    assert table.next_timed_ms() == 40
    put(table, TaskState.QUEUED, 3, due_ms=1)
    table.change(PAUSE._replace(resume_ms=30), [3])
    assert table.next_timed_ms() == 30
    table.change(RESUME, [3])
    table.expire([2], 45)
    assert table.next_timed_ms() == 50


def test_a_task_that_comes_back_from_an_attempt_has_an_error_when_it_is_paused(table: TaskTable) -> None:
    """By that it is known what it was."""
    before = put(table, TaskState.RETRYING)
    table.change(PAUSE, [1])
    assert (before.error, table.load([1])[0].error) == (BOOM, BOOM)
    table.change(RESUME._replace(at_ms=before.due_ms - 1), [1])
    assert listed(table, states=(TaskState.RETRYING,)) == [1]
