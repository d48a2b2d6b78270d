"""Tasks that have not started in time: when they end, and that they are never leased after it."""

from __future__ import annotations

import pytest

from core.test_history import ended, file_of, tell, written
from taskservice.core.effects import Refusal
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.records import TasksDue, TasksExpired
from taskservice.core.types import OutcomeKind, TaskState
from world.machine import Machine, bad, function

CANCEL, PAUSE, RESUME, RETRY, DELETE = OperationKind


def leased(machine: Machine) -> list[str]:
    return [task.id for lease in machine.dispatch() for task in lease.tasks]


def test_a_task_that_has_not_started_in_time_ends(machine: Machine) -> None:
    machine.submit("a", ttl_ms=1_000)
    machine.submit("later", delay_ms=500, ttl_ms=1_000)
    machine.submit("never")
    machine.later(999)
    assert machine.states() == {"a": "queued", "later": "queued", "never": "queued"}
    machine.later(1)
    assert machine.states() == {"a": "expired", "later": "expired", "never": "queued"}
    assert [(ended.state, ended.tasks) for ended in machine.ended] == [
        (TaskState.EXPIRED, (("default", "a"), ("default", "later")))
    ]
    assert machine.task("a").ended_ms == machine.now_ms
    assert leased(machine) == ["never"]


def test_it_is_never_leased_after_its_time_even_before_the_clock_has_been_looked_at(machine: Machine) -> None:
    machine.succeed(machine.run("warm"))
    machine.submit("a", "b", ttl_ms=1_000)
    machine.submit("c")
    machine.now_ms += 1_000
    assert leased(machine) == ["c"]
    assert machine.states()["a"] == "queued"


def test_not_even_after_a_restart(machine: Machine) -> None:
    machine.submit("a", ttl_ms=1_000)
    machine.submit("b")
    machine.restart()
    machine.join()
    machine.now_ms += 1_000
    assert leased(machine) == ["b"]


def test_nor_from_behind_what_an_operation_holds(machine: Machine) -> None:
    machine.submit("held")
    machine.bulk(states=(TaskState.QUEUED,))
    machine.submit("a", ttl_ms=1_000)
    machine.submit("b")
    machine.now_ms += 1_000
    assert leased(machine) == ["b"]


def test_what_runs_goes_on_and_a_retry_does_not_expire(machine: Machine) -> None:
    lease = machine.run("a", ttl_ms=1_000)
    machine.later(1_000)
    assert machine.task("a").state is TaskState.RUNNING
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.later(5_000)
    assert (machine.task("a").state, machine.task("a").expires_ms) == (TaskState.QUEUED, None)
    assert leased(machine) == ["a"]


@pytest.mark.parametrize("kind", [OutcomeKind.LOST, OutcomeKind.THROTTLED])
def test_an_attempt_that_is_not_charged_is_one_all_the_same(machine: Machine, kind: OutcomeKind) -> None:
    lease = machine.run("a", ttl_ms=1_000)
    machine.report(lease.token, bad(lease.tasks[0].no, kind, retry_after_ms=0))
    machine.later(1_000)
    assert machine.task("a").state is TaskState.QUEUED


def test_handed_back_unstarted_it_expires_as_before(machine: Machine) -> None:
    machine.succeed(machine.run("warm"))
    machine.submit("a", "b", ttl_ms=1_000)
    (lease,) = machine.dispatch()
    machine.report(lease.token, handed_back=[task.no for task in lease.tasks])
    machine.now_ms += 1_000
    assert leased(machine) == []
    machine.later(0)
    assert set(machine.states().values()) == {"succeeded", "expired"}


def test_handed_back_after_its_time_it_ends_at_once(machine: Machine) -> None:
    lease = machine.run("a", ttl_ms=1_000)
    machine.later(2_000)
    machine.report(lease.token, handed_back=[lease.tasks[0].no])
    assert leased(machine) == []
    machine.later(0)
    assert machine.task("a").state is TaskState.EXPIRED


def test_a_paused_task_expires_too(machine: Machine) -> None:
    machine.submit("a", "b", ttl_ms=1_000)
    machine.change(PAUSE, "a")
    machine.change(PAUSE, "b", resume_ms=machine.now_ms + 1_000)
    machine.later(1_000)
    assert machine.states() == {"a": "expired", "b": "expired"}
    assert machine.task("b").resume_ms is None


def test_a_paused_task_that_was_tried_does_not(machine: Machine) -> None:
    lease = machine.run("a", ttl_ms=1_000)
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.change(PAUSE, "a")
    machine.later(1_000)
    assert machine.task("a").state is TaskState.PAUSED


def test_run_again_it_does_not_expire_any_more(machine: Machine) -> None:
    machine.submit("a", ttl_ms=1_000)
    machine.later(1_000)
    machine.change(RETRY, "a")
    machine.later(5_000)
    assert leased(machine) == ["a"]


def test_a_function_may_have_a_ttl_of_its_own(machine: Machine) -> None:
    machine.register(function("app.hasty", ttl_ms=1_000))
    machine.submit("a", function="app.hasty")
    machine.submit("b", function="app.hasty", ttl_ms=5_000)
    machine.later(1_000)
    assert machine.states() == {"a": "expired", "b": "queued"}


@pytest.mark.parametrize("when", [{"delay_ms": 1_000}, {"delay_ms": 5_000}, {"run_at_ms": 1_001_000}])
def test_what_would_expire_before_it_is_due_is_refused(machine: Machine, when: dict[str, int]) -> None:
    (item,) = machine.submit("a", ttl_ms=1_000, **when)
    assert (item.refusal, item.limit) == (Refusal.EXPIRES_UNDUE, 1_000)
    assert "its ttl is 1000 ms" in item.message
    machine.register(function("app.hasty", ttl_ms=1_000))
    (item,) = machine.submit("a", function="app.hasty", **when)
    assert "its function's ttl is 1000 ms" in item.message
    assert machine.submit("a", ttl_ms=1_000, delay_ms=999)[0].refusal is None


def test_only_so_many_expire_in_one_turn_and_the_rest_are_not_leased() -> None:
    machine = Machine(Limits(due_batch_max=3, head_tasks_max=4))
    machine.register()
    machine.join()
    machine.submit(*(f"a{n}" for n in range(10)), ttl_ms=1_000)
    machine.submit("b")
    machine.now_ms += 1_000
    turns = 0
    while machine.state.table.next_timed_ms() is not None:
        assert "a" not in {id[0] for id in leased(machine)}
        machine.later(0)
        turns += 1
    assert turns == 4
    assert [len(record.nos) for record in machine.records if isinstance(record, TasksExpired)] == [3, 3, 3, 1]
    assert leased(machine) == ["b"]
    machine.close()


def test_what_is_due_when_it_expires_is_not_queued_on_the_way() -> None:
    """More of them than a turn takes: the first look of the clock may be late."""
    machine = Machine(Limits(due_batch_max=3))
    machine.register()
    machine.submit(*(f"a{n}" for n in range(10)), delay_ms=500, ttl_ms=1_000)
    machine.submit("b", delay_ms=500)
    machine.later(1_000)
    assert list(machine.states().values()).count("expired") == 3
    while machine.state.table.next_timed_ms() is not None:
        machine.later(0)
    assert list(machine.states().values()).count("expired") == 10
    assert [record.nos for record in machine.records if isinstance(record, TasksDue)] == [(machine.task("b").no,)]
    machine.close()


def test_it_is_kept_as_long_as_what_was_cancelled() -> None:
    machine = Machine(Limits(retention_s=10))
    machine.register()
    machine.submit("a", ttl_ms=1_000)
    machine.later(1_000)
    machine.later(9_999)
    assert ended(machine) == ()
    machine.later(1)
    tasks = ended(machine)
    assert [task.state for task in tasks] == [TaskState.EXPIRED]
    assert tell(machine, file_of(tasks), written(tasks)) == 1
    machine.close()


@pytest.mark.parametrize(("kind", "becomes"), [(CANCEL, "cancelled"), (PAUSE, "paused"), (DELETE, None)])
def test_an_operation_that_is_still_to_come_has_it_before_its_time(
    machine: Machine, kind: OperationKind, becomes: str | None
) -> None:
    machine.submit("a", ttl_ms=1_000)
    operation = machine.bulk(kind)
    machine.later(1_000)
    assert machine.states().get("a") == becomes
    machine.finish_bulk()
    done = machine.operation(operation.id)
    assert done is not None
    assert done.changed == 1
    machine.later(0)
    assert machine.states().get("a") == ("expired" if kind is PAUSE else becomes)
