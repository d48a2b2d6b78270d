"""Tasks of the off-peak lanes: when their times have come, how they leave, and how they are put off."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from helpers.tables import LEAF, LEASE, RUNNER, put, refuses, task
from taskservice.core.table import Changed, Press, QueueKey, TaskTable
from taskservice.core.types import PRESSED_LANES, Lane, Task, TaskState

OFF_PEAK = LEAF._replace(lane=Lane.OFF_PEAK)


def waiting(no: int, **fields: object) -> Task:
    return task(no, **{"lane": Lane.OFF_PEAK, "deadline_ms": 9_000, "press_ms": 5_000, **fields})


def test_the_earliest_press_comes_first(table: TaskTable) -> None:
    table.insert([waiting(1, press_ms=50), waiting(2, press_ms=40), waiting(3, press_ms=51), task(4)])
    assert table.pressed_by(50, 9) == [Press(2, OFF_PEAK, 9_000), Press(1, OFF_PEAK, 9_000)]
    assert table.pressed_by(50, 1) == [Press(2, OFF_PEAK, 9_000)]
    assert table.pressed_by(39, 9) == []
    assert table.next_timed_ms() == 40


def test_only_queued_tasks_are_pressed(table: TaskTable) -> None:
    for no, state in enumerate(state for state in TaskState if state is not TaskState.QUEUED):
        put(table, state, no, lane=Lane.OFF_PEAK, press_ms=1, deadline_ms=2, due_ms=7_000)
    assert table.pressed_by(10_000, 99) == []
    assert table.next_timed_ms() == 7_000
    table.insert([waiting(20, state=TaskState.SCHEDULED, due_ms=6_000, press_ms=1)])
    table.make_due([20])
    assert [press.no for press in table.pressed_by(10_000, 99)] == [20]


@pytest.mark.parametrize("lane", PRESSED_LANES)
def test_a_pressed_task_is_in_the_other_lane_and_otherwise_the_same(table: TaskTable, lane: Lane) -> None:
    before = [waiting(1, lane=lane), waiting(2, lane=lane, expires_ms=8_000, payload=b"longer"), waiting(3, lane=lane)]
    table.insert(before)
    there = LEAF._replace(lane=lane)
    here = LEAF._replace(lane=PRESSED_LANES[lane])
    assert table.press([2, 1]) == [
        Changed(there, left=(1, 2), left_bytes=14),
        Changed(here, entered=(QueueKey(1_001, 1), QueueKey(1_002, 2, 8_000)), entered_bytes=14),
    ]
    after = [replace(each, lane=PRESSED_LANES[lane], press_ms=None) for each in before[:2]]
    assert table.load([1, 2, 3]) == [*after, before[2]]
    assert {place: count for place, count in table.counts().items() if count} == {
        (there, TaskState.QUEUED): 1,
        (here, TaskState.QUEUED): 2,
    }
    assert [table.queued_bytes(leaf) for leaf in (there, here)] == [8, 14]
    assert [key.no for key in table.next_queued(here, None, 9)] == [1, 2]
    assert [key.no for key in table.next_queued(there, None, 9)] == [3]


def test_tasks_of_several_leaves_are_pressed_at_once(table: TaskTable) -> None:
    table.insert([waiting(1), waiting(2, tenant="umbrella"), waiting(3)])
    assert [(each.leaf.tenant, each.leaf.lane) for each in table.press([1, 2, 3])] == [
        ("acme", "off_peak"),
        ("acme", ""),
        ("umbrella", "off_peak"),
        ("umbrella", ""),
    ]


def test_put_off_a_task_is_pressed_later(table: TaskTable) -> None:
    table.insert([waiting(1, press_ms=10), waiting(2, press_ms=20)])
    table.put_off([(1, 30)])
    assert [press.no for press in table.pressed_by(99, 9)] == [2, 1]
    assert table.next_timed_ms() == 20
    assert table.load([1]) == [waiting(1, press_ms=30)]


def test_a_task_comes_back_from_an_attempt_into_its_lane(table: TaskTable) -> None:
    table.insert([waiting(1)])
    table.lease([1], LEASE, RUNNER, 4_000)
    table.hand_back([1], LEASE)
    assert table.pressed_by(5_000, 9) == [Press(1, OFF_PEAK, 9_000)]


@pytest.mark.parametrize("wrong", [task(2), waiting(2, state=TaskState.SCHEDULED)], ids=["lane", "state"])
def test_only_what_waits_in_such_a_lane_is_pressed_or_put_off(table: TaskTable, wrong: Task) -> None:
    table.insert([waiting(1), wrong])
    refuses(table, lambda: table.press([1, 2]), 2)
    refuses(table, lambda: table.put_off([(1, 1), (2, 1)]), 2)
    refuses(table, lambda: table.press([1, 3]), 3)
    refuses(table, lambda: table.press([1, 1]), 1)
