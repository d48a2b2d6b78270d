"""The last checkpoint of a task: saved while it runs, kept through whatever becomes of it, gone with it."""

from __future__ import annotations

import pytest

from helpers.large import key, reference
from helpers.tables import DELETE, LEASE, MOVES, RUNNER, history_file, put, refuses, task
from taskservice.core.stretches import Stretch
from taskservice.core.table import TaskTable
from taskservice.core.types import ListFilter, TaskState, Token


def test_the_last_one_counts(table: TaskTable) -> None:
    for no in (1, 2, 3):
        put(table, TaskState.RUNNING, no)
    assert table.checkpoints.of([1, 2, 3]) == {}
    assert table.checkpoints.save([(1, b"10"), (2, b"20")], LEASE) == ()
    assert table.checkpoints.save([(2, b"21"), (2, b"22")], LEASE) == ()
    assert table.checkpoints.of([3, 2, 1]) == {1: b"10", 2: b"22"}
    assert table.checkpoints.of([]) == {}


def test_values_are_referred_to_until_they_are_replaced(table: TaskTable) -> None:
    put(table, TaskState.RUNNING)
    assert table.checkpoints.save([(1, reference(1))], LEASE) == ()
    assert table.checkpoints.save([(1, reference(1))], LEASE) == (), "a report that comes again brings nothing new"
    assert table.checkpoints.save([(1, reference(2)), (1, reference(3))], LEASE) == (key(1), key(2))
    assert table.references([key(no) for no in range(5)]) == [key(1), key(2), key(3)], "until they are dropped"
    assert table.checkpoints.save([(1, b"4")], LEASE) == (key(3),)


def test_only_the_lease_that_a_task_has_can_save(table: TaskTable) -> None:
    put(table, TaskState.RUNNING, 1)
    put(table, TaskState.QUEUED, 2)
    table.checkpoints.save([(1, b"1")], LEASE)
    refuses(table, lambda: table.checkpoints.save([(1, b"2")], Token(3, 8)), 1)
    refuses(table, lambda: table.checkpoints.save([(1, b"2"), (2, b"2")], LEASE), 2)
    refuses(table, lambda: table.checkpoints.save([(9, b"2")], LEASE), 9)


@pytest.mark.parametrize("move", ["retry", "fail", "hand_back", "preempt", "stop", "succeed"])
def test_it_stays_whatever_becomes_of_the_attempt(table: TaskTable, move: str) -> None:
    """Whoever applies the record drops it if it is of no more use."""
    put(table, TaskState.RUNNING)
    table.checkpoints.save([(1, b"1")], LEASE)
    MOVES[move](table, [1], LEASE)
    assert table.checkpoints.of([1]) == {1: b"1"}
    assert table.checkpoints.drop([1, 2]) == ()
    assert table.checkpoints.of([1]) == {}


def test_what_is_dropped_gives_its_values(table: TaskTable) -> None:
    for no in (1, 2, 3):
        put(table, TaskState.RUNNING, no)
    assert table.checkpoints.drop([1]) == ()
    table.checkpoints.save([(1, reference(2)), (2, reference(1)), (3, b"3")], LEASE)
    assert table.checkpoints.drop([1, 2, 3]) == (key(1), key(2))
    assert table.checkpoints.of([1, 2, 3]) == {}


@pytest.mark.parametrize("between", [False, True])
def test_it_is_deleted_with_its_task(table: TaskTable, between: bool) -> None:
    failed = [put(table, TaskState.RUNNING, no) for no in (1, 2)]
    table.checkpoints.save([(1, reference(1)), (2, reference(2))], LEASE)
    MOVES["fail"](table, [1, 2], LEASE)
    if between:
        gone = table.change_between(
            DELETE, Stretch(failed[0].leaf, 0, 1), ListFilter(states=(TaskState.FAILED,)), 10_000
        )
    else:
        (gone,) = table.change(DELETE, [1])
    assert gone.values == (key(1),)
    table.insert([task(3, id="task-1")])
    table.lease([3], LEASE, RUNNER, 4_000)
    assert table.checkpoints.of([1, 2, 3]) == {2: reference(2)}


def test_history_leaves_it_to_whoever_archives(table: TaskTable) -> None:
    put(table, TaskState.RUNNING)
    table.checkpoints.save([(1, reference(1))], LEASE)
    MOVES["fail"](table, [1], LEASE)
    table.past.archive(history_file(), [(1, 0)], last=True)
    assert table.checkpoints.drop([1]) == (key(1),)
