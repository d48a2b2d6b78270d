"""Cancelling all tasks that pass a filter: what holds from the first record, and what the steps come to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.test_history import ended, file_of, look, tell, written
from taskservice.core import records as r
from taskservice.core.effects import Launch, OperationAnswer, Refusal
from taskservice.core.events import BulkAsked, Submitted
from taskservice.core.limits import Limits
from taskservice.core.operations import KEPT_MAX, OperationKind
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import FunctionName, ListFilter, NewTask, TaskId, TaskState
from world.machine import Machine, bad, function


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Steps are of three tasks, so that there is always something half done."""
    machine = Machine(Limits(operation_batch_max=3, head_tasks_max=4, lease_tasks_max=4))
    machine.register(function(), function("app.g"))
    machine.join()
    yield machine
    machine.close()


def names(first: str, count: int) -> list[str]:
    return [f"{first}{number:02}" for number in range(count)]


def by_state(machine: Machine) -> dict[str, int]:
    states = list(machine.states().values())
    return {state: states.count(state) for state in dict.fromkeys(states)}


def test_a_bulk_cancel_is_one_record_and_holds_at_once(machine: Machine) -> None:
    machine.submit(*names("a", 10))
    operation = machine.bulk(function="app.f")
    assert (operation.matched, operation.changed, operation.done_ms) == (10, 0, None)
    assert [type(record) for record in machine.records][-1] is r.OperationBegun
    assert by_state(machine) == {"queued": 10}
    assert machine.dispatch() == []


def test_steps_are_small_and_their_records_name_no_tasks(machine: Machine) -> None:
    machine.submit(*names("a", 10))
    operation = machine.bulk(function="app.f")
    machine.step()
    assert by_state(machine) == {"cancelled": 3, "queued": 7}
    assert isinstance(machine.records[-1], r.OperationStep)
    machine.step(3)
    assert by_state(machine) == {"cancelled": 10}
    assert sum(len(ended.tasks) for ended in machine.ended) == 10
    done = machine.operation(operation.id)
    assert done is not None
    assert (done.changed, done.done_ms, machine.shard.operating) == (10, machine.now_ms, False)


def test_tasks_submitted_afterwards_do_not_wait_for_the_operation(machine: Machine) -> None:
    machine.submit(*names("old", 20))
    machine.bulk(function="app.f")
    machine.submit("new")
    (lease,) = machine.dispatch()
    assert [task.id for task in lease.tasks] == ["new"]
    machine.succeed(lease)
    machine.finish_bulk()
    assert by_state(machine) == {"cancelled": 20, "succeeded": 1}


def test_other_functions_and_tenants_are_left_alone(machine: Machine) -> None:
    acme = machine.tenant("acme")
    machine.submit("f")
    machine.submit("g", function="app.g")
    machine.submit("theirs", tenant=acme)
    assert machine.bulk(function="app.f").matched == 1
    machine.finish_bulk()
    assert machine.states() == {"f": "cancelled", "g": "queued", "theirs": "queued"}
    machine.bulk(tenant=None)
    machine.finish_bulk()
    assert by_state(machine) == {"cancelled": 3}


def test_a_filter_that_goes_deeper_than_the_leaf_lets_the_others_pass(machine: Machine) -> None:
    machine.submit("a", "b", tags=(("job", "1"),))
    machine.submit("c", "d")
    operation = machine.bulk(tag=("job", "1"))
    assert operation.matched is None
    assert machine.dispatch()[0].tasks[0].id == "c"
    machine.finish_bulk()
    assert machine.states() == {"a": "cancelled", "b": "cancelled", "c": "running", "d": "queued"}
    done = machine.operation(operation.id)
    assert done is not None
    assert (done.matched, done.changed) == (2, 2)


def test_what_falls_due_meanwhile_is_cancelled_in_place_of_being_queued(machine: Machine) -> None:
    lease = machine.run("retrying")
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.submit("scheduled", delay_ms=1_000)
    machine.submit("other", delay_ms=1_000, function="app.g")
    operation = machine.bulk(function="app.f")
    machine.later(5_000)
    assert machine.states() == {"retrying": "cancelled", "scheduled": "cancelled", "other": "queued"}
    machine.finish_bulk()
    done = machine.operation(operation.id)
    assert done is not None
    assert (done.matched, done.changed) == (2, 2)


def test_what_runs_goes_on(machine: Machine) -> None:
    lease = machine.run("running")
    machine.submit("queued")
    machine.bulk()
    machine.finish_bulk()
    machine.succeed(lease)
    assert machine.states() == {"running": "succeeded", "queued": "cancelled"}


def test_only_the_states_named_are_meant(machine: Machine) -> None:
    machine.submit("queued")
    machine.submit("scheduled", delay_ms=1_000)
    assert machine.bulk(states=(TaskState.SCHEDULED,)).matched == 1
    (lease,) = machine.dispatch()
    assert lease.tasks[0].id == "queued"
    machine.finish_bulk()
    assert machine.states() == {"queued": "running", "scheduled": "cancelled"}


def test_states_that_cannot_be_cancelled_match_nothing(machine: Machine) -> None:
    machine.submit("a")
    operation = machine.bulk(states=(TaskState.RUNNING,))
    assert (operation.id, operation.matched, operation.done_ms) == ("", 0, machine.now_ms)
    assert machine.states() == {"a": "queued"}


def test_a_dry_run_by_counters_is_answered_at_once(machine: Machine) -> None:
    machine.submit(*names("a", 5))
    records = len(machine.records)
    operation = machine.bulk(dry_run=True)
    assert (operation.id, operation.matched, operation.done_ms) == ("", 5, machine.now_ms)
    assert len(machine.records) == records


def test_a_dry_run_that_has_to_look_counts_step_by_step_and_holds_nothing(machine: Machine) -> None:
    machine.submit(*names("a", 5), tags=(("job", "1"),))
    machine.submit(*names("b", 5))
    operation = machine.bulk(dry_run=True, tag=("job", "1"))
    assert (operation.matched, operation.done_ms) == (None, None)
    assert len(machine.dispatch()) == 1
    assert machine.finish_bulk() > 1
    done = machine.operation(operation.id)
    assert done is not None
    assert done.matched == 4
    assert by_state(machine) == {"running": 1, "queued": 9}


def test_an_operation_goes_on_after_a_restart(machine: Machine) -> None:
    machine.submit(*names("a", 8))
    operation = machine.bulk()
    machine.step()
    machine.restart()
    assert machine.shard.operating
    assert machine.dispatch() == []
    machine.finish_bulk()
    assert by_state(machine) == {"cancelled": 8}
    machine.restart()
    done = machine.operation(operation.id)
    assert done is not None
    assert done.changed == 8


def test_an_operation_whose_first_record_was_lost_never_was(machine: Machine) -> None:
    machine.submit("a")
    machine.handle(BulkAsked(machine.next_ref(), OperationKind.CANCEL, ListFilter()))
    machine.restart()
    assert not machine.shard.operating
    machine.join()
    assert len(machine.dispatch()) == 1


def test_a_small_operation_does_not_wait_for_a_large_one(machine: Machine) -> None:
    machine.submit(*names("a", 30))
    machine.submit("small", function="app.g")
    large = machine.bulk(function="app.f")
    small = machine.bulk(function="app.g")
    machine.step(2)
    assert [operation.id for operation in machine.state.operations.under_way.values()] == [large.id]
    assert machine.operation(small.id) is not None
    assert machine.task("small").state is TaskState.CANCELLED


def test_an_operation_that_finds_nothing_does_not_keep_the_others_waiting(machine: Machine) -> None:
    """It was once whoever had changed least."""
    machine.submit(*names("a", 30))
    machine.bulk(tag=("no", "body"))
    other = machine.bulk()
    machine.step(6)
    operation = machine.operation(other.id)
    assert operation is not None
    assert operation.changed == 9


def test_two_operations_may_want_the_same_tasks(machine: Machine) -> None:
    machine.submit(*names("a", 7))
    first, second = machine.bulk(function="app.f"), machine.bulk()
    machine.finish_bulk()
    changed = [done.changed for id in (first.id, second.id) if (done := machine.operation(id))]
    assert sum(changed) == 7
    assert by_state(machine) == {"cancelled": 7}


def test_one_turn_visits_many_small_leaves(machine: Machine) -> None:
    machine.register(*(function(f"app.{name}") for name in names("f", 3)))
    for name in names("f", 3):
        machine.submit(name, function=f"app.{name}")
    machine.bulk()
    assert machine.finish_bulk() == 1
    assert by_state(machine) == {"cancelled": 3}


def test_with_nothing_to_do_it_is_done_in_one_step(machine: Machine) -> None:
    operation = machine.bulk()
    assert operation.matched == 0
    assert machine.finish_bulk() == 1
    assert machine.operation(operation.id) is not None


def test_an_operation_is_its_tenants_own(machine: Machine) -> None:
    acme = machine.tenant("acme")
    mine, everybodys = machine.bulk(), machine.bulk(tenant=None)
    assert machine.operation(mine.id, acme) is None
    assert machine.operation(everybodys.id) is None
    assert machine.operation(mine.id, None) is not None
    assert machine.operation(everybodys.id, None) is not None


def test_only_so_many_are_under_way_at_once(machine: Machine) -> None:
    acme = machine.tenant("acme")
    for _ in range(machine.limits.operations_max):
        machine.bulk()
    answer = machine.ask(BulkAsked(machine.next_ref(), OperationKind.CANCEL, ListFilter(tenant="default")))
    assert isinstance(answer, OperationAnswer)
    assert (answer.refusal, answer.limit) == (Refusal.OPERATIONS_MAX, 10)
    machine.bulk(tenant=acme)
    machine.finish_bulk()
    machine.bulk()


def test_the_last_ones_are_remembered(machine: Machine) -> None:
    operations = []
    for _ in range(KEPT_MAX + 3):
        operations.append(machine.bulk())
        machine.finish_bulk()
    assert [machine.operation(each.id) is None for each in operations] == [True] * 3 + [False] * KEPT_MAX


def test_cancelling_behind_the_head_leaves_a_head_that_knows_it_is_whole(machine: Machine) -> None:
    """The count sank to what is in RAM, and the head still believed that there is more in the table."""
    machine.submit(*names("a", 6))
    machine.cancel("a04", "a05")
    assert machine.state.queues[machine.task("a00").leaf].complete


def test_a_lease_with_a_task_from_behind_the_head_waits_for_its_own_record(machine: Machine) -> None:
    """Only of the head is it known when its tasks were made ready: the one that is durable must not speak for the other."""
    machine.succeed(machine.run("warm"))
    machine.submit("free")
    machine.submit(*names("held", 6), tags=(("job", "1"),))
    machine.bulk(tag=("job", "1"))
    new = NewTask(TaskId("new"), FunctionName("app.f"), b"{}")
    machine.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, (new,)))
    machine.shard.dispatch(machine.now_ms)
    assert not any(isinstance(effect, Launch) for effect in machine.shard.release())
    machine.commit()
    assert [task.id for task in machine.launches[-1].lease.tasks] == ["free", "new"]


def test_what_is_in_history_is_no_bulk_operations_business() -> None:
    """Nor does it matter to the others of an operation that some of its tasks leave before it is done."""
    machine = Machine(Limits(operation_batch_max=2, retention_s=10))
    machine.register()
    machine.join()
    machine.succeed(machine.run("old"))
    machine.later(10_000)
    old = ended(machine)
    assert tell(machine, file_of(old), written(old)) == 1
    machine.submit(*names("a", 5), delay_ms=10**9)
    operation = machine.bulk()
    assert operation.matched == 5
    machine.step()
    machine.later(10_000)
    first = ended(machine)
    assert [task.state for task in first] == [TaskState.CANCELLED] * 2
    assert tell(machine, file_of(first, "history/b"), written(first)) == 2
    machine.restart()
    machine.finish_bulk()
    done = machine.operation(operation.id)
    assert done is not None
    assert (done.changed, done.matched, by_state(machine)) == (5, 5, {"cancelled": 3})
    assert [past.state for id in ("old", "a00") if (past := look(machine, id).past)] == ["succeeded", "cancelled"]
    machine.submit("later", delay_ms=10**9)
    assert machine.bulk().matched == 1
