"""Where a task's log is: said by reports, kept in its row, told to its next attempt."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from taskservice.core.events import RunnerJoined, RunnerReported
from taskservice.core.lease_wire import HeldLease, LeaseReport, RunnerReport
from taskservice.core.report import LOST_LOG
from taskservice.core.types import OutcomeKind, RunnerId, TaskState
from world.machine import Machine, bad, ok

HERE, THERE = "20261130-abc-1", "20261130-abc-2"


def report(machine: Machine, *reports: LeaseReport) -> None:
    machine.handle(RunnerReported(0, RunnerReport(RunnerId("r1"), reports)))


def test_a_success_says_where_its_log_is(machine: Machine) -> None:
    lease = machine.run("a")
    report(machine, LeaseReport(lease.token, (ok(lease.tasks[0].no),), done=True, log=HERE))
    assert machine.task("a").log == HERE


def test_what_writes_nothing_keeps_what_was_written_before_and_its_next_attempt_is_told(machine: Machine) -> None:
    lease = machine.run("a")
    report(machine, LeaseReport(lease.token, (bad(lease.tasks[0].no, OutcomeKind.TIMEOUT),), done=True, log=HERE))
    machine.later(1_000)
    (lease,) = machine.dispatch()
    assert lease.tasks[0].log == HERE
    report(machine, LeaseReport(lease.token, (ok(lease.tasks[0].no),), done=True))
    assert machine.task("a").log == HERE


@pytest.mark.parametrize("kind", [OutcomeKind.NON_RETRYABLE, OutcomeKind.HANDLER_ERROR])
def test_a_dead_letter_and_a_retry_have_their_logs(machine: Machine, kind: OutcomeKind) -> None:
    lease = machine.run("a")
    report(machine, LeaseReport(lease.token, (bad(lease.tasks[0].no, kind),), done=True, log=HERE))
    assert machine.task("a").log == HERE


def test_what_is_handed_back_has_its_log(machine: Machine) -> None:
    lease = machine.run("a")
    report(machine, LeaseReport(lease.token, (), (lease.tasks[0].no,), done=True, log=HERE))
    assert (machine.task("a").state, machine.task("a").log) == (TaskState.QUEUED, HERE)


def test_of_a_lost_attempt_there_is_what_was_stored_while_it_ran(machine: Machine) -> None:
    lease = machine.run("a")
    no = lease.tasks[0].no
    report(machine, LeaseReport(lease.token, logs=((no, HERE), (no + 1, "20261130-abc-9"))))
    report(machine, LeaseReport(lease.token, logs=((no, THERE),)))
    assert machine.task("a").log == ""
    report(machine, LeaseReport(lease.token, done=True))
    assert machine.task("a").log == THERE


def test_of_a_lost_attempt_of_which_nothing_is_stored_that_is_known(machine: Machine) -> None:
    """Before it, there may be others' logs."""
    lease = machine.run("a")
    report(machine, LeaseReport(lease.token, (bad(lease.tasks[0].no, OutcomeKind.TIMEOUT),), done=True, log=HERE))
    machine.later(1_000)
    (lease,) = machine.dispatch()
    report(machine, LeaseReport(lease.token, done=True))
    assert machine.task("a").log == f"~{HERE}"


@pytest.mark.parametrize("kind", [OutcomeKind.SUCCEEDED, OutcomeKind.NON_RETRYABLE, None])
def test_a_log_that_its_machine_could_not_keep_is_not_taken_for_silence(
    machine: Machine, kind: OutcomeKind | None
) -> None:
    """Whether the attempt has ended (`kind`) or was handed back."""
    lease = machine.run("a")
    report(machine, LeaseReport(lease.token, (bad(lease.tasks[0].no, OutcomeKind.TIMEOUT),), done=True, log=HERE))
    machine.later(1_000)
    (lease,) = machine.dispatch()
    no = lease.tasks[0].no
    ended, back = ((bad(no, kind),), ()) if kind else ((), (no,))
    report(machine, LeaseReport(lease.token, ended, back, done=True, log=LOST_LOG))
    assert machine.task("a").log == f"~{HERE}"


def test_reports_of_one_lease_that_came_together_keep_their_places(machine: Machine) -> None:
    machine.succeed(machine.run("warm"))
    machine.submit(*"abcd")
    (lease, *_) = machine.dispatch()
    first, second = (task for task in lease.tasks[:2])
    reports = (
        LeaseReport(lease.token, (ok(first.no),), log=HERE),
        LeaseReport(lease.token, (ok(second.no),), log=THERE),
    )
    report(machine, *reports)
    assert [machine.task(task.id).log for task in (first, second)] == [HERE, THERE]


def test_a_dispatcher_that_has_just_started_hears_what_is_stored_from_the_runner(machine: Machine) -> None:
    lease = machine.run("a")
    held = HeldLease(lease.token, lease.resources, ((lease.tasks[0].no, HERE),))
    machine.handle(RunnerJoined(RunnerId("r1"), "node", replace(lease.resources, cpu_m=1_000), (held,)))
    assert machine.state.leases[lease.token].logs == {lease.tasks[0].no: HERE}
