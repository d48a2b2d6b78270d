"""Deleting all tasks that pass a filter: they have never been, and whoever submits their ids again has new tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.test_bulk import names
from core.test_bulk_kinds import now
from core.test_changes import failed
from core.test_history import archived, ended, file_of, look, tell, written
from helpers.large import key, reference
from taskservice.core.effects import Deleted, ItemAnswer, ItemStatus, Refusal, TaskAnswer, ValuesDropped
from taskservice.core.events import OperationTurn
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.types import TaskState
from world.machine import Machine, bad, function, ok

PAUSE, DELETE = OperationKind.PAUSE, OperationKind.DELETE


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Steps are of four tasks (of one where they are deleted), so that there is always something half done."""
    machine = Machine(Limits(operation_batch_max=4, head_tasks_max=4, lease_tasks_max=4, retention_s=10))
    machine.register(function(), function("app.g"))
    machine.join()
    yield machine
    machine.close()


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


def test_deleting_tasks_that_wait_leaves_history_alone(machine: Machine) -> None:
    """Simulated seed 6 with files: of a filter with no state in which a task has ended nothing was left, which meant any state."""
    archived(machine, "past")
    machine.submit("scheduled", delay_ms=60_000)
    machine.submit(*names("q", 2))
    operation = machine.bulk(DELETE, states=(TaskState.SCHEDULED,), created_after_ms=0)
    machine.finish_bulk()
    assert now(machine, operation).changed == 1
    assert look(machine, "past").past is not None


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
    assert machine.bulk(OperationKind.CANCEL, dry_run=True).matched == 0
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
