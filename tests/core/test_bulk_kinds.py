"""Pausing, resuming, running again and deleting all tasks that pass a filter: what each kind has of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.test_bulk import by_state, names
from core.test_changes import failed
from taskservice.core import records as r
from taskservice.core.limits import Limits
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.types import OutcomeKind, TaskState
from world.machine import Machine, bad, function

CANCEL, PAUSE, RESUME, RETRY, DELETE = OperationKind


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Steps are of four tasks (of one where they are deleted), so that there is always something half done."""
    machine = Machine(Limits(operation_batch_max=4, head_tasks_max=4, lease_tasks_max=4, retention_s=10))
    machine.register(function(), function("app.g"))
    machine.join()
    yield machine
    machine.close()


def now(machine: Machine, operation: Operation) -> Operation:
    found = machine.operation(operation.id, None)
    assert found is not None
    return found


def served(machine: Machine) -> list[str]:
    """All that is queued runs and succeeds; gives the ids in the order in which that happened."""
    ids: list[str] = []
    while leases := machine.dispatch():
        for lease in leases:
            ids += [task.id for task in lease.tasks]
            machine.succeed(lease)
    return ids


# Pause and resume


def test_what_is_paused_does_not_run_from_the_first_record_on(machine: Machine) -> None:
    machine.submit(*names("a", 10))
    operation = machine.bulk(PAUSE)
    assert (operation.matched, by_state(machine)) == (10, {"queued": 10})
    machine.submit("later")
    assert served(machine) == ["later"]
    machine.step()
    assert by_state(machine) == {"paused": 4, "queued": 6, "succeeded": 1}
    machine.restart()
    machine.join()
    assert served(machine) == []
    machine.finish_bulk()
    assert by_state(machine) == {"paused": 10, "succeeded": 1}
    assert now(machine, operation).changed == 10


def test_what_runs_is_left_alone_and_counted(machine: Machine) -> None:
    machine.submit(*names("r", 2), tags=(("job", "1"),))
    machine.join("r2")
    assert len(machine.dispatch()) == 2
    machine.submit("queued", tags=(("job", "1"),))
    machine.submit("g", function="app.g")
    for wanted in ({"function": "app.f"}, {"tag": ("job", "1")}, {}):
        assert machine.bulk(PAUSE, dry_run=True, **wanted).running == 2
    assert machine.bulk(PAUSE, dry_run=True, function="app.g").running == 0
    assert machine.bulk(PAUSE, dry_run=True, states=(TaskState.QUEUED,)).running == 0
    assert machine.bulk(PAUSE, tenant=None).running == 2
    machine.finish_bulk()
    assert by_state(machine) == {"running": 2, "paused": 2}


def test_what_comes_back_from_an_attempt_is_paused_as_well(machine: Machine) -> None:
    machine.succeed(machine.run("warm"))
    machine.submit("a", "b")
    (lease,) = machine.dispatch()
    operation = machine.bulk(PAUSE)
    machine.report(lease.token, bad(lease.tasks[0].no), handed_back=(lease.tasks[1].no,))
    assert by_state(machine) == {"succeeded": 1, "retrying": 1, "queued": 1}
    machine.later(5_000)
    assert by_state(machine) == {"succeeded": 1, "paused": 1, "queued": 1}
    assert machine.dispatch() == []
    machine.finish_bulk()
    assert by_state(machine) == {"succeeded": 1, "paused": 2}
    assert now(machine, operation).changed == 2


def test_resumed_they_run_in_their_old_order(machine: Machine) -> None:
    machine.submit(*names("a", 6))
    machine.later(1)
    machine.submit(*names("b", 6))
    machine.bulk(PAUSE, states=(TaskState.QUEUED,))
    machine.finish_bulk()
    machine.later(1)
    machine.submit("c")
    operation = machine.bulk(RESUME)
    assert operation.matched == 12
    machine.step()
    assert by_state(machine) == {"queued": 5, "paused": 8}
    machine.finish_bulk()
    assert served(machine) == [*names("a", 6), *names("b", 6), "c"]


def test_resumed_they_wait_as_they_did(machine: Machine) -> None:
    lease = machine.run("retrying")
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.submit("scheduled", delay_ms=60_000)
    machine.submit("queued")
    before = machine.states()
    machine.bulk(PAUSE)
    machine.finish_bulk()
    assert by_state(machine) == {"paused": 3}
    machine.bulk(RESUME)
    machine.finish_bulk()
    assert machine.states() == before


def test_a_pause_that_ends_by_itself_ends_for_all_of_them(machine: Machine) -> None:
    machine.submit(*names("a", 9))
    machine.bulk(PAUSE, resume_ms=machine.now_ms + 1_000)
    machine.finish_bulk()
    machine.restart()
    machine.join()
    machine.later(999)
    assert by_state(machine) == {"paused": 9}
    machine.later(1)
    assert by_state(machine) == {"queued": 9}
    assert served(machine) == names("a", 9)


def test_resuming_at_once_waits_until_all_are_paused(machine: Machine) -> None:
    """Else it would come past those that are paused later."""
    machine.submit(*names("a", 20))
    machine.bulk(PAUSE)
    machine.step()
    resumed = machine.bulk(RESUME)
    machine.restart()
    machine.step(2)
    assert by_state(machine) == {"paused": 12, "queued": 8}
    machine.finish_bulk()
    assert by_state(machine) == {"queued": 20}
    assert now(machine, resumed).changed == 20


def test_their_order_outlives_a_restart_and_a_clock_that_goes_back(machine: Machine) -> None:
    """Found by seed 2055: a state that was restored had them in the order of their times."""
    machine.submit(*names("a", 8))
    machine.bulk(PAUSE)
    machine.now_ms -= 1_000
    machine.bulk(RESUME)
    machine.restart()
    machine.finish_bulk()
    machine.later(1_000)
    assert by_state(machine) == {"queued": 8}


def test_operations_on_other_functions_wait_for_nobody(machine: Machine) -> None:
    machine.submit(*names("a", 20))
    machine.submit("g", function="app.g")
    machine.bulk(PAUSE, function="app.f")
    machine.bulk(CANCEL, function="app.g")
    machine.step(2)
    assert machine.states()["g"] == "cancelled"


def test_two_pauses_until_different_times_come_one_after_the_other(machine: Machine) -> None:
    machine.submit(*names("a", 8))
    machine.bulk(PAUSE, resume_ms=machine.now_ms + 1_000)
    machine.bulk(PAUSE)
    machine.finish_bulk()
    machine.later(1_000)
    assert by_state(machine) == {"queued": 8}


def test_a_paused_task_that_is_to_be_cancelled_is_not_resumed_on_the_way(machine: Machine) -> None:
    machine.submit("a")
    machine.change(PAUSE, "a", resume_ms=machine.now_ms + 1_000)
    operation = machine.bulk(CANCEL, states=(TaskState.PAUSED,))
    machine.later(1_000)
    assert machine.states() == {"a": "cancelled"}
    assert isinstance(machine.records[-1], r.OperationCaught)
    machine.finish_bulk()
    assert now(machine, operation).changed == 1


# Run again


def test_dead_letters_run_again_in_steps(machine: Machine) -> None:
    for id in names("a", 6):
        failed(machine, id)
    machine.submit("cancelled", "queued")
    machine.cancel("cancelled")
    operation = machine.bulk(RETRY, states=(TaskState.FAILED,))
    assert operation.matched == 6
    machine.step()
    assert by_state(machine) == {"failed": 2, "cancelled": 1, "queued": 5}
    machine.restart()
    machine.join()
    machine.finish_bulk()
    assert by_state(machine) == {"cancelled": 1, "queued": 7}
    assert sorted(served(machine)) == [*names("a", 6), "queued"]
    assert {machine.task(id).run for id in names("a", 6)} == {2}


def test_what_fails_after_the_operation_has_begun_to_go_on_does_not_run_again(machine: Machine) -> None:
    for id in names("a", 6):
        failed(machine, id)
    lease = machine.run("late")
    operation = machine.bulk(RETRY)
    machine.step()
    machine.later(1)
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
    machine.finish_bulk()
    assert by_state(machine) == {"queued": 6, "failed": 1}
    assert now(machine, operation).changed == operation.matched == 6


def test_what_an_earlier_operation_cancels_runs_again_with_the_others(machine: Machine) -> None:
    machine.submit(*names("a", 20))
    machine.bulk(CANCEL)
    machine.step()
    machine.later(1)
    machine.bulk(RETRY)
    machine.later(1)
    machine.finish_bulk()
    assert by_state(machine) == {"queued": 20}


@pytest.mark.parametrize("kind", OperationKind)
def test_a_head_is_filled_again_in_small_pieces(machine: Machine, kind: OperationKind) -> None:
    """Also where a step changes all of it, and when other tasks are among those that stay."""
    machine.submit(*names("a", 12), tags=(("job", "1"),))
    machine.submit(*names("b", 3))
    if kind is RESUME:
        machine.bulk(PAUSE, tag=("job", "1"))
        machine.finish_bulk()
    elif kind is RETRY:
        machine.bulk(CANCEL, tag=("job", "1"))
        machine.finish_bulk()
    machine.later(1)
    machine.bulk(kind, tag=("job", "1"))
    machine.finish_bulk()
    expected = {
        CANCEL: names("b", 3),
        PAUSE: names("b", 3),
        DELETE: names("b", 3),
        RESUME: [*names("a", 12), *names("b", 3)],
        RETRY: [*names("b", 3), *names("a", 12)],
    }
    assert served(machine) == expected[kind]
