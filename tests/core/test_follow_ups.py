"""What runs when a task has ended: one task for each run, in the same segment, whatever crashes."""

from __future__ import annotations

import json

import pytest

from taskservice.core import records as r
from taskservice.core.events import RunnerReported
from taskservice.core.follow_up import RESULT_BYTES_MAX
from taskservice.core.lease_wire import LeaseReport, RunnerReport
from taskservice.core.operations import OperationKind
from taskservice.core.types import Hooks, OutcomeKind, TaskState
from taskservice.core.values import ValueRef, referring
from taskservice.journal.codec import encode
from world.machine import START_MS, Machine, bad, function, ok

BOTH = Hooks(on_success="app.good", on_failure="app.bad")


@pytest.fixture
def machine():
    machine = Machine()
    machine.register(function(), function("app.good"), function("app.bad"))
    machine.join()
    yield machine
    machine.close()


def followers(machine: Machine) -> dict[str, str]:
    """The ids of the tasks that follow others, and their functions."""
    here = [machine.task(id) for id in machine.states() if "~" in id]
    return {task.id: task.function for task in here}


def told(machine: Machine, id: str) -> dict:
    return json.loads(machine.task(id).payload)["task"]


def test_what_follows_success_is_told_of_it(machine: Machine) -> None:
    lease = machine.run("a", hooks=BOTH, tags=(("k", "v"),))
    machine.now_ms += 50
    machine.report(lease.token, ok(1, b'{"n":[1]}'))
    assert followers(machine) == {"a~1.1": "app.good"}
    follower = machine.task("a~1.1")
    assert (follower.state, follower.tags, follower.hooks) == (TaskState.QUEUED, (("follows", "a"),), None)
    assert told(machine, "a~1.1") == {
        "id": "a", "tenant": "default", "function": "app.f", "state": "succeeded", "run": 1, "attempt": 1,
        "tags": {"k": "v"}, "created_at": "1970-01-01T00:16:40.000Z", "started_at": "1970-01-01T00:00:00.000Z",
        "ended_at": "1970-01-01T00:16:40.050Z", "duration_ms": 1.0, "result": {"n": [1]},
    }  # fmt: skip
    assert machine.now_ms == START_MS + 50


def test_what_follows_failure_is_told_why(machine: Machine) -> None:
    lease = machine.run("a", hooks=BOTH)
    machine.report(lease.token, bad(1, OutcomeKind.NON_RETRYABLE, "no such user"))
    assert followers(machine) == {"a~1.1": "app.bad"}
    said = told(machine, "a~1.1")
    assert (said["state"], said["error"]) == ("failed", {"reason": "non_retryable", "message": "no such user"})
    assert "result" not in said


def test_nothing_follows_an_attempt_that_is_not_the_last(machine: Machine) -> None:
    lease = machine.run("a", hooks=BOTH)
    machine.report(lease.token, bad(1))
    assert (machine.states(), followers(machine)) == ({"a": "retrying"}, {})


def test_expiring_is_failing(machine: Machine) -> None:
    machine.submit("a", "plain", ttl_ms=100, hooks=BOTH)
    machine.submit("b", ttl_ms=100)
    machine.later(100)
    assert followers(machine) == {"a~1.1": "app.bad", "plain~2.1": "app.bad"}
    assert told(machine, "a~1.1")["state"] == "expired"


def test_nothing_follows_what_somebody_has_cancelled(machine: Machine) -> None:
    machine.submit("a", "b", hooks=BOTH)
    machine.cancel("a")
    machine.bulk()
    machine.finish_bulk()
    lease = machine.run("c", hooks=BOTH)
    machine.cancel("c")
    machine.report(lease.token, bad(3, OutcomeKind.CANCELLED))
    assert set(machine.states().values()) == {"cancelled"}
    assert followers(machine) == {}


def test_each_run_has_its_own(machine: Machine) -> None:
    lease = machine.run("a", hooks=BOTH)
    machine.report(lease.token, bad(1, OutcomeKind.NON_RETRYABLE))
    machine.change(OperationKind.RETRY, "a")
    while leases := machine.dispatch():
        machine.succeed(leases[0])
    assert followers(machine) == {"a~1.1": "app.bad", "a~1.2": "app.good"}
    assert told(machine, "a~1.2")["run"] == 2


def test_a_report_that_comes_twice_has_one(machine: Machine) -> None:
    lease = machine.run("a", hooks=BOTH)
    machine.succeed(lease)
    machine.succeed(lease)
    assert list(followers(machine)) == ["a~1.1"]


def test_the_end_and_what_follows_are_in_one_segment_or_in_none(machine: Machine) -> None:
    lease = machine.run("a", hooks=BOTH)
    report = RunnerReport("r1", (LeaseReport(lease.token, (ok(1),), (), True),))  # type: ignore[arg-type]
    machine.handle(RunnerReported(machine.next_ref(), report))
    machine.restart()  # before it was durable
    assert followers(machine) == {}
    machine.join()
    machine.settle()
    machine.later(1_000)
    (lease,) = machine.dispatch()
    machine.handle(
        RunnerReported(machine.next_ref(), RunnerReport("r1", (LeaseReport(lease.token, (ok(1),), (), True),)))
    )  # type: ignore[arg-type]
    cut = machine.shard.cut()
    assert cut is not None
    assert [type(record) for record in cut.records] == [r.TasksSucceeded, r.TasksAccepted]
    machine.records.extend(cut.records)
    machine.journal.append(cut.number, encode(cut.records))
    machine.shard.durable(cut.number)
    machine.restart()
    assert followers(machine) == {"a~1.1": "app.good"}


def test_an_id_that_is_used_again_after_a_deletion_has_another(machine: Machine) -> None:
    machine.succeed(machine.run("a", hooks=BOTH))
    machine.change(OperationKind.DELETE, "a")
    machine.succeed(machine.dispatch()[0])
    machine.succeed(machine.run("a", hooks=BOTH))
    assert list(followers(machine)) == ["a~1.1", "a~3.1"]


def test_there_is_room_for_it_in_place_of_the_task(machine: Machine) -> None:
    acme = machine.tenant("acme", queued_max=1)
    machine.submit("a", tenant=acme, hooks=BOTH)
    (lease,) = machine.dispatch()
    machine.succeed(lease)
    assert machine.task("a~1.1", acme).state is TaskState.QUEUED


def test_it_comes_beside_what_schedules_make(machine: Machine) -> None:
    machine.submit("a", ttl_ms=1_000, hooks=BOTH)
    machine.put_schedule("s", interval_ms=1_000)
    machine.later(1_000)
    assert machine.task("a~1.1").no != machine.task("s@1970-01-01T00:16:41.000Z").no
    assert sum(len(record.tasks) for record in machine.records if isinstance(record, r.TasksAccepted)) == 3


def test_a_large_result_is_not_in_its_payload(machine: Machine) -> None:
    lease = machine.run("a", hooks=BOTH)
    machine.report(lease.token, ok(1, b'"' + b"x" * RESULT_BYTES_MAX + b'"'))
    said = told(machine, "a~1.1")
    assert (said.get("result"), said["result_bytes"]) == (None, RESULT_BYTES_MAX + 2)
    lease = machine.dispatch()[0]
    machine.succeed(lease)
    ref = referring(ValueRef("value/dt=2030-01-01/" + "0" * 32, 99, b"digest"))
    lease = machine.run("c", hooks=BOTH)
    machine.report(lease.token, ok(3, ref))
    assert told(machine, "c~3.1")["result_bytes"] == 99


def test_a_long_id_leaves_room_for_what_comes_after_it(machine: Machine) -> None:
    long = "x" * 200
    machine.succeed(machine.run(long, hooks=BOTH))
    assert list(followers(machine)) == ["x" * 150 + "~1.1"]


def test_tasks_that_nothing_follows_are_not_looked_at() -> None:
    machine = Machine()
    machine.register()
    machine.join()
    lease = machine.run("a")
    loads: list[list[int]] = []
    load = machine.state.table.load

    def counted(nos):
        loads.append(list(nos))
        return load(nos)

    machine.state.table.load = counted  # type: ignore[method-assign]
    report = RunnerReport("r1", (LeaseReport(lease.token, (ok(1),), (), True),))  # type: ignore[arg-type]
    machine.shard.handle(RunnerReported(machine.next_ref(), report), machine.now_ms, machine._rng)
    assert loads == []
    machine.state.table.load = load  # type: ignore[method-assign]
    machine.close()
