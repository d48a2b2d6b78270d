"""Tasks that are cancelled while they run: what is on record, who is told, and how it ends."""

from __future__ import annotations

import pytest

from taskservice.core.effects import Ended, ItemStatus, Ordered, TaskAnswer, TasksAnswer
from taskservice.core.events import ChangeAsked, TaskAsked, TasksListed
from taskservice.core.lease_wire import HeldLease, LeaseSpec, Outcome
from taskservice.core.operations import OperationKind
from taskservice.core.orders import Order, OrderKind, OrdersGiven, TasksStopped
from taskservice.core.preempt import CLAIM_AFTER_MS
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.records import LeaseGranted, TasksAccepted
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import DownstreamPolicy, Resources
from taskservice.core.story import story
from taskservice.core.types import ListFilter, OutcomeKind, Priority, TaskId, TaskNo, TaskState
from taskservice.journal.dump import Wanted
from world.machine import Machine, bad, function, ok

BAD = [kind for kind in OutcomeKind if kind is not OutcomeKind.SUCCEEDED]


def orders(machine: Machine) -> list[Order]:
    """What leases were told so far, in order."""
    return [effect.order for effect in machine.released if isinstance(effect, Ordered)]


def look(machine: Machine, id: str) -> TaskAnswer:
    answer = machine.ask(TaskAsked(machine.next_ref(), DEFAULT_TENANT, TaskId(id)))
    assert isinstance(answer, TaskAnswer)
    return answer


def cancelling(machine: Machine, *ids: str) -> list[ItemStatus]:
    return [item.status for item in machine.cancel(*ids)]


def ended(machine: Machine) -> dict[str, str]:
    """Of what whoever waits was told, by task."""
    return {
        id: effect.state.value for effect in machine.released if isinstance(effect, Ended) for _, id in effect.tasks
    }


def in_one_lease(machine: Machine, *ids: str) -> LeaseSpec:
    """These tasks run, and are known to be short."""
    machine.succeed(machine.run("warm"))
    return machine.run(*ids)


def test_who_runs_is_told_to_stop_once_and_is_cancelled_when_it_has(machine: Machine) -> None:
    machine.register(function(grace_ms=2_000))
    lease = machine.run("a")
    assert cancelling(machine, "a", "a") == [ItemStatus.CANCELLING] * 2
    assert cancelling(machine, "a") == [ItemStatus.CANCELLING]
    (order,) = orders(machine)
    assert order == Order(lease.token, OrderKind.CANCEL, 2_000, order.why, (lease.tasks[0].no,))
    assert machine.task("a").state is TaskState.RUNNING, "it was only told"
    assert (look(machine, "a").cancelling, ended(machine)) == (True, {})
    machine.later(300)
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.CANCELLED))
    task = machine.task("a")
    assert (task.state, task.attempt, task.ended_ms, task.error) == (TaskState.CANCELLED, 1, machine.now_ms, None)
    assert (look(machine, "a").cancelling, ended(machine)) == (False, {"a": "cancelled"})
    assert cancelling(machine, "a") == [ItemStatus.CANCELLED]
    machine.later(10_000)
    assert machine.dispatch() == []
    assert sum(machine.state.unfinished.values()) == 0
    told = "\n".join(story(machine.records, task.no))
    assert "told to stop within 2000 ms (cancel): somebody has cancelled it" in told
    assert "cancelled: its attempt under 1.1 has ended" in told


def test_a_page_says_who_is_being_cancelled(machine: Machine) -> None:
    in_one_lease(machine, "a", "b")
    machine.cancel("b")
    page = machine.ask(TasksListed(machine.next_ref(), ListFilter(), None, 10))
    assert isinstance(page, TasksAnswer)
    assert page.cancelling == (machine.task("b").no,)


@pytest.mark.parametrize("kind", BAD)
def test_however_its_attempt_ends_but_by_success_it_is_cancelled(machine: Machine, kind: OutcomeKind) -> None:
    lease = machine.run("a")
    machine.cancel("a")
    machine.report(lease.token, bad(lease.tasks[0].no, kind))
    assert machine.task("a").state is TaskState.CANCELLED
    machine.later(60_000)
    assert machine.dispatch() == [], "and is never tried again"


def test_who_succeeds_before_it_has_stopped_has_succeeded(machine: Machine) -> None:
    lease = machine.run("a")
    machine.cancel("a")
    machine.succeed(lease)
    assert (machine.task("a").state, ended(machine)) == (TaskState.SUCCEEDED, {"a": "succeeded"})


def test_a_report_that_was_first_is_what_counts(machine: Machine) -> None:
    """And one that is late changes nothing."""
    lease = machine.run("a")
    no = lease.tasks[0].no
    machine.report(lease.token, bad(no))
    assert cancelling(machine, "a") == [ItemStatus.CANCELLED], "it waited for its next attempt"
    assert orders(machine) == []
    lease = machine.run("b")
    machine.cancel("b")
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.CANCELLED))
    assert machine.report(lease.token, ok(lease.tasks[0].no)).gone == (lease.token,)
    assert machine.task("b").state is TaskState.CANCELLED


@pytest.mark.parametrize("how", ["lost", "handed back", "not a word", "not held after a restart"])
def test_who_never_says_how_it_ended_is_cancelled(machine: Machine, how: str) -> None:
    lease = machine.run("a")
    machine.cancel("a")
    if how == "lost":
        machine.lose("r1")
    elif how == "handed back":
        machine.report(lease.token, handed_back=(lease.tasks[0].no,))
    elif how == "not a word":
        machine.report(lease.token)
    else:
        machine.restart()
        machine.join("r1")
        machine.settle()
    assert machine.task("a").state is TaskState.CANCELLED
    machine.join("r2")
    machine.later(60_000)
    assert machine.dispatch() == []


def test_an_order_outlives_the_dispatcher_and_is_sent_again(machine: Machine) -> None:
    lease = machine.run("a")
    machine.cancel("a")
    machine.restart()
    machine.join("r1", 1, (HeldLease(lease.token, Resources()),))
    machine.settle()
    first, again = orders(machine)
    assert first == again
    assert (look(machine, "a").cancelling, cancelling(machine, "a")) == (True, [ItemStatus.CANCELLING])
    assert len(orders(machine)) == 2, "who asks again is told so, and nobody else"
    machine.report(lease.token, bad(lease.tasks[0].no))
    assert machine.task("a").state is TaskState.CANCELLED
    machine.restart()
    assert machine.task("a").state is TaskState.CANCELLED


def test_what_was_not_on_record_nobody_was_told(machine: Machine) -> None:
    """The dispatcher dies before the order is durable: neither the runner nor whoever asked has heard of it."""
    lease = machine.run("a")
    machine.handle(ChangeAsked(machine.next_ref(), DEFAULT_TENANT, OperationKind.CANCEL, (TaskId("a"),)))
    assert machine.shard.release() == []
    machine.restart()
    machine.join("r1", 1, (HeldLease(lease.token, Resources()),))
    machine.settle()
    assert (orders(machine), look(machine, "a").cancelling) == ([], False)


def test_only_that_task_of_a_lease_is_stopped(machine: Machine) -> None:
    lease = in_one_lease(machine, "a", "b", "c", "d")
    assert cancelling(machine, "d", "b") == [ItemStatus.CANCELLING] * 2
    (order,) = orders(machine)
    nos = {task.id: task.no for task in lease.tasks}
    assert order.nos == (nos["d"], nos["b"]), "one order for all of them"
    assert cancelling(machine, "a", "b") == [ItemStatus.CANCELLING] * 2
    assert [each.nos for each in orders(machine)] == [order.nos, (nos["a"],)]
    machine.report(lease.token, ok(nos["a"]), bad(nos["b"]), bad(nos["c"]), handed_back=(nos["d"],))
    states = {"a": "succeeded", "b": "cancelled", "c": "retrying", "d": "cancelled"}
    assert machine.states() == {"warm": "succeeded", **states}


def preempted(machine: Machine) -> LeaseSpec:
    """A batch task that was told to stop for an urgent one."""
    machine.register(function("app.long", timeout_ms=3_600_000, grace_ms=2_000))
    machine.submit("b", function="app.long", priority=Priority.BATCH)
    (lease,) = machine.dispatch()
    machine.submit("urgent", priority=Priority.CRITICAL)
    while not orders(machine):
        machine.later(ROUND_MS)
        machine.dispatch()
        assert machine.now_ms < 1_000_000 + 10 * CLAIM_AFTER_MS
    return lease


@pytest.mark.parametrize("kind", [OutcomeKind.PREEMPTED, OutcomeKind.LOST])
def test_a_cancel_goes_before_preemption(machine: Machine, kind: OutcomeKind) -> None:
    lease = preempted(machine)
    assert cancelling(machine, "b") == [ItemStatus.CANCELLING]
    machine.restart()
    machine.join("r1", 1, (HeldLease(lease.token, Resources()),))
    machine.settle()
    machine.report(lease.token, bad(lease.tasks[0].no, kind))
    assert (machine.task("b").state, machine.task("b").preempted) == (TaskState.CANCELLED, 0)
    (granted,) = machine.dispatch()
    assert [task.id for task in granted.tasks] == ["urgent"], "whose room it was made for"


def test_whoever_is_being_cancelled_is_not_preempted_as_well(machine: Machine) -> None:
    machine.register(function("app.long", timeout_ms=3_600_000, grace_ms=2_000))
    machine.submit("b", function="app.long", priority=Priority.BATCH)
    machine.dispatch()
    machine.cancel("b")
    machine.submit("urgent", priority=Priority.CRITICAL)
    for _ in range(20):
        machine.later(ROUND_MS)
        machine.dispatch()
    assert [order.kind for order in orders(machine)] == [OrderKind.CANCEL]


def test_its_room_its_place_in_a_window_and_its_price_are_given_back(machine: Machine) -> None:
    """As for any other attempt that ends; and its deadline was neither kept nor missed."""
    machine.policy(DownstreamPolicy("db", frozen=1))
    machine.register(function(downstream="db", key_max_running=1))
    lease = machine.run("a", key="k", deadline_in_ms=5_000)
    machine.submit("b", key="k")
    assert machine.dispatch() == []
    machine.cancel("a")
    machine.later(9_000)
    machine.report(lease.token, Outcome(lease.tasks[0].no, OutcomeKind.CANCELLED, machine.now_ms, 9_000_000))
    (next_one,) = machine.dispatch()
    assert [task.id for task in next_one.tasks] == ["b"]
    machine.succeed(next_one)
    assert machine.state.turns.gates.downstreams.windows["db"].in_flight == 0
    assert machine.state.deadlines.by_owner == {}


def test_it_can_be_run_again_and_is_not_being_cancelled_then(machine: Machine) -> None:
    lease = machine.run("a")
    machine.cancel("a")
    machine.report(lease.token, bad(lease.tasks[0].no))
    machine.change(OperationKind.RETRY, "a")
    (again,) = machine.dispatch()
    assert look(machine, "a").cancelling is False
    machine.report(again.token, bad(again.tasks[0].no))
    assert machine.task("a").state is TaskState.RETRYING


def test_a_thousand_of_a_lease_are_one_record(machine: Machine) -> None:
    """And when they end, another."""
    ids = [f"t{n}" for n in range(5)]
    lease = in_one_lease(machine, *ids)
    machine.cancel(*ids)
    machine.report(lease.token, *(bad(task.no, OutcomeKind.CANCELLED) for task in lease.tasks))
    (given,) = [record for record in machine.records if isinstance(record, OrdersGiven)]
    (stopped,) = [record for record in machine.records if isinstance(record, TasksStopped)]
    assert given.orders[0].nos == stopped.nos == tuple(task.no for task in lease.tasks)


def test_a_dump_of_one_task_has_the_orders_that_mean_it(machine: Machine) -> None:
    lease = in_one_lease(machine, "a", "b")
    machine.cancel("a")
    machine.report(lease.token, bad(lease.tasks[0].no), ok(TaskNo(lease.tasks[1].no)))
    kinds = {}
    for id in ("a", "b"):
        wanted = Wanted(task=TaskId(id))
        kinds[id] = [type(part).__name__ for record in machine.records if (part := wanted.part_of(record)) is not None]
    assert kinds["a"] == [TasksAccepted.__name__, LeaseGranted.__name__, OrdersGiven.__name__, TasksStopped.__name__]
    assert kinds["b"] == [TasksAccepted.__name__, LeaseGranted.__name__, "TasksSucceeded"]
