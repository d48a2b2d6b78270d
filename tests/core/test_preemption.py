"""A shard that stops leases for others: when it does, what is on record, and whose the room is then."""

from __future__ import annotations

from taskservice.core.effects import Ordered
from taskservice.core.lease_wire import HeldLease, LeaseSpec
from taskservice.core.orders import OrderKind, OrdersGiven, TasksPreempted
from taskservice.core.preempt import CLAIM_AFTER_MS, CLAIM_AGAIN_MS
from taskservice.core.preempt_round import PREEMPTED_MAX, ROUND_MS
from taskservice.core.preemption import FAIR_AFTER_MS
from taskservice.core.records import LeaseGranted, TasksAccepted
from taskservice.core.specs import Quota, Resources
from taskservice.core.story import story
from taskservice.core.types import OutcomeKind, Priority, TaskId, TaskState, TenantId, Token
from taskservice.journal.dump import Wanted
from world.machine import Machine, bad, function, ok

LONG = function("app.long", timeout_ms=3_600_000, grace_ms=2_000)
STEP_MS = 50


def orders(machine: Machine) -> list[Token]:
    """The leases that were told to stop so far, in order."""
    return [effect.order.token for effect in machine.released if isinstance(effect, Ordered)]


def go_on(machine: Machine, ms: int) -> list[LeaseSpec]:
    """So much time passes; gives the leases that were granted meanwhile."""
    granted: list[LeaseSpec] = []
    for _ in range(ms // STEP_MS):
        machine.later(STEP_MS)
        granted += machine.dispatch()
    return granted


def full_of_batch(machine: Machine, cpus: int = 4, **options: object) -> list[LeaseSpec]:
    """As many long batch tasks run as there is room for, and as many wait."""
    machine.register(function("app.long", timeout_ms=3_600_000, grace_ms=2_000, **options))
    machine.join("r1", cpus)
    machine.submit(*[f"b{n}" for n in range(2 * cpus)], function="app.long", priority=Priority.BATCH)
    leases = machine.dispatch()
    assert len(leases) == cpus
    return leases


def stop(machine: Machine, token: Token) -> None:
    """The lease has done as it was told."""
    lease = machine.state.leases[token]
    (no,) = lease.open
    machine.report(token, bad(no, OutcomeKind.PREEMPTED), runner=lease.runner)


def test_a_critical_task_gets_the_room_of_the_batch_task_that_has_done_least(machine: Machine) -> None:
    full_of_batch(machine, cpus=3)
    go_on(machine, 5_000)
    machine.join("r2")
    (newest,) = machine.dispatch()
    go_on(machine, 5_000)
    assert orders(machine) == []
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    assert go_on(machine, CLAIM_AFTER_MS + 2 * ROUND_MS) == []
    (victim,) = orders(machine)
    assert victim == newest.token
    assert machine.task("b3").state is TaskState.RUNNING, "it was only told"
    stop(machine, victim)
    (granted,) = machine.dispatch()
    assert [task.id for task in granted.tasks] == ["urgent"]
    back = machine.task("b3")
    assert (back.state, back.attempt, back.preempted, back.error) == (TaskState.QUEUED, 0, 1, None)
    machine.report(granted.token, ok(granted.tasks[0].no), runner="r2")
    (again,) = machine.dispatch()
    assert [task.id for task in again.tasks] == ["b3"], "in its old place, before those that came later"
    machine.report(again.token, ok(again.tasks[0].no), runner="r2")
    assert (machine.task("b3").state, machine.task("b3").attempt) == (TaskState.SUCCEEDED, 1)
    told = "\n".join(story(machine.records, machine.task("b3").no))
    assert "told to stop within 2000 ms (preempt): default is to have room for app.f (critical)" in told
    assert "stopped for others" in told
    assert len(orders(machine)) == 1


def test_a_pool_with_room_and_one_in_which_all_have_their_own_cost_nothing(machine: Machine) -> None:
    machine.join("r1", 4)
    machine.submit("a", "b")
    machine.dispatch()
    go_on(machine, 1_000)
    assert machine.state.preemption.looked_ms is None
    machine.submit(*[f"c{n}" for n in range(8)])
    rounds: dict[int | None, None] = {}
    for _ in range(40):
        go_on(machine, STEP_MS)
        rounds[machine.state.preemption.looked_ms] = None
    assert len(rounds) == 40 * STEP_MS // ROUND_MS
    machine.later(ROUND_MS)
    machine.dispatch()
    assert machine.shard.opens_ms is None, "nobody wakes the dispatcher for it"


def test_the_clock_wakes_the_dispatcher_while_somebody_has_less_than_its_own(machine: Machine) -> None:
    full_of_batch(machine)
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    rounds = 0
    while not orders(machine):
        assert machine.shard.opens_ms is not None
        assert 0 < machine.shard.opens_ms - machine.now_ms <= ROUND_MS
        machine.later(machine.shard.opens_ms - machine.now_ms)
        machine.dispatch()
        rounds += 1
    assert rounds <= CLAIM_AFTER_MS // ROUND_MS + 2


def test_no_task_is_stopped_more_than_three_times_nor_forgotten_by_a_restart(machine: Machine) -> None:
    full_of_batch(machine, cpus=1)
    for times in range(PREEMPTED_MAX + 1):
        urgent = f"urgent{times}"
        machine.submit(urgent, priority=Priority.CRITICAL)
        machine.dispatch()
        go_on(machine, CLAIM_AGAIN_MS + 1_000)
        assert len(orders(machine)) == min(times + 1, PREEMPTED_MAX)
        if times == PREEMPTED_MAX:
            break
        stop(machine, orders(machine)[-1])
        (lease,) = machine.dispatch()
        machine.restart()
        machine.join("r1", 1, (HeldLease(lease.token, Resources()),))
        machine.settle()
        machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.NON_RETRYABLE))
        machine.dispatch()
        assert machine.task("b0").preempted == times + 1
    assert (machine.task("b0").state, machine.task("b0").attempt) == (TaskState.RUNNING, 1)


def test_an_order_outlives_the_dispatcher_and_is_sent_again(machine: Machine) -> None:
    full_of_batch(machine, cpus=1)
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    go_on(machine, CLAIM_AFTER_MS + 2 * ROUND_MS)
    (victim,) = orders(machine)
    machine.restart()
    machine.join("r1", 1, (HeldLease(victim, Resources()),))
    machine.settle()
    assert orders(machine) == [victim, victim], "told again"
    go_on(machine, 5_000)
    assert orders(machine) == [victim, victim], "and nobody else is, for it is known to be leaving"
    stop(machine, victim)
    (granted,) = machine.dispatch()
    assert [task.id for task in granted.tasks] == ["urgent"], "whose room it was made for is known as well"
    stop_again = machine.report(victim, bad(machine.task("b0").no, OutcomeKind.PREEMPTED))
    assert stop_again.gone == (victim,)
    assert machine.task("b0").state is TaskState.QUEUED
    assert (machine.task("b0").attempt, machine.task("b0").preempted) == (0, 1), "once, though it was told twice"


def test_a_lease_that_is_lost_when_it_was_told_to_stop_counts_as_stopped(machine: Machine) -> None:
    """Or a task might be stopped again and again by runners that die before they can say so."""
    full_of_batch(machine, cpus=1)
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    go_on(machine, CLAIM_AFTER_MS + 2 * ROUND_MS)
    machine.lose("r1")
    task = machine.task("b0")
    assert (task.state, task.attempt, task.preempted, task.losses) == (TaskState.QUEUED, 0, 1, 0)


def test_who_ends_before_it_is_stopped_has_ended(machine: Machine) -> None:
    (lease,) = full_of_batch(machine, cpus=1)
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    go_on(machine, CLAIM_AFTER_MS + 2 * ROUND_MS)
    assert orders(machine) == [lease.token]
    machine.succeed(lease)
    assert (machine.task("b0").state, machine.task("b0").preempted) == (TaskState.SUCCEEDED, 0)


def test_that_a_lease_was_stopped_is_believed_only_of_one_that_was_told(machine: Machine) -> None:
    (lease,) = full_of_batch(machine, cpus=1)
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.PREEMPTED))
    task = machine.task("b0")
    assert (task.state, task.preempted, task.losses) == (TaskState.RETRYING, 0, 1)


def test_a_function_may_say_that_its_tasks_are_not_to_be_stopped(machine: Machine) -> None:
    full_of_batch(machine, cpus=2, preemptible=False)
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    go_on(machine, 20_000)
    assert orders(machine) == []


def test_critical_tasks_are_not_stopped_unless_their_function_allows_it(machine: Machine) -> None:
    machine.register(LONG, function("app.meek", preemptible=True, grace_ms=2_000))
    machine.join("r1", 2)
    machine.submit("a", "b", function="app.long", priority=Priority.CRITICAL)
    machine.dispatch()
    kept = machine.tenant("kept", quota=Quota(reserved=(("CPU", 1000),)))
    machine.submit("c", function="app.long", tenant=kept)
    go_on(machine, 10_000)
    assert orders(machine) == []


def test_a_reservation_is_had_within_its_rounds_and_the_grace(machine: Machine) -> None:
    """Ten CPUs of twenty are reserved; a round stops two, and each is gone two seconds later."""
    machine.register(LONG)
    machine.join("r1", 20)
    machine.submit(*[f"o{n}" for n in range(40)], function="app.long")
    machine.dispatch()
    kept = machine.tenant("kept", quota=Quota(reserved=(("CPU", 10_000),)))
    go_on(machine, 5_000)
    machine.submit(*[f"k{n}" for n in range(30)], function="app.long", tenant=kept)
    began_ms = machine.now_ms
    machine.dispatch()
    leaving: list[tuple[int, Token]] = []
    known = 0
    most_in_a_round = 0
    while machine.state.running.tenants.get("kept", 0) < 10:
        go_on(machine, STEP_MS)
        new = orders(machine)[known:]
        most_in_a_round = max(most_in_a_round, len(new))
        known += len(new)
        leaving += [(machine.now_ms + 2_000, token) for token in new]
        while leaving and leaving[0][0] <= machine.now_ms:
            stop(machine, leaving.pop(0)[1])
        assert machine.now_ms - began_ms < 10_000
    took_ms = machine.now_ms - began_ms
    print(
        f"\n10 of 20 CPUs that were reserved were had after {took_ms} ms, {known} leases stopped, {most_in_a_round} a round"
    )
    assert took_ms <= CLAIM_AFTER_MS + ROUND_MS + 5 * ROUND_MS + 2_000 + 4 * STEP_MS
    assert (known, most_in_a_round) == (10, 2)
    go_on(machine, 20_000)
    assert len(orders(machine)) == 10, "and then it stops"


def test_tenants_of_equal_weight_come_to_rest(machine: Machine) -> None:
    """`late` gets its half, though all tasks are long, once it has waited for the bound; and nobody is stopped after that."""
    machine.register(LONG)
    machine.join("r1", 20)
    early, late = machine.tenant("early"), machine.tenant("late")
    machine.submit(*[f"e{n}" for n in range(60)], function="app.long", tenant=early)
    machine.dispatch()
    go_on(machine, 2_000)
    machine.submit(*[f"l{n}" for n in range(60)], function="app.long", tenant=late)
    machine.dispatch()
    go_on(machine, FAIR_AFTER_MS - ROUND_MS)
    assert orders(machine) == []
    seen = 0
    for _ in range(200):
        go_on(machine, ROUND_MS)
        for token in orders(machine)[seen:]:
            stop(machine, token)
            seen += 1
    running = {tenant: machine.state.running.tenants[tenant] for tenant in (early, late)}
    print(f"\nafter 40 s: {running}, {seen} leases stopped")
    assert running == {TenantId("early"): 10, TenantId("late"): 10}
    assert seen == 10


def test_the_room_goes_to_whom_it_was_made_for_and_not_to_the_next_in_turn(machine: Machine) -> None:
    """`old` has had more than its part before, so `other` is the next in turn; but the reservation is `old`'s."""
    machine.register(LONG)
    machine.join("r1", 4)
    old = machine.tenant("old", quota=Quota(reserved=(("CPU", 1000),)))
    other = machine.tenant("other")
    machine.submit(*[f"x{n}" for n in range(20)], function="app.long", tenant=other)
    machine.dispatch()
    machine.submit("mine", function="app.long", tenant=old)
    machine.dispatch()
    go_on(machine, CLAIM_AFTER_MS + 2 * ROUND_MS)
    (victim,) = orders(machine)
    machine.submit("urgent", priority=Priority.CRITICAL)
    stop(machine, victim)
    (granted,) = machine.dispatch()
    assert granted.tenant == "old"


def test_short_leases_are_waited_for(machine: Machine) -> None:
    """What is over before it could be stopped is not stopped."""
    machine.join("r1", 2)
    for n in range(5):
        machine.succeed(machine.run(f"warm{n}", priority=Priority.BATCH), duration_us=1_500_000)
    machine.submit(*[f"b{n}" for n in range(6)], priority=Priority.BATCH)
    leases = machine.dispatch()
    assert len(leases) == 2
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    go_on(machine, 1_000)
    assert orders(machine) == []
    go_on(machine, 2_000)
    assert len(orders(machine)) == 1, "one that outlasts what was expected of it is"


def test_records_say_what_happened(machine: Machine) -> None:
    full_of_batch(machine, cpus=1)
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    go_on(machine, CLAIM_AFTER_MS + 2 * ROUND_MS)
    stop(machine, orders(machine)[0])
    (given,) = [record for record in machine.records if isinstance(record, OrdersGiven)]
    (order,) = given.orders
    assert (order.kind, order.grace_ms, order.nos) == (OrderKind.PREEMPT, 2_000, ())
    (stopped,) = [record for record in machine.records if isinstance(record, TasksPreempted)]
    assert (stopped.token, stopped.nos) == (order.token, (machine.task("b0").no,))


def test_a_dump_of_one_task_has_the_orders_of_its_leases_only(machine: Machine) -> None:
    full_of_batch(machine, cpus=1)
    machine.submit("urgent", priority=Priority.CRITICAL)
    machine.dispatch()
    go_on(machine, CLAIM_AFTER_MS + 2 * ROUND_MS)
    stop(machine, orders(machine)[0])
    kinds = {}
    for id in ("b0", "urgent"):
        wanted = Wanted(task=TaskId(id))
        kinds[id] = [type(part) for record in machine.records if (part := wanted.part_of(record)) is not None]
    assert kinds["b0"] == [TasksAccepted, LeaseGranted, OrdersGiven, TasksPreempted]
    assert kinds["urgent"] == [TasksAccepted]
