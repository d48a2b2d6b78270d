"""Checkpoints in the core: the next lease has the last one that came with the token that the task held."""

from __future__ import annotations

import pytest

from helpers.large import key, reference
from helpers.tables import history_file
from taskservice.core.effects import ValuesDropped
from taskservice.core.events import EndedAsked, FileWritten
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.operations import OperationKind
from taskservice.core.past import WrittenTask
from taskservice.core.story import story
from taskservice.core.types import OutcomeKind, TaskState
from world.machine import Machine, bad, ok


def again(machine: Machine) -> LeaseSpec:
    machine.later(600_000)
    (lease,) = machine.dispatch()
    return lease


def saved(machine: Machine, lease: LeaseSpec, *texts: bytes) -> None:
    machine.report(lease.token, done=False, checkpoints=tuple((lease.tasks[0].no, text) for text in texts))


def dropped(machine: Machine) -> list[str]:
    return [key for effect in machine.released if isinstance(effect, ValuesDropped) for key in effect.keys]


def test_a_first_lease_has_none(machine: Machine) -> None:
    assert machine.run("a").tasks[0].checkpoint == b""


@pytest.mark.parametrize(
    "kind",
    [OutcomeKind.HANDLER_ERROR, OutcomeKind.TIMEOUT, OutcomeKind.CRASHED, OutcomeKind.LOST, OutcomeKind.THROTTLED],
)
def test_the_next_attempt_has_the_last_one(machine: Machine, kind: OutcomeKind) -> None:
    lease = machine.run("a")
    saved(machine, lease, b"1", b"2")
    machine.report(lease.token, bad(lease.tasks[0].no, kind), checkpoints=((lease.tasks[0].no, b"3"),))
    assert again(machine).tasks[0].checkpoint == b"3"


def test_it_outlives_a_lost_runner_and_a_restart(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, b"1")
    machine.restart()
    machine.lose("r1")
    machine.join("r2")
    assert again(machine).tasks[0].checkpoint == b"1"


def test_what_is_handed_back_has_it_in_the_next_lease(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, b"1")
    machine.report(lease.token, handed_back=(lease.tasks[0].no,))
    assert again(machine).tasks[0].checkpoint == b"1"


def test_one_of_a_lost_lease_changes_nothing(machine: Machine) -> None:
    """What it has written is dropped."""
    lost = machine.run("a")
    saved(machine, lost, b"1")
    machine.lose("r1")
    machine.join("r2")
    lease = again(machine)
    saved(machine, lost, reference(7))
    assert dropped(machine) == [key(7)]
    machine.report(lease.token, bad(lease.tasks[0].no), runner="r2")
    assert again(machine).tasks[0].checkpoint == b"1"


def test_values_are_dropped_when_they_are_replaced(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, reference(1))
    assert dropped(machine) == []
    saved(machine, lease, reference(1))
    assert dropped(machine) == [], "a report that comes again"
    saved(machine, lease, reference(2))
    assert dropped(machine) == [key(1)]


def test_success_is_the_end_of_it(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, reference(1))
    machine.report(lease.token, ok(lease.tasks[0].no))
    assert dropped(machine) == [key(1)]


def test_a_dead_letter_keeps_it_for_its_next_run(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, reference(1))
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
    assert machine.task("a").state is TaskState.FAILED
    machine.change(OperationKind.RETRY, "a")
    lease = again(machine)
    assert (lease.tasks[0].run, lease.tasks[0].checkpoint) == (2, reference(1))
    assert dropped(machine) == []


def test_it_goes_with_a_task_that_is_deleted(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, reference(1))
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
    machine.change(OperationKind.DELETE, "a")
    assert dropped(machine) == [key(1)]


def test_it_goes_when_its_task_leaves_for_history(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, reference(1))
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
    machine.later(10**10)
    answer = machine.ask(EndedAsked(machine.next_ref(), True, None, 10, 10**6))
    (task,) = answer.tasks
    rows = (WrittenTask(task.no, 0, task.run, task.state),)
    machine.ask(FileWritten(machine.next_ref(), history_file(), rows, True))
    assert dropped(machine) == [key(1)]


def test_a_story_tells_of_it(machine: Machine) -> None:
    lease = machine.run("a")
    saved(machine, lease, b"1")
    assert any("checkpoint under" in line for line in story(machine.records, lease.tasks[0].no))
