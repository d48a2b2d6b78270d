"""Tasks that have run out of memory: what they ask for the next time, where they wait for it, and that none of it is forgotten."""

from __future__ import annotations

import pytest

from helpers.counting import calls_of
from taskservice.core.effects import Launch
from taskservice.core.events import RunnerDraining, RunnerJoined
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.memory import after_running_out
from taskservice.core.operations import OperationKind
from taskservice.core.runner import Runner
from taskservice.core.specs import Quota, Resources
from taskservice.core.types import FunctionName, Leaf, OutcomeKind, Priority, RunnerId, TaskState, TenantId
from world.machine import Machine, bad, function

GIB = 2**30
NEEDS = Resources(cpu_m=1000, memory_bytes=1 * GIB)
LEAF = Leaf(TenantId("default"), FunctionName("app.f"), Priority.NORMAL)


@pytest.fixture
def growing(machine: Machine) -> Machine:
    """With a function that asks for twice as much, and a runner of 2 GiB and one of 6."""
    machine.register(function(resources=NEEDS, memory_retry_factor=2.0))
    join(machine, "small", 2)
    join(machine, "large", 6)
    return machine


def join(machine: Machine, name: str, gib: int, **more: int) -> None:
    machine.handle(RunnerJoined(RunnerId(name), name, Resources(cpu_m=4000, memory_bytes=gib * GIB, **more)))
    machine.commit()


def run(machine: Machine) -> tuple[LeaseSpec, str]:
    """The only lease that is to be had now, and its runner."""
    (lease,) = machine.dispatch()
    launch = machine.launches[-1]
    assert isinstance(launch, Launch)
    return lease, str(launch.runner)


def run_out(machine: Machine, lease: LeaseSpec, runner: str) -> None:
    outcome = bad(lease.tasks[0].no, OutcomeKind.OUT_OF_MEMORY, "it took too much")
    machine.report(lease.token, outcome, runner=runner)
    machine.later(2_000)


def test_each_attempt_asks_for_more_until_no_machine_has_more(growing: Machine) -> None:
    growing.submit("a")
    asked = []
    for _ in range(3):
        lease, runner = run(growing)
        asked.append((lease.resources.memory_bytes // GIB, runner))
        run_out(growing, lease, runner)
    assert [gib for gib, _ in asked] == [1, 2, 4]
    assert asked[2][1] == "large", "the only one that has as much"
    dead = growing.task("a")
    assert dead.error is not None
    assert (dead.state, dead.error.reason, dead.attempt, dead.crashes) == (TaskState.FAILED, "out_of_memory", 3, 0)
    assert "it took too much" in dead.error.message
    growing.close()


def test_who_has_not_run_out_does_not_wait_behind_who_has(growing: Machine) -> None:
    """What has grown stands in a queue of its own, for a machine that is large enough."""
    growing.submit("a")
    lease, runner = run(growing)
    run_out(growing, lease, runner)
    lease, runner = run(growing)
    run_out(growing, lease, runner)
    growing.handle(RunnerDraining(RunnerId("large")))
    growing.commit()
    growing.submit("b")
    lease, runner = run(growing)
    assert (lease.tasks[0].id, lease.resources, runner) == ("b", NEEDS, "small")
    assert growing.task("a").state is TaskState.QUEUED
    assert growing.task("a").leaf.memory_bytes == 4 * GIB


def test_what_it_asks_for_outlives_a_restart_and_other_bad_outcomes(growing: Machine) -> None:
    growing.submit("a", max_attempts=3)
    lease, runner = run(growing)
    run_out(growing, lease, runner)
    growing.restart()
    join(growing, "other", 6)
    lease, runner = run(growing)
    assert lease.resources.memory_bytes == 2 * GIB
    growing.report(lease.token, bad(lease.tasks[0].no, OutcomeKind.THROTTLED, retry_after_ms=10), runner=runner)
    growing.later(2_000)
    lease, runner = run(growing)
    assert lease.resources.memory_bytes == 2 * GIB
    growing.close()


def test_a_run_by_hand_begins_with_what_the_last_one_asked_for(growing: Machine) -> None:
    growing.submit("a", max_attempts=2)
    for _ in range(2):
        run_out(growing, *run(growing))
    assert growing.task("a").state is TaskState.FAILED
    growing.change(OperationKind.RETRY, "a")
    lease, _ = run(growing)
    assert lease.resources.memory_bytes == 2 * GIB


def test_without_a_factor_it_is_as_much_again(machine: Machine) -> None:
    machine.register(function(resources=NEEDS))
    join(machine, "large", 6)
    machine.submit("a")
    for _ in range(3):
        lease, runner = run(machine)
        assert lease.resources == NEEDS
        run_out(machine, lease, runner)
    assert machine.task("a").state is TaskState.FAILED


def test_the_largest_machine_is_one_that_suits_it_otherwise(machine: Machine) -> None:
    """What asks for a GPU must not wait for the memory of a machine that has none."""
    machine.register(
        function(resources=Resources(cpu_m=1000, gpu_m=1000, memory_bytes=1 * GIB), memory_retry_factor=8.0)
    )
    join(machine, "gpu", 3, gpu_m=1000)
    join(machine, "large", 64)
    machine.submit("a")
    run_out(machine, *run(machine))
    lease, runner = run(machine)
    assert (lease.resources.memory_bytes, runner) == (3 * GIB, "gpu")


def test_no_more_than_a_quota_allows(growing: Machine) -> None:
    """What has grown counts with what it asks for, before and after it is granted."""
    growing.tenant("poor", quota=Quota(maximum=(("memory", 3 * GIB),)))
    for id in "ab":
        growing.submit(id, tenant=TenantId("poor"))
    first, second = growing.dispatch()
    for lease, launch in zip((first, second), growing.launches[-2:], strict=True):
        outcome = bad(lease.tasks[0].no, OutcomeKind.OUT_OF_MEMORY)
        growing.report(lease.token, outcome, runner=str(launch.runner))
    growing.later(2_000)
    leases = growing.dispatch()
    assert [lease.resources.memory_bytes // GIB for lease in leases] == [2]


@pytest.mark.parametrize(
    ("factor", "most_gib", "had_gib", "largest_gib", "asks_gib"),
    [
        (2.0, None, 0, 16, 2),
        (2.0, None, 2, 16, 4),
        (2.0, None, 4, 6, 6),
        (2.0, 3, 2, 16, 3),
        (2.0, 3, 3, 16, 3),
        (2.0, 30, 4, 6, 6),
        (1.5, None, 8, 6, 8),
        (2.0, None, 0, 0, 0),
        (None, None, 0, 16, 0),
    ],
)
def test_how_much_it_asks_for(
    factor: float | None, most_gib: int | None, had_gib: int, largest_gib: int, asks_gib: int
) -> None:
    most_bytes = None if most_gib is None else most_gib * GIB
    spec = function(resources=NEEDS, memory_retry_factor=factor, memory_max_bytes=most_bytes)
    leaf = LEAF._replace(memory_bytes=had_gib * GIB)
    assert after_running_out(spec, leaf, largest_gib * GIB) == asks_gib * GIB


def test_who_states_no_memory_has_nothing_to_grow_from() -> None:
    assert after_running_out(function(memory_retry_factor=2.0), LEAF, 64 * GIB) == 0


def test_many_that_run_out_do_not_look_at_all_machines_each(growing: Machine) -> None:
    for number in range(300):
        join(growing, f"r{number}", 2)
    growing.submit("a", "b")
    leases, launches = growing.dispatch(), growing.launches[-2:]
    outcomes = [bad(lease.tasks[0].no, OutcomeKind.OUT_OF_MEMORY) for lease in leases]

    def reported(which: int) -> int:
        lease, launch = leases[which], launches[which]
        return calls_of(lambda: growing.report(lease.token, outcomes[which], runner=str(launch.runner)), Runner.suits)

    assert reported(0) > 300
    assert reported(1) == 0
