"""Which values a table says are referred to: those of its tasks, and of tasks that are gone, until they are dropped."""

from __future__ import annotations

from helpers.tables import LEASE, RUNNER, put, refuses, task
from taskservice.core.table import TaskTable
from taskservice.core.types import TaskState
from taskservice.core.values import ValueRef, referring

KEYS = [f"value/dt=2026-02-03/{no:032x}" for no in range(6)]
VALUES = [referring(ValueRef(key, 70_000, bytes(32))) for key in KEYS]


def test_payloads_and_results_are_referred_to(table: TaskTable) -> None:
    assert table.references(KEYS) == []
    table.insert([task(1, payload=VALUES[0]), task(2), task(3, payload=VALUES[1])])
    assert table.references(KEYS) == KEYS[:2]
    table.lease([1, 2], LEASE, RUNNER, 4_000)
    table.succeed([(1, VALUES[2], 5_001, 40), (2, b"1", 5_001, 40)], LEASE, 6_000)
    assert table.references(KEYS) == KEYS[:3]
    assert table.references([KEYS[2], KEYS[5], KEYS[0]]) == [KEYS[2], KEYS[0]]
    assert table.references([]) == []
    assert [one.payload for one in table.load([1])] == VALUES[:1]
    assert [one.result for one in table.load([1])] == VALUES[2:3]


def test_a_value_is_referred_to_until_it_is_dropped_whatever_becomes_of_the_task(table: TaskTable) -> None:
    for no, state in enumerate((TaskState.CANCELLED, TaskState.FAILED, TaskState.RETRYING, TaskState.SUCCEEDED)):
        put(table, state, no, payload=VALUES[no])
    assert table.references(KEYS) == KEYS[:4]
    table.drop_references([KEYS[1], KEYS[5]])
    table.drop_references([])
    assert table.references(KEYS) == [KEYS[0], *KEYS[2:4]]


def test_what_is_refused_refers_to_nothing(table: TaskTable) -> None:
    table.insert([task(1)])
    refuses(table, lambda: table.insert([task(2, payload=VALUES[0]), task(1, payload=VALUES[1])]), 1)
    refuses(table, lambda: table.succeed([(1, VALUES[2], 5_001, 40)], LEASE, 6_000), 1)
    assert table.references(KEYS) == []
