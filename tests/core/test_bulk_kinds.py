"""Pausing, resuming, running again and deleting all tasks that pass a filter: what each kind has of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.test_bulk import by_state, names
from core.test_changes import failed
from core.test_history import archived, ended, file_of, look, tell, written
from helpers.large import key, reference
from taskservice.core import records as r
from taskservice.core.effects import Deleted, ItemAnswer, ItemStatus, Refusal, TaskAnswer, ValuesDropped
from taskservice.core.events import OperationTurn
from taskservice.core.limits import Limits
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.types import OutcomeKind, TaskState
from world.machine import Machine, bad, function, ok

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


# Delete


def test_what_is_deleted_has_never_been(machine: Machine) -> None:
    """Whatever it was: here or in history, waiting or ended, with large values or without."""
    archived(machine, "past")
    machine.submit("large", payload=reference(1))
    lease = machine.dispatch()[0]
    machine.report(lease.token, ok(lease.tasks[0].no, reference(2)))
    failed(machine, "failed")
    machine.submit("scheduled", delay_ms=60_000)
    machine.submit("paused", "cancelled")
    machine.change(PAUSE, "paused")
    machine.cancel("cancelled")
    machine.run("running")
    machine.submit(*names("q", 3))
    ids = ["past", "large", "failed", "scheduled", "paused", "cancelled", *names("q", 3)]
    operation = machine.bulk(DELETE)
    assert (operation.matched, operation.running) == (len(ids), 1)
    machine.step(2)
    machine.restart()
    machine.finish_bulk()
    assert machine.states() == {"running": "running"}
    assert now(machine, operation).changed == len(ids)
    assert look(machine, "past").past is None
    assert [(item.id, item.status) for item in machine.submit(*ids)] == [(id, ItemStatus.ACCEPTED) for id in ids]


def test_whoever_waits_is_told_and_values_are_dropped_once_it_is_durable(machine: Machine) -> None:
    machine.submit("a", payload=reference(1))
    machine.bulk(DELETE)
    machine.handle(OperationTurn())
    assert not any(isinstance(effect, (Deleted, ValuesDropped)) for effect in machine.shard.release())
    told = machine.commit()
    assert [effect for effect in told if isinstance(effect, (Deleted, ValuesDropped))] == [
        ValuesDropped((key(1),)),
        Deleted((("default", "a"),)),
    ]


def test_what_ran_when_it_began_is_not_deleted_when_it_ends(machine: Machine) -> None:
    lease = machine.run("running")
    machine.submit(*names("a", 5))
    operation = machine.bulk(DELETE)
    machine.step()
    machine.later(1)
    machine.succeed(lease)
    machine.finish_bulk()
    assert machine.states() == {"running": "succeeded"}
    assert now(machine, operation).changed == 5


def test_a_task_that_leaves_for_history_meanwhile_is_deleted_there(machine: Machine) -> None:
    machine.submit(*names("a", 4))
    for id in names("a", 4):
        machine.cancel(id)
    operation = machine.bulk(DELETE)
    machine.step()
    machine.later(10_000)
    tasks = ended(machine)
    assert len(tasks) == 3
    assert tell(machine, file_of(tasks), written(tasks[:2]), last=False) == 2
    machine.step()
    machine.restart()
    machine.finish_bulk()
    assert tell(machine, file_of(tasks), written(tasks[2:], 2)) == 0
    assert machine.states() == {}
    assert machine.state.table.past.files() == {"history/a": 0}
    assert now(machine, operation).changed == 4


def test_only_what_passes_is_deleted_in_history(machine: Machine) -> None:
    archived(machine, "f")
    machine.submit("g", function="app.g")
    machine.succeed(machine.dispatch()[0])
    machine.later(10_000)
    tasks = ended(machine)
    tell(machine, file_of(tasks, "history/b"), written(tasks))
    assert machine.bulk(DELETE, dry_run=True, states=(TaskState.QUEUED,)).matched == 0
    assert machine.bulk(DELETE, dry_run=True, function="app.g", states=(TaskState.SUCCEEDED,)).matched == 1
    assert machine.bulk(CANCEL, dry_run=True).matched == 0
    deep = machine.bulk(DELETE, dry_run=True, created_before_ms=10**15)
    machine.finish_bulk()
    assert now(machine, deep).matched == 2
    machine.bulk(DELETE, function="app.g")
    machine.finish_bulk()
    assert look(machine, "g").past is None
    assert look(machine, "f").past is not None


def test_tenants_delete_their_own(machine: Machine) -> None:
    acme = machine.tenant("acme")
    machine.submit("a", tenant=acme)
    machine.submit("a")
    machine.bulk(DELETE, tenant=acme)
    machine.finish_bulk()
    assert machine.task("a").state is TaskState.QUEUED
    assert machine.state.table.find(acme, ["a"]) == {}
    assert (machine.state.unfinished["default"], machine.state.unfinished[acme]) == (1, 0)
    machine.bulk(DELETE, tenant=None)
    machine.finish_bulk()
    assert machine.states() == {}


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


def statuses(items: tuple[ItemAnswer, ...]) -> dict[str, ItemStatus]:
    return {item.id: item.status for item in items}


def test_an_id_that_is_submitted_again_before_its_task_is_deleted_is_a_new_task(machine: Machine) -> None:
    """It was answered that the task is known, and then the task was deleted: accepted, and lost."""
    machine.submit(*names("a", 6), tags=(("job", "1"),))
    machine.submit("other")
    operation = machine.bulk(DELETE, tag=("job", "1"))
    again = machine.submit("a5", "a3", "other", "a5")
    assert [item.status for item in again] == [
        ItemStatus.ACCEPTED,
        ItemStatus.ACCEPTED,
        ItemStatus.DUPLICATE,
        ItemStatus.DUPLICATE,
    ]
    machine.restart()
    machine.join()
    machine.finish_bulk()
    assert machine.states() == dict.fromkeys(("a5", "a3", "other"), "queued")
    assert now(machine, operation).changed == 6


def test_an_id_in_history_that_is_submitted_again_before_it_is_deleted_is_new(machine: Machine) -> None:
    archived(machine, "f")
    machine.submit("g", function="app.g")
    for wanted in ({"function": "app.f"}, {"created_before_ms": 10**15}):
        machine.bulk(DELETE, **wanted)
        assert statuses(machine.submit("f")) == {"f": ItemStatus.ACCEPTED}
        machine.restart()
        machine.join()
        machine.finish_bulk()
        assert machine.states()["f"] == "queued"
        machine.cancel("f")
        machine.later(10_000)
        tasks = ended(machine)
        tell(machine, file_of(tasks, f"history/{len(wanted)}{next(iter(wanted))}"), written(tasks))
        machine.submit("g", function="app.g")


def test_nobody_is_told_that_a_task_is_known_while_it_may_still_be_deleted(machine: Machine) -> None:
    """What runs is not deleted, but may come back before the operation is there."""
    lease = machine.run("runs")
    machine.submit(*names("a", 5))
    machine.bulk(DELETE)
    (item,) = machine.submit("runs")
    assert (item.status, item.refusal) == (ItemStatus.REFUSED, Refusal.OPERATION_AHEAD)
    assert "submit it again when that is done" in item.message
    machine.report(lease.token, bad(lease.tasks[0].no))
    assert statuses(machine.submit("runs")) == {"runs": ItemStatus.ACCEPTED}
    machine.finish_bulk()
    assert machine.states() == {"runs": "queued"}


def test_a_task_does_not_escape_into_a_part_of_history_that_the_deletion_has_done_with(machine: Machine) -> None:
    """In history a retried task is counted where those are that were not: the deletion had been there."""
    lease = machine.run("retried")
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.submit(*names("a", 5))
    for id in ("retried", *names("a", 5)):
        machine.cancel(id)
    machine.later(10_000)
    tasks = ended(machine)
    operation = machine.bulk(DELETE)
    machine.step(5)
    assert machine.states() == {"retried": "cancelled"}
    assert tell(machine, file_of(tasks), written(tasks)) == 0
    machine.finish_bulk()
    assert look(machine, "retried") == TaskAnswer(None, None)
    assert now(machine, operation).changed == 6
