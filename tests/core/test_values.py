"""Large values: the core compares what they hold, and says when nobody refers to them; it never sees them."""

from __future__ import annotations

import pytest

from helpers.large import key, reference
from taskservice.core.change_apply import drop_values
from taskservice.core.effects import ItemStatus, ReferencesAnswer, Refusal, ValuesDropped
from taskservice.core.events import ReferencesAsked
from taskservice.core.types import OutcomeKind, TaskState
from world.machine import Machine, bad, ok


def dropped(machine: Machine) -> list[str]:
    return [key for effect in machine.released if isinstance(effect, ValuesDropped) for key in effect.keys]


def referred(machine: Machine, *nos: int) -> tuple[str, ...]:
    answer = machine.ask(ReferencesAsked(machine.next_ref(), tuple(map(key, nos))))
    assert isinstance(answer, ReferencesAnswer)
    return answer.keys


def test_the_same_payload_in_another_object_is_the_same_task(machine: Machine) -> None:
    machine.submit("a", payload=reference(1))
    (again,) = machine.submit("a", payload=reference(2))
    assert again.status is ItemStatus.DUPLICATE
    assert again.task is not None
    assert again.task.payload == reference(1), "so whoever wrote the second object sees that it is not the task's"
    assert referred(machine, 1, 2) == (key(1),)


def test_another_payload_conflicts_wherever_it_is(machine: Machine) -> None:
    machine.submit("a", payload=reference(1))
    for payload in (reference(2, b"another"), b"{}"):
        (item,) = machine.submit("a", payload=payload)
        assert item.refusal is Refusal.CONFLICT


def test_a_payload_is_the_same_after_the_limit_has_changed(machine: Machine) -> None:
    machine.submit("a", payload=b'"large"')
    (again,) = machine.submit("a", payload=reference(2))
    assert again.status is ItemStatus.DUPLICATE


def test_a_lease_brings_references_and_its_results_are_kept(machine: Machine) -> None:
    lease = machine.run("a", payload=reference(1))
    assert lease.tasks[0].payload == reference(1)
    machine.report(lease.token, ok(lease.tasks[0].no, reference(2)))
    assert (machine.task("a").payload, machine.task("a").result) == (reference(1), reference(2))
    assert referred(machine, 0, 1, 2) == (key(1), key(2))
    assert dropped(machine) == []


def test_a_result_that_comes_too_late_is_dropped_once_that_is_durable(machine: Machine) -> None:
    lease = machine.run("a")
    machine.lose("r1")
    assert machine.report(lease.token, ok(lease.tasks[0].no, reference(2))).gone == (lease.token,)
    assert dropped(machine) == [key(2)]


def test_a_result_of_a_task_that_is_not_the_leases_any_more_is_dropped(machine: Machine) -> None:
    machine.run("warm")
    machine.report(machine.launches[-1].lease.token, ok(1, duration_us=1_000))
    lease = machine.run("a", "b")
    machine.report(lease.token, handed_back=(lease.tasks[0].no,), done=False)
    machine.report(lease.token, ok(lease.tasks[0].no, reference(2)), ok(lease.tasks[1].no, reference(3)))
    assert dropped(machine) == [key(2)]
    assert machine.task("b").result == reference(3)


def test_a_report_that_comes_twice_does_not_drop_what_it_brought(machine: Machine) -> None:
    """A runner repeats what was not acknowledged: to the same dispatcher, and to the next."""
    lease = machine.run("a")
    report = ok(lease.tasks[0].no, reference(2))
    machine.report(lease.token, report)
    machine.report(lease.token, report)
    machine.restart()
    machine.report(lease.token, report)
    assert dropped(machine) == []


def test_a_failed_or_cancelled_task_keeps_its_payload(machine: Machine) -> None:
    lease = machine.run("a", payload=reference(1))
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
    machine.submit("b", payload=reference(2), delay_ms=1_000)
    machine.cancel("b")
    assert referred(machine, 1, 2) == (key(1), key(2))


def test_what_is_dropped_is_not_referred_to_any_more(machine: Machine) -> None:
    machine.submit("a", payload=reference(1))
    assert drop_values(machine.state, ()) == []
    assert drop_values(machine.state, (key(1),)) == [(machine.state.segment, ValuesDropped((key(1),)))]
    assert referred(machine, 1) == ()


def test_an_attempt_for_which_the_store_was_away_is_made_again_when_it_was_told_however_often(machine: Machine) -> None:
    machine.submit("a", payload=reference(1))
    for _ in range(2 * machine.limits.losses_max):
        (lease,) = machine.dispatch()
        machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.STORE_AWAY, "away", retry_after_ms=10_000))
        task = machine.task("a")
        assert (task.state, task.attempt, task.losses) == (TaskState.RETRYING, 0, 0)
        assert 10_000 <= task.due_ms - machine.now_ms <= 11_000
        machine.later(11_000)


def test_a_task_whose_payload_is_lost_is_a_dead_letter_that_says_so(machine: Machine) -> None:
    lease = machine.run("a", payload=reference(1))
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.VALUE_LOST, "it is gone"))
    task = machine.task("a")
    assert task.error is not None
    assert (task.state, task.error.reason, task.error.message) == (TaskState.FAILED, "value_lost", "it is gone")


@pytest.mark.parametrize("payload", [b"{}", reference(1)])
def test_a_restart_knows_what_is_referred_to(machine: Machine, payload: bytes) -> None:
    machine.submit("a", payload=payload)
    machine.restart()
    assert referred(machine, 1, 2) == ((key(1),) if payload == reference(1) else ())
