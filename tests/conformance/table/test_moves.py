"""How tasks come into a table and move in it: what each move changes, and that an illegal one changes nothing."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from helpers.tables import (
    BOOM,
    LEAF,
    LEASE,
    LEGAL,
    MOVES,
    ODD_TAGS,
    RERUN,
    RUNNER,
    listed,
    one_of_a_kind,
    put,
    refuses,
    seen,
    task,
)
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.table import IllegalMove, TaskTable
from taskservice.core.types import Lane, Priority, Task, TaskState, Token


def test_an_inserted_task_comes_back_field_by_field(table: TaskTable) -> None:
    rich = task(
        7,
        id="Ünï@7",
        priority=Priority.CRITICAL,
        state=TaskState.SCHEDULED,
        payload=bytes(range(256)),
        tags=ODD_TAGS,
        run=2,
        attempt=1,
        crashes=2,
        losses=3,
        started_ms=11,
        ended_ms=12,
        duration_us=13,
        result=b"\0",
        error=BOOM,
        expires_ms=14,
        resume_ms=15,
        deadline_ms=16,
        press_ms=17,
    )
    table.insert([rich, task(8, payload=b"")])
    assert table.load([7, 8]) == [rich, task(8, payload=b"")]


def test_a_task_without_a_result_differs_from_one_with_an_empty_one(table: TaskTable) -> None:
    table.insert([task(1), task(2)])
    table.lease([1, 2], LEASE, RUNNER, 4_000)
    table.succeed([(1, b"", 4_000, 1)], LEASE, 5_000)
    assert [one.result for one in table.load([1, 2])] == [b"", None]


def test_a_version_is_that_of_the_last_lease_and_a_pin_stays_with_its_leaf(table: TaskTable) -> None:
    table.insert([task(1), task(2, pin=3)])
    (leased,) = table.lease([2], LEASE, RUNNER, 4_000, 3)
    assert (leased.version, leased.pin, leased.leaf) == (3, 3, LEAF._replace(pin=3))
    table.hand_back([2], LEASE)
    assert [key.no for key in table.next_queued(LEAF._replace(pin=3), None, 9)] == [2]
    assert [key.no for key in table.next_queued(LEAF, None, 9)] == [1]
    table.lease([1], Token(9, 7), RUNNER, 4_000, 4)
    assert [(one.version, one.pin) for one in table.load([1, 2])] == [(4, 0), (3, 3)]


def test_numbers_need_not_come_in_order(table: TaskTable) -> None:
    table.insert([task(5), task(2)])
    table.insert([task(3)])
    assert listed(table) == [5, 3, 2]


@pytest.mark.parametrize(
    "taken",
    [
        task(1, id="another"),
        task(2, id="task-1"),
        task(3, id="task-4"),
        task(4, id="another"),
    ],
    ids=["number kept", "id kept", "id twice in the call", "number twice in the call"],
)
def test_a_taken_number_or_id_refuses_all_of_the_call(table: TaskTable, taken: Task) -> None:
    table.insert([task(1)])
    refuses(table, lambda: table.insert([task(4), taken, task(9, function="new.leaf")]), taken.no)
    table.insert([task(4), task(9, function="new.leaf")])


@pytest.mark.parametrize("state", sorted({*TaskState} - {TaskState.SCHEDULED, TaskState.QUEUED}))
def test_a_task_is_born_scheduled_or_queued(table: TaskTable, state: str) -> None:
    refuses(table, lambda: table.insert([task(1), task(2, state=TaskState(state))]), 2)


def test_tenants_with_the_same_id_do_not_see_each_other(table: TaskTable) -> None:
    mine, theirs = task(1, id="same"), task(2, id="same", tenant="umbrella")
    table.insert([mine, theirs, task(3, tenant="umbrella")])
    assert table.find("acme", ["same", "task-3"]) == {"same": mine}
    assert table.find("umbrella", ["same"]) == {"same": theirs}
    assert table.find("nobody", ["same"]) == {}
    assert listed(table, tenant="acme") == [1]
    assert listed(table, tenant="umbrella") == [3, 2]
    assert listed(table, tenant="nobody") == []
    assert [leaf.tenant for leaf, _ in table.counts("acme")] == ["acme"]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", LEGAL)
def test_a_move_is_made_exactly_from_the_states_that_allow_it(table: TaskTable, state: str, move: str) -> None:
    put(table, TaskState(state))
    if move in LEGAL[state]:
        MOVES[move](table, [1], LEASE)
        assert listed(table, states=(TaskState(state),)) == []
    else:
        refuses(table, lambda: MOVES[move](table, [1], LEASE), 1)


@pytest.mark.parametrize("state", ["scheduled", "retrying"])
def test_made_due_a_task_is_queued_and_otherwise_the_same(table: TaskTable, state: str) -> None:
    before = put(table, TaskState(state))
    table.make_due([1])
    assert table.load([1]) == [replace(before, state=TaskState.QUEUED)]


def test_a_lease_charges_an_attempt(table: TaskTable) -> None:
    before = put(table, TaskState.QUEUED, attempt=1)
    table.lease([1], LEASE, RUNNER, 4_000)
    assert table.load([1]) == [replace(before, state=TaskState.RUNNING, attempt=2, token=LEASE, started_ms=4_000)]


def test_success_keeps_result_and_times(table: TaskTable) -> None:
    before = put(table, TaskState.RUNNING, error=BOOM)
    table.succeed([(1, b'"r"', 4_500, 77)], LEASE, 6_000)
    after = replace(
        before,
        state=TaskState.SUCCEEDED,
        token=None,
        result=b'"r"',
        started_ms=4_500,
        duration_us=77,
        ended_ms=6_000,
    )
    assert table.load([1]) == [after]
    assert after.error == BOOM


def test_a_retry_waits_with_its_error_and_counts_and_expires_no_more(table: TaskTable) -> None:
    before = put(table, TaskState.RUNNING, expires_ms=7_000)
    table.retry([RetryRow(1, 9_000, BOOM, attempt=0, crashes=2, losses=3, duration_us=77)], LEASE)
    after = replace(
        before,
        state=TaskState.RETRYING,
        token=None,
        started_ms=None,
        expires_ms=None,
        due_ms=9_000,
        error=BOOM,
        attempt=0,
        crashes=2,
        losses=3,
        duration_us=77,
    )
    assert table.load([1]) == [after]


def test_a_retry_says_in_which_lane_the_task_stands_and_how_much_memory_it_asks_for(table: TaskTable) -> None:
    """In that leaf it is counted and queued, and nowhere else."""
    before = put(table, TaskState.RUNNING)
    table.retry([RetryRow(1, 9_000, BOOM, 1, 0, 0, 77, lane=Lane.RETRY, memory_bytes=2**33)], LEASE)
    table.make_due([1])
    leaf = before.leaf._replace(lane=Lane.RETRY, memory_bytes=2**33)
    assert [one.leaf for one in table.load([1])] == [leaf]
    assert table.counts() == {(leaf, TaskState.QUEUED): 1}
    assert [key.no for key in table.next_queued(leaf, None, 9)] == [1]
    assert table.next_queued(before.leaf, None, 9) == []


def test_a_retry_that_asks_for_still_more_memory_is_counted_where_it_is(table: TaskTable) -> None:
    """Bug: in the table in memory it was counted where it had been, for its lane was the same."""
    before = put(table, TaskState.RUNNING)
    for more in (2**33, 2**34):
        table.retry([RetryRow(1, 9_000, BOOM, 1, 0, 0, 77, Lane.RETRY, more)], LEASE)
        table.make_due([1])
        table.lease([1], LEASE, RUNNER, 9_000)
        leaf = before.leaf._replace(lane=Lane.RETRY, memory_bytes=more)
        assert table.counts() == {(leaf, TaskState.RUNNING): 1}


def test_a_failure_is_kept_with_its_error_and_counts(table: TaskTable) -> None:
    before = put(table, TaskState.RUNNING)
    table.fail([DeadRow(1, BOOM, crashes=2, losses=3, duration_us=77)], LEASE, 6_000)
    after = replace(
        before,
        state=TaskState.FAILED,
        token=None,
        error=BOOM,
        crashes=2,
        losses=3,
        duration_us=77,
        ended_ms=6_000,
    )
    assert table.load([1]) == [after]


def test_handed_back_a_task_is_as_before_its_lease(table: TaskTable) -> None:
    before = put(table, TaskState.QUEUED, expires_ms=7_000)
    table.lease([1], LEASE, RUNNER, 4_000)
    table.hand_back([1], LEASE)
    assert table.load([1]) == [before]


def test_stopped_for_others_a_task_is_in_its_place_uncharged_and_the_stop_is_counted(table: TaskTable) -> None:
    before = put(table, TaskState.QUEUED, expires_ms=7_000)
    for times in (1, 2):
        table.lease([1], Token(9, times), RUNNER, 4_000)
        table.preempt([1], Token(9, times))
        assert table.load([1]) == [replace(before, expires_ms=None, preempted=times)]
    table.lease([1], LEASE, RUNNER, 4_000)
    table.fail([DeadRow(1, BOOM, 0, 0, 40)], LEASE, 6_000)
    table.change(RERUN, [1])
    assert table.load([1])[0].preempted == 0, "it is counted in each run anew"


def test_cancelled_while_it_ran_a_task_has_ended_and_may_run_again(table: TaskTable) -> None:
    before = put(table, TaskState.RUNNING, error=BOOM)
    table.cancel([1], LEASE, 6_000)
    assert table.load([1]) == [replace(before, state=TaskState.CANCELLED, token=None, ended_ms=6_000)]
    assert table.grants() == []
    assert {place: count for place, count in table.counts().items() if count} == {(before.leaf, TaskState.CANCELLED): 1}
    table.change(RERUN, [1])
    assert table.load([1])[0].state is TaskState.QUEUED


@pytest.mark.parametrize("token", [Token(3, 8), Token(2, 7), Token(7, 3)])
@pytest.mark.parametrize("move", LEGAL["running"])
def test_a_report_under_another_token_is_refused(table: TaskTable, move: str, token: Token) -> None:
    put(table, TaskState.RUNNING)
    refuses(table, lambda: MOVES[move](table, [1], token), 1)


@pytest.mark.parametrize("move", LEGAL["running"])
def test_a_task_leased_anew_does_not_listen_to_its_old_token(table: TaskTable, move: str) -> None:
    put(table, TaskState.RUNNING)
    table.hand_back([1], LEASE)
    table.lease([1], Token(3, 8), RUNNER, 4_100)
    refuses(table, lambda: MOVES[move](table, [1], LEASE), 1)
    MOVES[move](table, [1], Token(3, 8))


@pytest.mark.parametrize("move", MOVES)
def test_one_wrong_task_refuses_all_of_the_call(table: TaskTable, move: str) -> None:
    for no in (1, 2, 3):
        one_of_a_kind(table, move, no)
    put(table, TaskState.RUNNING if move in LEGAL["cancelled"] else TaskState.CANCELLED, 44)
    refuses(table, lambda: MOVES[move](table, [1, 2, 44, 3], LEASE), 44)


@pytest.mark.parametrize("move", MOVES)
def test_a_task_that_is_not_there_refuses_all_of_the_call(table: TaskTable, move: str) -> None:
    one_of_a_kind(table, move, 1)
    refuses(table, lambda: MOVES[move](table, [1, 55], LEASE), 55)


@pytest.mark.parametrize("move", MOVES)
def test_a_task_named_twice_refuses_all_of_the_call(table: TaskTable, move: str) -> None:
    one_of_a_kind(table, move, 1)
    one_of_a_kind(table, move, 66)
    refuses(table, lambda: MOVES[move](table, [66, 1, 66], LEASE), 66)


@pytest.mark.parametrize("move", MOVES)
def test_a_call_about_no_task_changes_nothing(table: TaskTable, move: str) -> None:
    put(table, TaskState.QUEUED)
    before = seen(table)
    MOVES[move](table, [], LEASE)
    table.insert([])
    assert seen(table) == before


def test_a_refusal_of_thousands_stays_readable(table: TaskTable) -> None:
    with pytest.raises(IllegalMove, match=r"task 100, 101, .* 119 and 4980 more$"):
        table.make_due(range(100, 5_100))


@pytest.mark.parametrize("before", ["", "20261130-abc-1"])
@pytest.mark.parametrize("log", ["", "20261130-abc-2"])
@pytest.mark.parametrize("move", ["succeed", "retry", "fail", "hand_back", "preempt", "cancel"])
def test_where_an_attempts_log_is_replaces_what_was_known_unless_it_wrote_none(
    table: TaskTable, move: str, log: str, before: str
) -> None:
    put(table, TaskState.RUNNING, log=before)
    ends = {
        "succeed": lambda: table.succeed([(1, b"1", 1, 1)], LEASE, 6_000, log),
        "retry": lambda: table.retry([RetryRow(1, 9_000, BOOM, 1, 0, 0, 5, log=log)], LEASE),
        "fail": lambda: table.fail([DeadRow(1, BOOM, 0, 0, 5, log)], LEASE, 6_000),
        "hand_back": lambda: table.hand_back([1], LEASE, log),
        "preempt": lambda: table.preempt([1], LEASE, log),
        "cancel": lambda: table.cancel([1], LEASE, 6_000, log),
    }
    ends[move]()
    assert table.load([1])[0].log == (log or before)
