"""A dispatcher dies and another one starts: what goes on, what is lost, what was never promised."""

from __future__ import annotations

from taskservice.core.lease_wire import HeldLease
from taskservice.core.specs import Resources
from taskservice.core.story import story
from taskservice.core.types import TaskState, Token
from taskservice.journal.codec import decode
from world.machine import Machine, ok


def test_a_lease_that_its_runner_still_holds_goes_on(machine: Machine) -> None:
    lease = machine.run("a")
    machine.restart()
    machine.join(held=(HeldLease(lease.token, lease.resources),))
    machine.settle()
    assert machine.task("a").state is TaskState.RUNNING
    machine.submit("b")
    assert machine.dispatch() == [], "the runner's only CPU is taken by what it holds"
    machine.report(lease.token, ok(lease.tasks[0].no))
    assert (machine.task("a").state, machine.task("a").attempt) == (TaskState.SUCCEEDED, 1)
    assert len(machine.dispatch()) == 1


def test_a_lease_that_nobody_holds_is_lost_once_all_runners_have_been_heard(machine: Machine) -> None:
    machine.run("a")
    machine.restart()
    machine.join("r2")
    assert machine.task("a").state is TaskState.RUNNING
    machine.settle()
    assert (machine.task("a").state, machine.task("a").losses) == (TaskState.RETRYING, 1)


def test_a_lease_over_before_its_runner_is_known_does_not_occupy_it(machine: Machine) -> None:
    """The runner's list of leases may be older than its report that one is over."""
    lease = machine.run("a")
    machine.restart()
    machine.report(lease.token, ok(lease.tasks[0].no, duration_us=10**9))
    machine.join(held=(HeldLease(lease.token, lease.resources),))
    machine.submit("b")
    assert len(machine.dispatch()) == 1


def test_tokens_of_two_epochs_never_meet(machine: Machine) -> None:
    first = machine.run("a")
    machine.restart()
    machine.join()
    machine.settle()
    machine.later(0)
    (second,) = machine.dispatch()
    assert first.token == Token(1, 1)
    assert second.token == Token(2, 1)


def test_a_lease_that_was_launched_but_not_durable_is_gone_afterwards(machine: Machine) -> None:
    """Its task is queued again; the runner that runs it is told to stop when it reports."""
    machine.submit("a")
    machine.shard.dispatch(machine.now_ms)
    (launch,) = machine.shard.release()
    machine.restart()
    assert machine.task("a").state is TaskState.QUEUED
    token = launch.lease.token  # type: ignore[union-attr]
    machine.join(held=(HeldLease(token, Resources()),))
    assert machine.report(token, ok(1)).gone == (token,)
    assert machine.task("a").state is TaskState.QUEUED


def test_functions_tenants_and_counts_survive(machine: Machine) -> None:
    acme = machine.tenant("acme", weight=2.5, queued_max=3)
    machine.submit("a", "b", tenant=acme)
    version = machine.state.catalog_version
    machine.restart()
    assert machine.state.tenants[acme].weight == 2.5
    assert machine.state.catalog_version == version
    assert machine.submit("c", "d", tenant=acme)[1].limit == 3


def test_the_story_of_a_task_is_in_the_journal(machine: Machine) -> None:
    lease = machine.run("a")
    machine.lose("r1")
    machine.join("r2")
    machine.later(0)
    (lease,) = machine.dispatch()
    machine.report(lease.token, ok(lease.tasks[0].no), runner="r2")
    records = [record for epoch in machine.store.epochs for body in epoch for record in decode(body)]
    told = [line.split(" ", 1)[1].split(" ")[0] for line in story(records, lease.tasks[0].no)]
    assert told == ["accepted", "leased", "retrying", "queued:", "leased", "succeeded"]
