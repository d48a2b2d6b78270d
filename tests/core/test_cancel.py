"""Cancelling what has not started."""

from __future__ import annotations

from taskservice.core.effects import ItemStatus, Refusal
from taskservice.core.types import TaskState
from world.machine import Machine, bad


def test_queued_scheduled_and_retrying_tasks_can_be_cancelled(machine: Machine) -> None:
    lease = machine.run("retrying")
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.submit("scheduled", delay_ms=1_000)
    machine.submit("queued")
    items = machine.cancel("retrying", "scheduled", "queued")
    assert {item.status for item in items} == {ItemStatus.CANCELLED}
    assert set(machine.states().values()) == {"cancelled"}
    machine.later(10_000)
    assert machine.dispatch() == []
    assert sum(machine.state.unfinished.values()) == 0


def test_what_cannot_be_cancelled_says_why(machine: Machine) -> None:
    machine.succeed(machine.run("done"))
    machine.run("running")
    items = machine.cancel("done", "running", "nowhere")
    assert [item.refusal for item in items] == [Refusal.ENDED, Refusal.RUNNING, Refusal.NOT_FOUND]


def test_cancelling_twice_is_as_good_as_once(machine: Machine) -> None:
    machine.submit("a")
    first, second = machine.cancel("a", "a")
    assert first.status is second.status is ItemStatus.CANCELLED
    (again,) = machine.cancel("a")
    assert again.status is ItemStatus.CANCELLED
    assert again.task is not None
    assert again.task.state is TaskState.CANCELLED


def test_a_task_of_another_tenant_is_not_to_be_found(machine: Machine) -> None:
    acme = machine.tenant("acme")
    machine.submit("a", tenant=acme)
    (item,) = machine.cancel("a")
    assert item.refusal is Refusal.NOT_FOUND
    assert machine.task("a", acme).state is TaskState.QUEUED


def test_cancelling_in_the_middle_of_a_queue_keeps_the_order_of_the_rest(machine: Machine) -> None:
    machine.succeed(machine.run("warm"))
    machine.submit(*"abcde")
    machine.cancel("b", "d")
    served = [task.id for lease in machine.dispatch() for task in lease.tasks]
    assert served == ["a", "c", "e"]
