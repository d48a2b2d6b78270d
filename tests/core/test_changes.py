"""What people do to tasks that they name: cancelled, paused, resumed, run again, deleted."""

from __future__ import annotations

import pytest

from core.test_history import LIMITS, archived, ended, file_of, look, tell, written
from helpers.large import key, reference
from taskservice.core.effects import Deleted, Ended, ItemStatus, Refusal, ValuesDropped
from taskservice.core.operate import ALREADY, DONE
from taskservice.core.operations import SOURCES, OperationKind
from taskservice.core.records import HistoryForgotten
from taskservice.core.types import OutcomeKind, TaskState
from world.machine import Machine, bad, ok

CANCEL, PAUSE, RESUME, RETRY, DELETE = OperationKind


def failed(machine: Machine, id: str, **options: object) -> None:
    lease = machine.run(id, **options)
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))


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
    items = machine.cancel("done", "nowhere")
    assert [item.refusal for item in items] == [Refusal.ENDED, Refusal.NOT_FOUND]


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


def test_whatever_waits_can_be_paused_and_goes_on_as_it_was(machine: Machine) -> None:
    lease = machine.run("retrying")
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.submit("scheduled", delay_ms=60_000)
    machine.submit("queued")
    ids = ("retrying", "scheduled", "queued")
    items = machine.change(PAUSE, *ids)
    assert {(item.status, item.task and item.task.state) for item in items} == {(ItemStatus.PAUSED, TaskState.PAUSED)}
    machine.later(50)
    assert (set(machine.states().values()), machine.dispatch()) == ({"paused"}, [])
    assert {item.status for item in machine.change(RESUME, *ids)} == {ItemStatus.RESUMED}
    assert machine.states() == {"retrying": "retrying", "scheduled": "scheduled", "queued": "queued"}
    assert machine.ended == []
    machine.later(60_000)
    assert set(machine.states().values()) == {"queued"}


def test_what_fell_due_meanwhile_is_queued_when_it_is_resumed(machine: Machine) -> None:
    machine.submit("a", delay_ms=1_000)
    machine.change(PAUSE, "a")
    machine.later(1_000)
    assert machine.states() == {"a": "paused"}
    (item,) = machine.change(RESUME, "a")
    assert item.task == machine.task("a")
    assert machine.states() == {"a": "queued"}


def test_a_pause_may_end_by_itself_also_after_a_restart(machine: Machine) -> None:
    machine.submit("a", "b")
    machine.submit("c", delay_ms=60_000)
    machine.change(PAUSE, "a", "b", "c", resume_ms=machine.now_ms + 1_000)
    machine.change(RESUME, "b")
    machine.restart()
    machine.later(999)
    assert machine.states() == {"a": "paused", "b": "queued", "c": "paused"}
    machine.later(1)
    assert machine.states() == {"a": "queued", "b": "queued", "c": "scheduled"}
    assert machine.task("a").resume_ms is None


def test_resumed_tasks_stand_in_their_old_places(machine: Machine) -> None:
    machine.succeed(machine.run("warm"))
    machine.submit(*"abcde")
    machine.change(PAUSE, "b", "a", "d")
    machine.submit("f")
    machine.change(RESUME, "d", "b")
    served = [task.id for lease in machine.dispatch() for task in lease.tasks]
    assert served == ["b", "c", "d", "e", "f"]


@pytest.mark.parametrize("state", SOURCES[RETRY])
def test_what_has_not_succeeded_can_be_run_again_as_if_it_were_new(machine: Machine, state: TaskState) -> None:
    if state is TaskState.FAILED:
        failed(machine, "a", ttl_ms=5_000)
    else:
        machine.submit("a", ttl_ms=5_000)
        machine.later(5_000) if state is TaskState.EXPIRED else machine.cancel("a")
    machine.later(60_000)
    assert machine.task("a").state is state
    (item,) = machine.change(RETRY, "a")
    assert (item.status, item.task) == (ItemStatus.RETRIED, machine.task("a"))
    (lease,) = machine.dispatch()
    assert (lease.tasks[0].run, lease.tasks[0].attempt) == (2, 1)
    machine.report(lease.token, ok(lease.tasks[0].no, b'"at last"'))
    task = machine.task("a")
    assert (task.state, task.run, task.result, task.error) == (TaskState.SUCCEEDED, 2, b'"at last"', None)


def test_another_run_has_all_its_attempts(machine: Machine) -> None:
    failed(machine, "a")
    machine.change(RETRY, "a")
    for attempt in (1, 2, 3):
        (lease,) = machine.dispatch()
        assert (lease.tasks[0].run, lease.tasks[0].attempt) == (2, attempt)
        machine.report(lease.token, bad(lease.tasks[0].no))
        machine.later(5_000)
    assert machine.task("a").state is TaskState.FAILED
    assert [ended.state for ended in machine.ended] == ["failed", "failed"]


def test_run_again_a_task_counts_against_what_may_be_queued(machine: Machine) -> None:
    acme = machine.tenant("acme", queued_max=1)
    machine.submit("a", tenant=acme)
    machine.cancel("a", tenant=acme)
    machine.submit("b", tenant=acme)
    machine.change(RETRY, "a", tenant=acme)
    assert machine.state.unfinished[acme] == 2
    (item,) = machine.submit("c", tenant=acme)
    assert item.refusal is Refusal.QUEUED_MAX


def test_what_is_deleted_has_never_been(machine: Machine) -> None:
    machine.submit("a", payload=reference(1))
    lease = machine.dispatch()[0]
    machine.report(lease.token, ok(lease.tasks[0].no, reference(2)))
    machine.submit("b", "c", "later", delay_ms=60_000)
    items = machine.change(DELETE, "a", "b", "nowhere", "b")
    assert [(item.status, item.refusal, item.task) for item in items] == [
        (ItemStatus.DELETED, None, None),
        (ItemStatus.DELETED, None, None),
        (ItemStatus.REFUSED, Refusal.NOT_FOUND, None),
        (ItemStatus.REFUSED, Refusal.NOT_FOUND, None),
    ]
    assert machine.states() == {"c": "scheduled", "later": "scheduled"}
    told = [effect for effect in machine.released if isinstance(effect, (Deleted, ValuesDropped))]
    assert told == [ValuesDropped((key(1), key(2))), Deleted((("default", "a"), ("default", "b")))]
    assert not any(isinstance(effect, Ended) and effect.state != "succeeded" for effect in machine.released)
    (item,) = machine.submit("a", payload=b"1")
    assert item.status is ItemStatus.ACCEPTED
    machine.restart()
    assert machine.task("a").payload == b"1"


def test_a_task_in_history_is_forgotten_and_its_id_is_free() -> None:
    machine = Machine(LIMITS)
    machine.register()
    machine.join()
    archived(machine, "a")
    (item,) = machine.change(DELETE, "a")
    assert (item.status, isinstance(machine.records[-1], HistoryForgotten)) == (ItemStatus.DELETED, True)
    assert look(machine, "a").past is None
    assert machine.submit("a")[0].status is ItemStatus.ACCEPTED
    machine.close()


def test_a_task_in_history_does_not_run_again() -> None:
    machine = Machine(LIMITS)
    machine.register()
    machine.join()
    machine.submit("a")
    machine.cancel("a")
    machine.submit("b")
    machine.succeed(machine.dispatch()[0])
    machine.later(10_000)
    archive_all(machine)
    assert [item.refusal for item in machine.change(RETRY, "a", "b")] == [Refusal.IN_HISTORY, Refusal.ENDED]
    assert [item.refusal for item in machine.change(PAUSE, "a", "b")] == [Refusal.ENDED] * 2
    assert machine.change(CANCEL, "a")[0].status is ItemStatus.CANCELLED
    machine.close()


def archive_all(machine: Machine) -> None:
    tasks = ended(machine)
    assert tell(machine, file_of(tasks), written(tasks)) == len(tasks)


@pytest.mark.parametrize("kind", OperationKind)
def test_in_each_state_a_change_is_made_or_needless_or_refused(machine: Machine, kind: OperationKind) -> None:
    """And what is answered of the task is what it is then."""
    failed(machine, "failed")
    machine.succeed(machine.run("succeeded"))
    lease = machine.run("retrying")
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.run("running")
    machine.submit("cancelled", "queued", "paused")
    machine.submit("scheduled", delay_ms=1_000)
    machine.submit("expired", ttl_ms=1)
    machine.cancel("cancelled")
    machine.change(PAUSE, "paused")
    machine.later(1)
    before = {id: TaskState(state) for id, state in machine.states().items()}
    assert set(before) == set(TaskState)
    assert all(id == state for id, state in before.items())
    for id, state in before.items():
        (item,) = machine.change(kind, id)
        if state in SOURCES[kind] or state in ALREADY[kind]:
            assert item.status is DONE[kind], state
            assert (machine.states().get(id) == state) is (state in ALREADY[kind]), state
        elif kind is CANCEL and state is TaskState.RUNNING:
            assert item.status is ItemStatus.CANCELLING
        else:
            refusal = Refusal.RUNNING if state is TaskState.RUNNING else Refusal.ENDED
            assert item.refusal is refusal, state
        if kind is not DELETE or item.refusal:
            assert item.task == machine.task(id)


def test_a_task_of_another_tenant_cannot_be_changed(machine: Machine) -> None:
    acme = machine.tenant("acme")
    machine.submit("a", tenant=acme)
    for kind in OperationKind:
        (item,) = machine.change(kind, "a")
        assert item.refusal is Refusal.NOT_FOUND
    assert machine.task("a", acme).state is TaskState.QUEUED


@pytest.mark.parametrize(
    ("operation", "state", "kind", "made"),
    [
        (PAUSE, "queued", RESUME, False),  # it would be paused all the same
        (PAUSE, "queued", CANCEL, True),
        (PAUSE, "queued", DELETE, True),
        (PAUSE, "queued", PAUSE, True),
        (CANCEL, "paused", RESUME, False),
        (CANCEL, "cancelled", RETRY, False),  # its next run would be cancelled
        (CANCEL, "queued", CANCEL, True),
        (DELETE, "queued", CANCEL, False),  # what ends now is not what it was to delete
        (DELETE, "queued", DELETE, True),
        (RETRY, "cancelled", DELETE, True),
    ],
)
def test_what_an_operation_is_still_to_do_is_neither_undone_nor_escaped(
    machine: Machine, operation: OperationKind, state: str, kind: OperationKind, made: bool
) -> None:
    machine.submit("a")
    if state == "paused":
        machine.change(PAUSE, "a")
    if state == "cancelled":
        machine.cancel("a")
    under_way = machine.bulk(operation)
    (item,) = machine.change(kind, "a")
    assert (item.refusal is None) is made
    if not made:
        assert item.refusal is Refusal.OPERATION_AHEAD
        assert under_way.id in item.message
        machine.finish_bulk()
        assert machine.change(kind, "a")[0].refusal is not Refusal.OPERATION_AHEAD


def test_an_operation_that_does_not_mean_the_task_is_not_in_the_way(machine: Machine) -> None:
    machine.submit("a")
    machine.submit("b", tags=(("job", "1"),))
    machine.bulk(PAUSE, tag=("job", "1"))
    a, b = machine.change(RESUME, "a", "b")
    assert (a.status, b.refusal) == (ItemStatus.RESUMED, Refusal.OPERATION_AHEAD)
