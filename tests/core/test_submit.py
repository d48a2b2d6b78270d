"""Submitting: acceptance, duplicates, refusals, and that nobody is told before it is durable."""

from __future__ import annotations

from random import Random

import pytest

from taskservice.core.effects import Answer, ItemStatus, Refusal
from taskservice.core.events import Submitted, TaskAsked
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import FunctionName, NewTask, OnConflict, Priority, TaskId, TaskState
from taskservice.journal.codec import encode
from world.machine import START_MS, Machine, function, ok

NEW = NewTask(TaskId("a"), FunctionName("app.f"), b"{}")


def test_an_answer_leaves_only_when_its_record_is_durable(machine: Machine) -> None:
    machine.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, (NEW,)))
    cut = machine.shard.cut()
    assert cut is not None
    assert machine.shard.release() == []
    machine.journal.append(cut.number, encode(cut.records))
    assert machine.shard.release() == []
    machine.shard.durable(cut.number)
    assert [type(effect) for effect in machine.shard.release()] == [Answer]


def test_a_duplicate_is_not_told_before_the_first_is_durable(machine: Machine) -> None:
    """Otherwise a crash would lose a task that somebody was told is known."""
    machine.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, (NEW,)))
    machine.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, (NEW,)))
    machine.handle(TaskAsked(machine.next_ref(), DEFAULT_TENANT, NEW.id))
    assert machine.shard.release() == []
    assert len(machine.commit()) == 3


def test_the_same_id_and_payload_is_the_same_task(machine: Machine) -> None:
    (first,) = machine.submit("a", payload=b'{"x":1}')
    (again,) = machine.submit("a", payload=b'{"x":1}')
    assert (first.status, again.status) == (ItemStatus.ACCEPTED, ItemStatus.DUPLICATE)
    assert first.task == again.task


def test_within_one_batch_the_first_of_an_id_counts(machine: Machine) -> None:
    items = machine.submit("a", "a", "b")
    assert [item.status for item in items] == [ItemStatus.ACCEPTED, ItemStatus.DUPLICATE, ItemStatus.ACCEPTED]


@pytest.mark.parametrize(("name", "payload"), [("app.f", b'{"x":2}'), ("app.g", b'{"x":1}')])
def test_the_same_id_with_another_payload_or_function_conflicts(machine: Machine, name: str, payload: bytes) -> None:
    machine.register(function("app.g"))
    machine.submit("a", payload=b'{"x":1}')
    (item,) = machine.submit("a", function=name, payload=payload)
    assert (item.status, item.refusal) == (ItemStatus.REFUSED, Refusal.CONFLICT)


def test_a_finished_task_still_answers_for_its_id(machine: Machine) -> None:
    machine.succeed(machine.run("a"))
    (item,) = machine.submit("a")
    assert item.status is ItemStatus.DUPLICATE
    assert item.task is not None
    assert item.task.state is TaskState.SUCCEEDED


def test_on_conflict_reject_refuses_a_duplicate(machine: Machine) -> None:
    machine.submit("a")
    answer = machine.ask(Submitted(machine.next_ref(), DEFAULT_TENANT, (NEW,), OnConflict.REJECT))
    assert answer.items[0].refusal is Refusal.DUPLICATE  # type: ignore[union-attr]


def test_two_tenants_may_use_one_id(machine: Machine) -> None:
    acme = machine.tenant("acme")
    machine.submit("a", payload=b"1")
    (item,) = machine.submit("a", payload=b"2", tenant=acme)
    assert item.status is ItemStatus.ACCEPTED
    assert machine.task("a").payload == b"1"


def test_one_bad_item_refuses_itself_alone(machine: Machine) -> None:
    good, bad, late = (
        NEW,
        NewTask(TaskId("b"), FunctionName("app.nope"), b"{}"),
        NewTask(TaskId("c"), FunctionName("app.f"), b"{}"),
    )
    answer = machine.ask(Submitted(machine.next_ref(), DEFAULT_TENANT, (good, bad, late)))
    assert [item.refusal for item in answer.items] == [None, Refusal.UNKNOWN_FUNCTION, None]  # type: ignore[union-attr]
    assert machine.states() == {"a": "queued", "c": "queued"}


def test_an_unknown_tenant_is_refused(machine: Machine) -> None:
    (item,) = machine.submit("a", tenant="nobody")  # type: ignore[arg-type]
    assert item.refusal is Refusal.UNKNOWN_TENANT


@pytest.mark.parametrize(
    ("option", "refusal", "limit"),
    [
        ({"max_attempts": 4}, Refusal.ATTEMPTS_ABOVE_LIMIT, 3),
        ({"timeout_ms": 600_001}, Refusal.TIMEOUT_ABOVE_LIMIT, 600_000),
    ],
)
def test_a_task_may_not_ask_for_more_than_its_function_allows(
    machine: Machine, option: dict[str, int], refusal: Refusal, limit: int
) -> None:
    (item,) = machine.submit("a", **option)
    assert (item.refusal, item.limit) == (refusal, limit)
    (item,) = machine.submit("b", **{name: value - 1 for name, value in option.items()})
    assert item.status is ItemStatus.ACCEPTED


def test_queued_max_counts_unfinished_tasks_and_names_itself(machine: Machine) -> None:
    small = machine.tenant("small", queued_max=2)
    items = machine.submit("a", "b", "c", tenant=small)
    assert [item.refusal for item in items] == [None, None, Refusal.QUEUED_MAX]
    assert items[2].limit == 2
    machine.cancel("a", tenant=small)
    assert machine.submit("c", tenant=small)[0].status is ItemStatus.ACCEPTED


def test_a_delayed_task_is_scheduled_and_runs_when_due(machine: Machine) -> None:
    machine.submit("a", delay_ms=500)
    machine.submit("b", run_at_ms=START_MS + 300)
    assert machine.states() == {"a": "scheduled", "b": "scheduled"}
    machine.later(299)
    assert machine.dispatch() == []
    machine.later(1)
    assert machine.states() == {"a": "scheduled", "b": "queued"}
    machine.later(200)
    assert machine.states() == {"a": "queued", "b": "queued"}
    assert [task.id for task in machine.dispatch()[0].tasks] == ["b"]


def test_a_run_at_in_the_past_means_now(machine: Machine) -> None:
    machine.submit("a", run_at_ms=5)
    assert machine.task("a").due_ms == START_MS


def test_priority_comes_from_the_task_or_else_from_its_function(machine: Machine) -> None:
    machine.register(function("app.low", priority=Priority.LOW))
    machine.submit("a", function="app.low")
    machine.submit("b", function="app.low", priority=Priority.HIGH)
    assert machine.task("a").priority is Priority.LOW
    assert machine.task("b").priority is Priority.HIGH


def test_what_was_accepted_is_there_after_a_crash_and_what_was_not_durable_is_not(machine: Machine) -> None:
    machine.submit("kept")
    machine.shard.handle(
        Submitted(machine.next_ref(), DEFAULT_TENANT, (NewTask(TaskId("lost"), FunctionName("app.f"), b"{}"),)),
        machine.now_ms,
        Random(0),
    )
    machine.restart()
    assert machine.states() == {"kept": "queued"}
    machine.join()
    (lease,) = machine.dispatch()
    assert machine.report(lease.token, ok(lease.tasks[0].no)).gone == ()


def test_a_full_segment_is_closed_and_the_next_one_follows(machine: Machine) -> None:
    """However much waits while the journal writes, no segment is larger than the journal takes."""
    big = b'"' + b"x" * 5_000_000 + b'"'
    for n in range(20):
        task = NewTask(TaskId(f"big{n}"), FunctionName("app.f"), big)
        machine.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, (task,)))
    cuts = []
    while (cut := machine.shard.cut()) is not None:
        cuts.append(cut)
        assert machine.shard.release() == []
    assert [len(cut.records) for cut in cuts] == [7, 7, 6]
    assert [cut.number for cut in cuts] == list(range(cuts[0].number, cuts[0].number + 3))
    for cut in cuts:
        machine.journal.append(cut.number, encode(cut.records))
        machine.shard.durable(cut.number)
        assert len(machine.shard.release()) == len(cut.records), "each answer with the segment of its record"
