"""`on_conflict: rerun`: what it does to a known task in each state, here and in history, and within which limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.large import key, reference
from helpers.ledger import Ledger, Place, begun, went_on
from taskservice.core.effects import ItemAnswer, ItemsAnswer, ItemStatus, Refusal, ValuesDropped
from taskservice.core.events import EndedAsked, FileWritten, Submitted, TenantPut
from taskservice.core.operations import OperationKind
from taskservice.core.past import DAY_MS, HistoryFile, WrittenTask
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Rate, Tenant
from taskservice.core.types import (
    TERMINAL_STATES,
    FunctionName,
    NewTask,
    OnConflict,
    OutcomeKind,
    Priority,
    TaskId,
    TaskState,
    TenantId,
)
from world.machine import Machine, bad, function, ok

YEAR_MS = 365 * DAY_MS


def resubmit(
    machine: Machine,
    *ids: str,
    tenant: TenantId = DEFAULT_TENANT,
    payload: bytes = b"{}",
    function: str = "app.f",
    **options: object,
) -> list[ItemAnswer]:
    tasks = tuple(NewTask(TaskId(id), FunctionName(function), payload, **options) for id in ids)  # type: ignore[arg-type]
    answer = machine.ask(Submitted(machine.next_ref(), tenant, tasks, OnConflict.RERUN))
    assert isinstance(answer, ItemsAnswer)
    return list(answer.items)


def scheduled(machine: Machine) -> None:
    machine.submit("a", delay_ms=60_000)


def queued(machine: Machine) -> None:
    machine.submit("a")


def running(machine: Machine) -> None:
    machine.run("a")


def retrying(machine: Machine) -> None:
    lease = machine.run("a")
    machine.report(lease.token, bad(lease.tasks[0].no))


def paused(machine: Machine) -> None:
    machine.submit("a")
    machine.change(OperationKind.PAUSE, "a")


def succeeded(machine: Machine) -> None:
    machine.succeed(machine.run("a"))


def failed(machine: Machine) -> None:
    lease = machine.run("a")
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))


def cancelled(machine: Machine) -> None:
    machine.submit("a")
    machine.cancel("a")


def expired(machine: Machine) -> None:
    machine.submit("a", ttl_ms=1_000, delay_ms=500)
    machine.later(1_000)


Way = Callable[[Machine], None]

LIVE: dict[TaskState, Way] = {
    TaskState.SCHEDULED: scheduled,
    TaskState.QUEUED: queued,
    TaskState.RUNNING: running,
    TaskState.RETRYING: retrying,
    TaskState.PAUSED: paused,
}
ENDED: dict[TaskState, Way] = {
    TaskState.SUCCEEDED: succeeded,
    TaskState.FAILED: failed,
    TaskState.CANCELLED: cancelled,
    TaskState.EXPIRED: expired,
}


def test_each_state_is_tried() -> None:
    assert {*LIVE, *ENDED} == set(TaskState)
    assert set(ENDED) == set(TERMINAL_STATES)


def archive(machine: Machine, file: str = "history/a") -> None:
    """All that has ended is in history, however it ended."""
    machine.later(YEAR_MS)
    for dead in (False, True):
        tasks = machine.ask(EndedAsked(machine.next_ref(), dead, None, 100, 10**9)).tasks  # type: ignore[union-attr]
        if tasks:
            nos, last_ms = [task.no for task in tasks], max(task.ended_ms for task in tasks)
            whole = HistoryFile(f"{file}/{dead}", last_ms // DAY_MS, min(nos), max(nos), len(nos), 100, last_ms)
            rows = tuple(WrittenTask(task.no, row, task.run, task.state) for row, task in enumerate(tasks))
            machine.ask(FileWritten(machine.next_ref(), whole, rows, True))
    assert machine.states() == {}


@pytest.mark.parametrize("state", LIVE)
def test_what_has_not_ended_is_the_task_that_is_known(machine: Machine, state: TaskState) -> None:
    LIVE[state](machine)
    before = machine.task("a")
    (item,) = resubmit(machine, "a")
    assert (item.status, item.task, before.state) == (ItemStatus.DUPLICATE, before, state)
    assert machine.task("a") == before


@pytest.mark.parametrize("state", ENDED)
def test_what_has_ended_begins_its_next_run(machine: Machine, state: TaskState) -> None:
    """Here it is the same task, as it was first submitted; and it can be run to its end."""
    ENDED[state](machine)
    before = machine.task("a")
    (item,) = resubmit(machine, "a", priority=Priority.HIGH)
    after = machine.task("a")
    assert (before.state, item.status, item.task) == (state, ItemStatus.ACCEPTED, after)
    assert (after.no, after.run, after.state, after.priority) == (before.no, 2, TaskState.QUEUED, before.priority)
    assert (after.attempt, after.result, after.error, after.ended_ms, after.expires_ms) == (0, None, None, None, None)
    (lease,) = machine.dispatch()
    machine.succeed(lease)
    assert machine.task("a").state is TaskState.SUCCEEDED


@pytest.mark.parametrize("state", ENDED)
def test_from_history_it_begins_its_next_run_as_it_is_submitted_now(machine: Machine, state: TaskState) -> None:
    ENDED[state](machine)
    before = machine.task("a")
    archive(machine)
    (item,) = resubmit(machine, "a", priority=Priority.HIGH)
    after = machine.task("a")
    assert (item.status, item.task, item.past) == (ItemStatus.ACCEPTED, after, None)
    assert (after.run, after.state, after.priority) == (2, TaskState.QUEUED, Priority.HIGH)
    assert after.no > before.no
    assert machine.state.table.past.find(DEFAULT_TENANT, [TaskId("a")]) == {}
    (lease,) = machine.dispatch()
    machine.succeed(lease)
    archive(machine, "history/b")
    (again,) = resubmit(machine, "a")
    assert again.task is not None
    assert again.task.run == 3


@pytest.mark.parametrize("in_history", [False, True])
@pytest.mark.parametrize("state", [*LIVE, *ENDED])
def test_another_payload_or_function_is_a_conflict_in_any_state(
    machine: Machine, state: TaskState, in_history: bool
) -> None:
    machine.register(function(), function("app.g"))
    (LIVE | ENDED)[state](machine)
    if in_history and state in ENDED:
        archive(machine)
    before = machine.states()
    for other in ({"payload": b"[]"}, {"function": "app.g"}):
        (item,) = resubmit(machine, "a", **other)  # type: ignore[arg-type]
        assert item.refusal is Refusal.CONFLICT
    assert machine.states() == before


@pytest.mark.parametrize("in_history", [False, True])
def test_twice_in_one_batch_it_begins_once_and_a_new_id_is_a_new_task(machine: Machine, in_history: bool) -> None:
    succeeded(machine)
    if in_history:
        archive(machine)
    first, second, new = resubmit(machine, "a", "a", "b")
    assert [each.status.value for each in (first, second, new)] == ["accepted", "duplicate", "accepted"]
    assert first.task == second.task == machine.task("a")
    assert (machine.task("a").run, machine.task("b").run) == (2, 1)
    assert machine.states() == {"a": "queued", "b": "queued"}


@pytest.mark.parametrize("in_history", [False, True])
@pytest.mark.parametrize("state", ENDED)
def test_a_next_run_is_there_after_a_restart_and_begins_after_one(
    machine: Machine, state: TaskState, in_history: bool
) -> None:
    ENDED[state](machine)
    if in_history:
        archive(machine)
    machine.restart()
    resubmit(machine, "a")
    before = machine.task("a")
    machine.restart()
    assert machine.task("a") == before
    (again,) = resubmit(machine, "a")
    assert (again.status, again.task) == (ItemStatus.DUPLICATE, before)


@pytest.mark.parametrize("kind", ["directory", "bucket"])
@pytest.mark.parametrize("table_is_there", [True, False])
def test_next_runs_are_there_on_a_real_disk(tmp_path: Path, kind: str, table_is_there: bool) -> None:
    """One that was here and one that was in history, in a checkpoint, and one of each after it."""
    ledger: Ledger = begun(Place(kind, tmp_path).opens, tmp_path)
    for id in ("past", "later past"):
        ledger.succeed(ledger.run(id))
    archive(ledger)
    for id in ("here", "later here"):
        ledger.succeed(ledger.run(id))
    resubmit(ledger, "here", "past")
    ledger.checkpoint()
    resubmit(ledger, "later here", "later past")
    before = {id: ledger.task(id) for id in ledger.states()}
    assert {task.run for task in before.values()} == {2}
    if not table_is_there:
        ledger.forget_table()
    went_on(ledger)
    assert (ledger.source.startswith("checkpoint/")) is not table_is_there
    assert {id: ledger.task(id) for id in ledger.states()} == before
    assert len(before) == 4
    ledger.close()


@pytest.mark.parametrize("in_history", [False, True])
def test_it_asks_for_room_as_a_new_task_does(machine: Machine, in_history: bool) -> None:
    acme = machine.tenant("acme", queued_max=2)
    for id in ("a", "b"):
        (lease,) = machine.submit(id, tenant=acme) and machine.dispatch()
        machine.succeed(lease)
    if in_history:
        archive(machine)
    machine.submit("waits", tenant=acme)
    first, second = resubmit(machine, "a", "b", tenant=acme)
    assert (first.status, second.refusal, second.limit) == (ItemStatus.ACCEPTED, Refusal.QUEUED_MAX, 2)
    assert machine.state.unfinished[acme] == 2
    (new,) = machine.submit("new", tenant=acme)
    assert new.refusal is Refusal.QUEUED_MAX
    assert resubmit(machine, "a", tenant=acme)[0].status is ItemStatus.DUPLICATE, "what is there asks for nothing"


@pytest.mark.parametrize("in_history", [False, True])
def test_it_comes_only_as_fast_as_may_be_submitted(machine: Machine, in_history: bool) -> None:
    acme = machine.tenant("acme")
    for id in ("a", "b", "c"):
        (lease,) = machine.submit(id, tenant=acme) and machine.dispatch()
        machine.succeed(lease)
    if in_history:
        archive(machine)
    machine.ask(TenantPut(machine.next_ref(), Tenant(acme, submit_rate=Rate(0.1, 2))))
    machine.later(60_000)
    first, second, third = resubmit(machine, "a", "b", "c", tenant=acme)
    assert (first.status, second.status) == (ItemStatus.ACCEPTED, ItemStatus.ACCEPTED)
    assert (third.refusal, third.retry_after_ms) == (Refusal.SUBMIT_RATE, 10_000)
    (new,) = machine.submit("new", tenant=acme)
    assert new.refusal is Refusal.SUBMIT_RATE, "what was run again was counted"
    machine.later(10_000)
    assert resubmit(machine, "c", tenant=acme)[0].status is ItemStatus.ACCEPTED


def test_its_result_goes_with_its_object(machine: Machine) -> None:
    lease = machine.run("a", payload=reference(1))
    machine.report(lease.token, ok(lease.tasks[0].no, result=reference(2)))
    resubmit(machine, "a", payload=reference(1))
    assert [each.keys for each in machine.released if isinstance(each, ValuesDropped)] == [(key(2),)]
    assert machine.task("a").payload == reference(1)


def test_whoever_retries_leaves_alone_what_has_succeeded(machine: Machine) -> None:
    """By name or by filter; only a submit runs it again."""
    succeeded(machine)
    assert machine.change(OperationKind.RETRY, "a")[0].refusal is Refusal.ENDED
    machine.bulk(OperationKind.RETRY)
    machine.finish_bulk()
    assert machine.states() == {"a": "succeeded"}


def test_what_its_app_does_not_have_any_more_is_not_run_again(machine: Machine) -> None:
    machine.deploy("one", function(), function("app.g"))
    machine.succeed(machine.run("a", function="app.g"))
    machine.deploy("two", function())
    (item,) = resubmit(machine, "a", function="app.g")
    assert (item.refusal, machine.task("a").state) == (Refusal.UNKNOWN_FUNCTION, TaskState.SUCCEEDED)


def test_it_waits_for_an_operation_that_would_undo_it(machine: Machine) -> None:
    succeeded(machine)
    machine.submit("b")
    machine.bulk(OperationKind.PAUSE)
    (item,) = resubmit(machine, "a")
    assert (item.refusal, machine.task("a").run) == (Refusal.OPERATION_AHEAD, 1)
    machine.finish_bulk()
    assert resubmit(machine, "a")[0].status is ItemStatus.ACCEPTED


@pytest.mark.parametrize("in_history", [False, True])
def test_what_is_being_deleted_is_a_new_task(machine: Machine, in_history: bool) -> None:
    succeeded(machine)
    if in_history:
        archive(machine)
    machine.bulk(OperationKind.DELETE)
    (item,) = resubmit(machine, "a")
    assert item.task is not None
    assert (item.status, item.task.run) == (ItemStatus.ACCEPTED, 1)


def test_another_tenants_task_is_not_run_again(machine: Machine) -> None:
    succeeded(machine)
    (item,) = resubmit(machine, "a", tenant=machine.tenant("acme"))
    assert item.task is not None
    assert (item.status, item.task.run, machine.task("a").state) == (ItemStatus.ACCEPTED, 1, TaskState.SUCCEEDED)
