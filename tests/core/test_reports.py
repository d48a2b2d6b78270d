"""Reports: what each outcome leads to, which reports count, and how long a retry waits."""

from __future__ import annotations

import pytest

from taskservice.core.events import RunnerReported
from taskservice.core.lease_wire import LeaseReport, RunnerReport
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.report import RULES
from taskservice.core.types import OutcomeKind, RunnerId, TaskState, Token
from world.machine import Machine, bad, function, ok


def test_every_bad_outcome_has_a_rule() -> None:
    assert set(RULES) == set(OutcomeKind) - {OutcomeKind.SUCCEEDED}


def test_a_success_keeps_its_result(machine: Machine) -> None:
    lease = machine.run("a")
    machine.report(lease.token, ok(lease.tasks[0].no, b'{"n":1}', duration_us=77))
    task = machine.task("a")
    assert (task.state, task.result, task.duration_us, task.token) == (TaskState.SUCCEEDED, b'{"n":1}', 77, None)
    assert machine.state.leases == {}


@pytest.mark.parametrize("kind", [OutcomeKind.HANDLER_ERROR, OutcomeKind.TIMEOUT, OutcomeKind.IMPORT_FAILED])
def test_a_retryable_error_is_tried_again_until_its_attempts_are_used(machine: Machine, kind: OutcomeKind) -> None:
    machine.submit("a")
    for attempt, wait_ms in ((1, 100), (2, 200)):
        (lease,) = machine.dispatch()
        machine.report(lease.token, bad(lease.tasks[0].no, kind))
        task = machine.task("a")
        assert (task.state, task.attempt, task.due_ms) == (TaskState.RETRYING, attempt, machine.now_ms + wait_ms)
        machine.later(wait_ms)
    (lease,) = machine.dispatch()
    machine.report(lease.token, bad(lease.tasks[0].no, kind, "the last"))
    task = machine.task("a")
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert (task.error.reason, task.error.message, task.attempt) == (kind.value, "the last", 3)


@pytest.mark.parametrize("kind", [OutcomeKind.NON_RETRYABLE, OutcomeKind.BAD_PAYLOAD, OutcomeKind.BAD_RESULT])
def test_a_final_error_is_a_dead_letter_at_once(machine: Machine, kind: OutcomeKind) -> None:
    lease = machine.run("a", payload=b'{"keep":"me"}')
    machine.report(lease.token, bad(lease.tasks[0].no, kind))
    task = machine.task("a")
    assert (task.state, task.attempt, task.payload) == (TaskState.FAILED, 1, b'{"keep":"me"}')


def test_a_throttled_attempt_does_not_count_and_waits_as_told(machine: Machine) -> None:
    lease = machine.run("a")
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.THROTTLED, retry_after_ms=5_000))
    task = machine.task("a")
    assert (task.state, task.attempt) == (TaskState.RETRYING, 0)
    assert 5_000 <= task.due_ms - machine.now_ms <= 5_500


def test_a_lost_attempt_does_not_count_and_runs_again_at_once(machine: Machine) -> None:
    lease = machine.run("a")
    machine.lose("r1")
    task = machine.task("a")
    assert (task.state, task.attempt, task.losses) == (TaskState.RETRYING, 0, 1)
    machine.join("r2")
    machine.later(0)
    (again,) = machine.dispatch()
    assert again.token != lease.token


def test_what_a_lost_runner_had_goes_back_to_its_old_places_before_all_that_came_since(machine: Machine) -> None:
    """Found by a chaos soak: it stood behind the whole backlog, for as long as that takes."""
    machine.run("a")
    machine.later(60_000)
    machine.submit("b")
    machine.lose("r1")
    machine.later(60_000)
    machine.join("r2")
    (again,) = machine.dispatch()
    assert [task.id for task in again.tasks] == ["a"]


def test_a_task_that_kills_its_process_is_poison_after_max_crashes(machine: Machine) -> None:
    machine.register(function(max_crashes=2))
    machine.submit("a", max_attempts=3)
    for _ in range(2):
        (lease,) = machine.dispatch()
        machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.CRASHED, "exit code 1"))
        machine.later(1_000)
    task = machine.task("a")
    assert task.error is not None
    assert (task.state, task.error.reason, task.crashes) == (TaskState.FAILED, "poison", 2)
    assert "max_crashes 2" in task.error.message


def test_losses_are_bounded_too(machine: Machine) -> None:
    machine.submit("a")
    for n in range(machine.limits.losses_max):
        machine.dispatch()
        machine.lose(f"r{n + 1}")
        machine.join(f"r{n + 2}")
        machine.later(0)
    task = machine.task("a")
    assert task.error is not None
    assert (task.state, task.error.reason, task.attempt) == (TaskState.FAILED, "poison", 1)


def test_what_its_downstream_never_has_room_for_ends_as_throttled() -> None:
    """Not charged, so nothing else would end it; each run is counted anew, and over restarts."""
    machine = Machine(Limits(throttles_max=3))
    machine.register()
    machine.join()
    machine.submit("a", max_attempts=1)
    for n in range(3):
        machine.restart()
        machine.join()
        (lease,) = machine.dispatch()
        machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.THROTTLED, "429", retry_after_ms=1_000))
        assert machine.task("a").attempt == (1 if n == 2 else 0)
        machine.later(60_000)
    task = machine.task("a")
    assert task.error is not None
    assert (task.state, task.error.reason) == (TaskState.FAILED, "throttled")
    assert "had no room 3 times (throttles_max 3); last: 429" in task.error.message
    machine.change(OperationKind.RETRY, "a")
    assert (machine.task("a").throttles, machine.task("a").run) == (0, 2)
    machine.close()


def test_a_report_without_the_current_token_changes_nothing(machine: Machine) -> None:
    """A zombie's late success: its task is running elsewhere by now."""
    old = machine.run("a")
    machine.lose("r1")
    machine.join("r2")
    machine.later(0)
    (new,) = machine.dispatch()
    before = machine.task("a")
    assert machine.succeed(old).gone == (old.token,)
    assert machine.task("a") == before
    machine.report(new.token, ok(new.tasks[0].no, b'"new"'), runner="r2")
    assert machine.task("a").result == b'"new"'


def test_a_report_repeated_changes_nothing_and_is_acknowledged(machine: Machine) -> None:
    """The acknowledgement was lost, so the runner tells it again."""
    lease = machine.run("a")
    machine.report(lease.token, ok(lease.tasks[0].no, b"1"))
    machine.report(lease.token, ok(lease.tasks[0].no, b"2"))
    assert machine.task("a").result == b"1"


def test_outcomes_of_tasks_that_the_lease_does_not_have_are_ignored(machine: Machine) -> None:
    lease = machine.run("a")
    machine.submit("b")
    machine.report(lease.token, ok(machine.task("b").no), done=False)
    assert machine.states() == {"a": "running", "b": "queued"}


def test_within_one_report_the_first_word_about_a_task_counts(machine: Machine) -> None:
    lease = machine.run("a")
    no = lease.tasks[0].no
    machine.report(lease.token, ok(no), bad(no), handed_back=(no,))
    assert machine.task("a").state is TaskState.SUCCEEDED


def test_what_a_finished_lease_did_not_mention_is_lost(machine: Machine) -> None:
    lease = machine.run("a")
    machine.report(lease.token, done=True)
    assert (machine.task("a").state, machine.task("a").losses) == (TaskState.RETRYING, 1)


def test_what_is_handed_back_is_uncharged_and_first_in_line_again(machine: Machine) -> None:
    machine.succeed(machine.run("warm"))
    machine.submit(*"abcd")
    (lease, *_) = machine.dispatch()
    nos = [task.no for task in lease.tasks]
    machine.submit("e")
    machine.report(lease.token, ok(nos[0]), handed_back=tuple(nos[1:]))
    assert machine.task("b").attempt == 0
    (again, *_) = machine.dispatch()
    assert [task.id for task in again.tasks][:3] == ["b", "c", "d"]


def test_a_success_after_failures_still_says_what_went_wrong_before(machine: Machine) -> None:
    lease = machine.run("a")
    machine.report(lease.token, bad(lease.tasks[0].no, message="first try"))
    machine.later(1_000)
    machine.succeed(machine.dispatch()[0])
    task = machine.task("a")
    assert task.state is TaskState.SUCCEEDED
    assert task.error is not None
    assert task.error.message == "first try"


def test_a_slot_is_free_before_the_report_is_durable(machine: Machine) -> None:
    lease = machine.run("a")
    machine.submit("b")
    report = RunnerReport(
        RunnerId("r1"), (LeaseReport(lease.token, (ok(lease.tasks[0].no, duration_us=10**9),), (), True),)
    )
    machine.handle(RunnerReported(machine.next_ref(), report))
    machine.shard.dispatch(machine.now_ms)
    assert len(machine.state.leases) == 1, "b took the slot, and nothing was committed in between"


def test_reports_of_unknown_leases_are_named_gone(machine: Machine) -> None:
    assert machine.report(Token(9, 9)).gone == (Token(9, 9),)
