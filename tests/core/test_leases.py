"""Leases: order, size, room, and what must be durable before one is launched."""

from __future__ import annotations

from collections import Counter
from random import Random

from taskservice.core.effects import Launch
from taskservice.core.events import RunnerJoined, Submitted
from taskservice.core.lease import lease_size
from taskservice.core.limits import Limits
from taskservice.core.queues import LeafQueue
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Resources
from taskservice.core.speed import Speed
from taskservice.core.table import QueueKey
from taskservice.core.types import (
    FunctionName,
    Leaf,
    NewTask,
    OutcomeKind,
    Priority,
    RunnerId,
    TaskId,
    TaskNo,
    TaskState,
    Token,
)
from world.machine import Machine, bad, function, ok


def test_a_queue_is_served_in_the_order_of_acceptance(machine: Machine) -> None:
    machine.submit("a", "b", "c")
    served = []
    while leases := machine.dispatch():
        for lease in leases:
            served += [task.id for task in lease.tasks]
            machine.succeed(lease)
    assert served == ["a", "b", "c"]


def test_a_lease_charges_an_attempt_and_carries_the_token_the_task_holds(machine: Machine) -> None:
    lease = machine.run("a")
    task = machine.task("a")
    assert (task.state, task.attempt, task.token) == (TaskState.RUNNING, 1, lease.token)
    assert lease.token == Token(machine.journal.epoch, 1)
    assert lease.tasks[0].attempt == 1


def test_a_function_of_unknown_speed_gets_single_leases_and_then_batches(machine: Machine) -> None:
    machine.submit(*(f"t{n}" for n in range(500)))
    (first,) = machine.dispatch()
    assert len(first.tasks) == 1
    machine.succeed(first, duration_us=1_000)
    (second, ahead) = machine.dispatch()
    assert len(second.tasks) == 80, "80 ms of work at 1 ms each"
    assert len(ahead.tasks) == 80, "one short lease may wait ahead for each CPU"
    assert machine.dispatch() == []


def test_a_long_lease_has_nothing_waiting_behind_it(machine: Machine) -> None:
    machine.succeed(machine.run("warm"), duration_us=60_000_000)
    machine.submit("a", "b")
    (lease,) = machine.dispatch()
    assert [task.id for task in lease.tasks] == ["a"]
    assert machine.dispatch() == []


def queue_of(tasks: int, payload_bytes: int = 100) -> LeafQueue:
    queue = LeafQueue(Leaf(DEFAULT_TENANT, FunctionName("app.f"), Priority.NORMAL), 10)
    for no in range(1, tasks + 1):
        queue.add(QueueKey(0, TaskNo(no)), payload_bytes, 0)
    return queue


def test_lease_size_shares_a_small_queue_among_the_slots() -> None:
    quick, limits, deep = Speed(100.0), Limits(), queue_of(10_000)
    assert lease_size(queue_of(10), 4, quick, function(), limits) == 3
    assert lease_size(deep, 4, quick, function(), limits) == limits.lease_tasks_max
    assert lease_size(deep, 4, Speed(20_000.0), function(), limits) == 4
    assert lease_size(deep, 4, Speed(1e9), function(), limits) == 1
    assert lease_size(deep, 4, None, function(), limits) == 1
    assert lease_size(deep, 4, Speed(100_000.0), function(concurrency=100), limits) == 80


def test_large_payloads_make_small_leases() -> None:
    limits = Limits(lease_bytes_max=1_000_000)
    assert lease_size(queue_of(1_000, 100_000), 1, Speed(100.0), function(), limits) == 10
    assert lease_size(queue_of(1_000, 5_000_000), 1, Speed(100.0), function(), limits) == 1


def test_a_runner_is_never_given_more_than_it_has(machine: Machine) -> None:
    machine.register(function("app.big", resources=Resources(cpu_m=700, memory_bytes=100)))
    machine.submit("a", "b", function="app.big")
    assert machine.dispatch() == [], "the runner has no memory to give"
    machine.handle(RunnerJoined(RunnerId("r2"), "node", Resources(cpu_m=1000, memory_bytes=150)))
    (lease,) = machine.dispatch()
    assert machine.launches[-1].runner == "r2"
    assert machine.dispatch() == []
    machine.report(lease.token, ok(lease.tasks[0].no, duration_us=10**9), runner="r2")
    assert len(machine.dispatch()) == 1


def test_leases_go_to_the_least_loaded_runner(machine: Machine) -> None:
    machine.join("r2", cpus=3)
    machine.submit("a", "b", "c", "d")
    leases = machine.dispatch()
    assert len(leases) == 4
    assert Counter(launch.runner for launch in machine.launches) == {"r1": 1, "r2": 3}


def test_a_large_task_is_not_starved_by_small_ones() -> None:
    """Small ones end one by one, and another one is always waiting for the CPU; the large one needs all four."""
    machine = Machine()
    machine.register(function(), function("app.large", resources=Resources(cpu_m=4000)))
    machine.join(cpus=4)
    machine.succeed(machine.run("first"), duration_us=2_000_000)
    machine.submit(*(f"s{n}" for n in range(60)))
    running = machine.dispatch()
    machine.submit("large", function="app.large")
    for _ in range(6):  # two until a node is reserved, and four until it is empty
        machine.later(500)
        machine.succeed(running.pop(0), duration_us=2_000_000)
        running += machine.dispatch()
    assert [lease.function for lease in running] == ["app.large"]
    machine.close()


def test_running_max_of_a_tenant_holds(machine: Machine) -> None:
    machine.join("r2", cpus=8)
    shy = machine.tenant("shy", running_max=2)
    machine.submit(*"abcd", tenant=shy)
    assert sum(len(lease.tasks) for lease in machine.dispatch()) == 2
    machine.succeed(machine.launches[0].lease)
    assert sum(len(lease.tasks) for lease in machine.dispatch()) == 1


def test_weights_and_classes_share_the_machine_and_nobody_starves(machine: Machine) -> None:
    """Equal costs, weights 1 and 3, everybody backlogged: 200 leases are shared as the weights say."""
    rich = machine.tenant("rich", weight=3.0)
    machine.submit(*(f"p{n}" for n in range(300)))
    machine.submit(*(f"r{n}" for n in range(300)), tenant=rich)
    machine.submit(*(f"b{n}" for n in range(300)), priority=Priority.BATCH)
    served: Counter[str] = Counter()
    for _ in range(180):
        for lease in machine.dispatch():
            served[lease.tasks[0].id[0]] += len(lease.tasks)
            machine.succeed(lease, duration_us=10**8)
    total = sum(served.values())
    shares = {name: served[name] / total for name in "prb"}
    # normal has 4 and batch 1 of 5; of what normal has, default has 1 and rich 3 of 4.
    assert abs(shares["p"] - 1 / 5) < 0.02
    assert abs(shares["r"] - 3 / 5) < 0.02
    assert abs(shares["b"] - 1 / 5) < 0.02


def test_an_idle_tenant_earns_no_credit(machine: Machine) -> None:
    late = machine.tenant("late")
    machine.submit(*(f"a{n}" for n in range(300)))
    for _ in range(100):
        for lease in machine.dispatch():
            machine.succeed(lease, duration_us=10**8)
    machine.submit(*(f"z{n}" for n in range(100)), tenant=late)
    served: Counter[str] = Counter()
    for _ in range(20):
        for lease in machine.dispatch():
            served[lease.tenant] += len(lease.tasks)
            machine.succeed(lease, duration_us=10**8)
    assert abs(served["late"] - served["default"]) <= 2


def new(id: str) -> NewTask:
    return NewTask(TaskId(id), FunctionName("app.f"), b"{}")


def test_a_task_is_not_launched_before_its_acceptance_is_durable(machine: Machine) -> None:
    machine.shard.handle(Submitted(machine.next_ref(), DEFAULT_TENANT, (new("a"),)), machine.now_ms, Random(0))
    machine.shard.dispatch(machine.now_ms)
    assert machine.shard.release() == []
    assert [type(effect) for effect in machine.commit()][-1] is Launch


def test_a_launch_does_not_wait_for_its_own_record(machine: Machine) -> None:
    """Else each task would pay for two commits before it starts."""
    machine.submit("a")
    machine.shard.dispatch(machine.now_ms)
    assert [type(effect) for effect in machine.shard.release()] == [Launch]


def test_a_task_that_crashed_waits_until_its_attempt_is_on_record(machine: Machine) -> None:
    """Else it could end our processes again and again without its attempts being counted."""
    lease = machine.run("a")
    machine.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.CRASHED))
    machine.later(1_000)
    machine.shard.dispatch(machine.now_ms)
    assert machine.shard.release() == []
    assert [type(effect) for effect in machine.commit()] == [Launch]


def test_so_does_a_task_that_was_there_before_a_restart(machine: Machine) -> None:
    machine.submit("a")
    machine.restart()
    machine.join()
    machine.shard.dispatch(machine.now_ms)
    assert machine.shard.release() == []
    assert [type(effect) for effect in machine.commit()] == [Launch]


def test_only_heads_are_in_memory_and_order_holds_at_any_depth() -> None:
    machine = Machine(Limits(head_tasks_max=5, lease_tasks_max=3))
    machine.register()
    machine.join()
    names = [f"t{n}" for n in range(40)]
    machine.submit(*names[:3])
    machine.submit(*names[3:])
    (leaf_queue,) = machine.state.queues.values()
    assert (len(leaf_queue.head), leaf_queue.count) == (5, 40)
    served: list[str] = []
    while len(served) < 40:
        for lease in machine.dispatch():
            served += [task.id for task in lease.tasks]
            machine.succeed(lease)
    assert served == names
    machine.close()
