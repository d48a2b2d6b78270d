"""What a table keeps beside the tasks themselves: who runs them, what is queued in bytes, notes, and its place."""

from __future__ import annotations

import pytest

from helpers.tables import CANCEL, LEAF, LEASE, LEGAL, MOVES, RUNNER, mark, put, seen, task
from taskservice.core.table import Grant, TaskTable
from taskservice.core.types import Leaf, Priority, RunnerId, TaskState, Token
from taskservice.journal.store.memory import MemoryTable

OTHER = RunnerId("r2")


def test_a_lease_gives_its_tasks_as_they_are_now(table: TaskTable) -> None:
    table.insert([task(no) for no in range(4)])
    leased = table.lease([2, 0, 3], LEASE, RUNNER, 4_000)
    assert leased == table.load([2, 0, 3])
    assert [(one.no, one.attempt, one.token, one.started_ms) for one in leased] == [
        (no, 1, LEASE, 4_000) for no in (2, 0, 3)
    ]


def test_a_grant_has_those_that_run_in_the_order_in_which_they_were_granted(table: TaskTable) -> None:
    table.insert([task(no) for no in range(9)])
    table.lease([5, 1, 8, 0], Token(2, 1), OTHER, 4_000)
    table.lease([7, 2], Token(1, 9), RUNNER, 4_000)
    table.succeed([(1, b"1", 4_000, 1)], Token(2, 1), 5_000)
    assert table.grants() == [Grant(Token(1, 9), RUNNER, (7, 2)), Grant(Token(2, 1), OTHER, (5, 8, 0))]


@pytest.mark.parametrize("move", LEGAL["running"])
def test_a_grant_ends_with_its_last_task(table: TaskTable, move: str) -> None:
    table.insert([task(1), task(2)])
    table.lease([1, 2], LEASE, RUNNER, 4_000)
    MOVES[move](table, [2], LEASE)
    assert table.grants() == [Grant(LEASE, RUNNER, (1,))]
    MOVES[move](table, [1], LEASE)
    assert table.grants() == []


def test_the_bytes_that_are_queued_follow_every_move(table: TaskTable) -> None:
    for no, state in enumerate(TaskState):
        put(table, state, no, payload=b"x" * (no + 1))
        put(table, state, no + 10, payload=b"x" * 100, function="mail.read")
    queued = list(TaskState).index(TaskState.QUEUED) + 1
    assert table.queued_bytes(LEAF) == queued
    assert table.queued_bytes(Leaf("acme", "mail.read", Priority.NORMAL)) == 100
    assert table.queued_bytes(Leaf("acme", "no.such", Priority.NORMAL)) == 0
    for state, move in (("scheduled", "make_due"), ("retrying", "make_due"), ("running", "preempt")):
        no = list(TaskState).index(TaskState(state))
        MOVES[move](table, [no], LEASE)
        queued += no + 1
        assert table.queued_bytes(LEAF) == queued, move
    waiting = [one.no for one in table.load(range(len(TaskState))) if one.state is TaskState.QUEUED]
    table.lease(waiting[:2], Token(9, 1), RUNNER, 4_000)
    table.change(CANCEL, waiting[2:])
    assert table.queued_bytes(LEAF) == 0


def test_a_note_replaces_the_one_of_its_key_and_keeps_its_place(table: TaskTable) -> None:
    for key, value in (("b", b"1"), ("a", b""), ("c", b"3"), ("a", b"4"), ("b", b"\0")):
        table.note("tenant", key, value)
    table.note("key", "a", b"another kind")
    assert list(table.notes("tenant").items()) == [("b", b"\0"), ("a", b"4"), ("c", b"3")]
    assert table.notes("key") == {"a": b"another kind"}
    assert table.notes("no such kind") == {}


def test_a_note_that_is_taken_away_is_as_if_it_had_never_been(table: TaskTable) -> None:
    """Noted again, it is the last."""
    for key in ("a", "b", "c"):
        table.note("tenant", key, key.encode())
    table.note("key", "a", b"another kind")
    for key in ("a", "c", "nobody"):
        table.note("tenant", key, None)
    assert (table.notes("tenant"), table.notes("key")) == ({"b": b"b"}, {"a": b"another kind"})
    for key in ("c", "a"):
        table.note("tenant", key, b"again")
    assert list(table.notes("tenant")) == ["b", "c", "a"]


def test_the_mark_is_that_of_the_last_commit(table: TaskTable) -> None:
    assert table.mark is None
    table.commit(mark(1, 0))
    put(table, TaskState.QUEUED)
    assert table.mark == mark(1, 0)
    table.commit(mark(2, 7))
    table.fold()
    assert table.mark == mark(2, 7)
    assert table.wal_bytes == 0


def test_a_copy_in_memory_goes_its_own_way() -> None:
    table = MemoryTable()
    for no, state in enumerate(TaskState):
        put(table, state, no)
    table.note("kind", "a", b"1")
    table.commit(mark(1, 0))
    before = (seen(table), table.mark)
    copy = table.copy()
    assert (seen(copy), copy.mark) == before
    for one in (copy, table):
        one.note("kind", "b", b"2")
        one.insert([task(50)])
        one.change(CANCEL, [1])
        one.succeed([(2, b"1", 4_000, 1)], LEASE, 5_000)
        one.commit(mark(1, 1))
        if one is copy:
            assert (seen(table), table.mark) == before
    assert seen(copy) == seen(table)
