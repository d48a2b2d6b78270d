"""Where the tasks of functions go: labels, spread, GPUs and custom resources, the pool's order, and who waits for a node."""

from __future__ import annotations

import pytest

from taskservice.core.events import RunnerJoined
from taskservice.core.limits import Limits
from taskservice.core.specs import FunctionPolicy, Resources
from taskservice.core.types import FunctionName, RunnerId
from world.machine import Machine, function, ok

FOUR = Resources(cpu_m=4000)


def machine(limits: Limits | None = None) -> Machine:
    made = Machine(limits)
    made.register()
    return made


def join(machine: Machine, runner: str, capacity: Resources = FOUR, **labels: str) -> None:
    machine.handle(RunnerJoined(RunnerId(runner), f"node of {runner}", capacity, (), tuple(labels.items())))


def placed(machine: Machine) -> dict[str, str]:
    """Which runner has each task that was leased now."""
    before = len(machine.launches)
    machine.dispatch()
    return {task.id: launch.runner for launch in machine.launches[before:] for task in launch.lease.tasks}


def test_tasks_of_a_function_with_labels_run_where_they_are() -> None:
    pool = machine()
    join(pool, "a", zone="a", market="spot")
    join(pool, "b", zone="b", market="spot")
    pool.register(
        function("app.here", labels=(("market", "spot"), ("zone", "b"))),
        function("app.nowhere", labels=(("zone", "c"),)),
    )
    pool.submit("1", "2", "3", function="app.here")
    pool.submit("4", function="app.nowhere")
    assert placed(pool) == dict.fromkeys("123", "b")
    join(pool, "c", zone="c")
    assert placed(pool) == {"4": "c"}


def test_labels_that_change_hold_for_what_waits() -> None:
    pool = machine()
    join(pool, "a", zone="a")
    pool.register(function("app.f", labels=(("zone", "b"),)))
    pool.submit("1")
    assert placed(pool) == {}
    pool.register(function("app.f", labels=(("zone", "a"),)))
    assert placed(pool) == {"1": "a"}


def test_tasks_of_a_function_are_spread() -> None:
    pool = machine()
    join(pool, "a")
    join(pool, "b", Resources(cpu_m=40_000))
    pool.register(function("app.spread", spread=True), function("app.f"))
    pool.submit("1", "2", "3", "4", function="app.spread")
    assert sorted(placed(pool).values()) == ["a", "a", "b", "b"], "though b is far less loaded"


@pytest.mark.parametrize(("placement", "where"), [("least_loaded", ["a", "b"]), ("pack", ["a", "a"])])
def test_the_pool_s_order_is_a_setting(placement: str, where: list[str]) -> None:
    pool = machine(Limits(placement=placement, lease_ahead_max=0))
    join(pool, "a")
    join(pool, "b")
    pool.submit("1", "2")
    assert sorted(placed(pool).values()) == where


def test_gpus_and_custom_resources_are_counted_and_kept_for_those_who_need_them() -> None:
    pool = machine()
    join(pool, "gpu", Resources(cpu_m=4000, gpu_m=2000, custom_m=(("disk", 1000),)))
    join(pool, "plain")
    gpu, disk = Resources(cpu_m=1000, gpu_m=1000), Resources(cpu_m=1000, custom_m=(("disk", 1000),))
    pool.register(function("app.f"), function("app.gpu", resources=gpu), function("app.disk", resources=disk))
    pool.submit("1", "2")
    assert set(placed(pool).values()) == {"plain"}
    pool.submit("3", "4", "5", function="app.gpu")
    pool.submit("6", "7", function="app.disk")
    assert placed(pool) == {"3": "gpu", "4": "gpu", "6": "gpu"}


def test_who_needs_much_of_a_node_is_not_crowded_out_by_small_tasks_behind_the_same_gate() -> None:
    """With two of the tenant's tasks running its gate is closed, so the large task has no turn; and when one of them ends there is
    room for another small one, and none for it. A node is kept for it all the same."""
    pool = machine()
    join(pool, "a")
    pool.register(function("app.small"), function("app.large", resources=FOUR))
    acme = pool.tenant("acme", running_max=2)
    pool.submit(*(f"s{number}" for number in range(40)), tenant=acme, function="app.small")
    pool.submit("large", tenant=acme, function="app.large")
    placed(pool)
    for _ in range(30):
        pool.now_ms += 10_000
        oldest = min(pool.state.leases)
        launch = next(each for each in pool.launches if each.lease.token == oldest)
        pool.report(oldest, *(ok(task.no, duration_us=20_000_000) for task in launch.lease.tasks), runner="a")
        if "large" in placed(pool):
            break
        pool.now_ms += 1_000
        assert placed(pool) == {}, "a round in which nothing has ended"
    assert pool.task("large", acme).state == "running"


def test_a_paused_function_keeps_no_node() -> None:
    pool = machine()
    join(pool, "a")
    pool.register(function("app.small"), function("app.large", resources=FOUR))
    pool.submit("1", "2", function="app.small")
    placed(pool)
    pool.submit("large", function="app.large")
    placed(pool)
    pool.now_ms += 1_000
    placed(pool)
    assert pool.state.pool.reservations.by_runner
    pool.policy(FunctionPolicy(FunctionName("app.large"), paused=True))
    placed(pool)
    assert not pool.state.pool.reservations.by_runner
