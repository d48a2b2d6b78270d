"""Why a task waits: what is named closed is what keeps it, and what is said of its turn comes true."""

from __future__ import annotations

import pytest

from taskservice.core.flow.gate import Reason
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Quota, Rate, Resources, RetryPolicy
from taskservice.core.types import FunctionName, Priority, TaskState, TenantId
from world.machine import Machine, bad, function, ok

F = FunctionName("app.f")


@pytest.fixture
def wide(machine: Machine) -> Machine:
    """With a runner of a hundred CPUs more."""
    machine.join("r2", cpus=100)
    return machine


def reason(machine: Machine, id: str, tenant: str = "default") -> Reason:
    """Of all that is closed, the first."""
    return machine.why(id, TenantId(tenant)).closed[0]


def succeed(machine: Machine, lease: LeaseSpec, duration_us: int = 1_000) -> None:
    runner = next(launch.runner for launch in machine.launches if launch.lease.token == lease.token)
    machine.report(lease.token, *(ok(task.no, duration_us=duration_us) for task in lease.tasks), runner=runner)


def test_a_task_that_there_is_not_has_no_reasons(machine: Machine):
    answer = machine.why("none")
    assert (answer.task, answer.past, answer.closed) == (None, None, ())


def test_a_task_that_runs_says_where_and_one_that_has_ended_says_how(machine: Machine):
    lease = machine.run("a")
    answer = machine.why("a")
    assert (answer.closed, answer.runner, answer.node) == ((), "r1", "node")
    assert answer.task is not None
    assert answer.task.started_ms == machine.now_ms
    machine.succeed(lease)
    answer = machine.why("a")
    assert answer.task is not None
    assert (answer.task.state, answer.closed, answer.start) == (TaskState.SUCCEEDED, (), None)


def test_a_scheduled_task_says_when_it_is_due(machine: Machine):
    machine.submit("a", delay_ms=5_000)
    answer = machine.why("a")
    assert answer.closed == (Reason("task.due", 0, 0, machine.now_ms + 5_000),)
    assert answer.start is not None
    assert answer.start.p50_ms == machine.now_ms + 5_000


def test_a_paused_task_says_until_when(machine: Machine):
    machine.submit("a", "b")
    machine.change(OperationKind.PAUSE, "a", resume_ms=machine.now_ms + 9_000)
    machine.change(OperationKind.PAUSE, "b")
    assert machine.why("a").closed == (Reason("task.paused", 0, 0, machine.now_ms + 9_000),)
    answer = machine.why("b")
    assert (answer.closed, answer.start) == ((Reason("task.paused", 0, 0),), None)
    assert answer.no_estimate


def test_a_task_that_backs_off_says_after_what(machine: Machine):
    lease = machine.run("a")
    machine.report(lease.token, bad(lease.tasks[0].no))
    assert machine.why("a").closed == (Reason("task.retrying", 0, 0, machine.task("a").due_ms, cause="handler_error"),)


def test_a_task_of_a_paused_function_says_so(machine: Machine):
    machine.policy(FunctionPolicy(F, paused=True))
    machine.submit("a")
    machine.dispatch()
    answer = machine.why("a")
    assert answer.closed == (Reason("function.paused", 0, 0),)
    assert answer.no_estimate == "nobody knows when an operator opens function.paused"


def test_a_rate_says_how_much_comes_back_and_when_it_is_the_tasks_turn(wide: Machine):
    slow = wide.tenant("slow", rate=Rate(2.0, 1))
    wide.submit(*"abcd", tenant=slow)
    wide.dispatch()
    answer = wide.why("d", slow)
    assert answer.closed[0] == Reason("tenant.rate", 1, 1, wide.now_ms + 500, 2.0)
    assert answer.place is not None
    assert (answer.place.rank, answer.place.before) == (3, 2)
    assert answer.start is not None
    assert (answer.start.bound, answer.start.p50_ms, answer.start.p90_ms) == (
        "tenant.rate",
        wide.now_ms + 1_500,
        wide.now_ms + 1_500,
    )
    for _ in range(2):
        wide.now_ms += 500
        wide.dispatch()
    wide.now_ms += 499
    assert wide.dispatch() == []
    wide.now_ms += 1
    assert [task.id for lease in wide.dispatch() for task in lease.tasks] == ["d"]


@pytest.mark.parametrize("who", ["tenant", "function", "key"])
def test_a_maximum_of_running_tasks_says_how_many_run(wide: Machine, who: str):
    most = 2
    wide.register(
        function(max_running=most if who == "function" else None, key="k", key_max_running=most if who == "key" else 50)
    )
    acme = wide.tenant("acme", running_max=most if who == "tenant" else None)
    wide.submit(*"abcd", tenant=acme, key="x")
    wide.dispatch()
    name = {"tenant": "tenant.running_max", "function": "function.max_running", "key": "key.max_running"}[who]
    assert wide.why("c", acme).closed == (Reason(name, 2, 2),)
    assert wide.closed("d", acme) == [name, "turn"]


@pytest.mark.parametrize("who", ["class", "tenant", "function"])
def test_a_quota_says_which_resource_is_used_up(wide: Machine, who: str):
    wide.register(function(resources=Resources(cpu_m=1500)))
    quota = Quota(maximum=(("CPU", 4000),))
    acme = wide.tenant("acme", quota=quota if who == "tenant" else Quota())
    if who == "class":
        wide.policy(ClassPolicy(Priority.NORMAL, quota=quota))
    elif who == "function":
        wide.policy(FunctionPolicy(F, quota=quota))
    wide.submit(*"abcd", tenant=acme)
    wide.dispatch()
    assert reason(wide, "c", "acme") == Reason(f"{who}.maximum", 4000, 3000, cause="CPU")


def test_a_window_says_how_many_places_there_are(wide: Machine):
    wide.register(function(downstream="stripe"))
    wide.policy(DownstreamPolicy("stripe", frozen=3))
    wide.submit(*"abcde")
    wide.dispatch()
    assert reason(wide, "d") == Reason("downstream.window", 3, 3, cause="frozen")


def test_the_budget_of_retries_says_when_it_trickles(wide: Machine):
    wide.register(function(retry_share=0.0, retry=RetryPolicy(max_attempts=9, base_ms=1, max_ms=1, jitter=False)))
    wide.submit(*(f"t{n}" for n in range(12)))
    for lease in wide.dispatch():
        runner = next(launch.runner for launch in wide.launches if launch.lease.token == lease.token)
        wide.report(lease.token, *(bad(task.no) for task in lease.tasks), runner=runner)
    wide.later(10)
    wide.dispatch()
    waiting = [id for id, state in wide.states().items() if state == "queued"]
    assert len(waiting) == 2
    found = reason(wide, waiting[0])
    assert (found.gate, found.limit, found.used, found.clears_ms) == ("function.retries", 50, 50, wide.now_ms + 10_000)


def test_a_bulk_operation_that_holds_a_task_is_named(wide: Machine):
    wide.submit(*"ab")
    operation = wide.bulk(OperationKind.CANCEL, tag=("x", "y"))
    wide.finish_bulk()
    wide.submit("c", tags=(("x", "y"),))
    operation = wide.bulk(OperationKind.CANCEL, tag=("x", "y"))
    wide.dispatch()
    assert wide.why("c").closed[0] == Reason("operation", 0, 0, cause=f"cancel {operation.id}")


def test_no_runner_and_none_that_is_large_enough_are_told_apart(machine: Machine):
    machine.register(
        function("app.big", resources=Resources(cpu_m=8000)), function("app.gpu", resources=Resources(gpu_m=1000))
    )
    machine.submit("b", function="app.big")
    machine.submit("g", function="app.gpu")
    machine.dispatch()
    assert machine.why("b").closed == (Reason("pool.too_large", 1000, 8000, cause="CPU"),)
    assert machine.why("g").closed[0] == Reason("pool.too_large", 0, 1000, cause="GPU")
    machine.lose("r1")
    assert machine.why("b").closed[0] == Reason("pool.too_large", 0, 0, cause="no runner")


def test_a_full_pool_names_what_is_scarce_and_whose_turn_it_is(machine: Machine):
    machine.submit(*"abc")
    machine.dispatch()
    assert machine.why("b").closed == (Reason("pool.room", 1, 1, cause="CPU"),)
    answer = machine.why("c")
    assert answer.closed == (Reason("pool.room", 1, 1, cause="CPU"), Reason("turn", 0, 1))
    assert (answer.start, answer.no_estimate) == (None, "nobody knows yet how long tasks of app.f take")


def test_the_estimate_is_what_is_before_by_how_long_it_takes(machine: Machine):
    machine.succeed(machine.run("first"), duration_us=2_000_000)
    machine.submit(*(f"t{n}" for n in range(11)))
    machine.dispatch()
    start = machine.why("t10").start
    assert start is not None
    assert (start.bound, start.tasks, start.at_once) == ("pool", 9, 1.0)
    assert start.each_s == pytest.approx(2.0)
    assert 18_500 < start.p50_ms - machine.now_ms < 20_000, "ten times two seconds, the median of that"
    assert 27_000 < start.p90_ms - machine.now_ms < 30_000


def test_a_rank_beyond_the_head_is_counted_in_the_table(machine: Machine):
    machine.state.limits = type(machine.limits)(head_tasks_max=3)
    machine.restart()
    machine.submit(*(f"t{n}" for n in range(20)))
    place = machine.why("t17").place
    assert place is not None
    assert (place.rank, place.exact, place.queued, place.before) == (18, True, 20, 17)


def test_those_of_others_that_come_before_are_counted(machine: Machine):
    """Two tenants with a hundred tasks each: about as many of one as of the other come before the fiftieth."""
    for name in ("one", "two"):
        tenant = machine.tenant(name)
        machine.submit(*(f"{name}{n}" for n in range(100)), tenant=tenant)
    machine.dispatch()
    place = machine.why("two50", TenantId("two")).place
    assert place is not None
    assert place.rank == 51
    assert 95 <= (place.before or 0) <= 105
    rich = machine.tenant("two", weight=4.0)
    machine.dispatch()
    place = machine.why("two50", rich).place
    assert place is not None
    assert 58 <= (place.before or 0) <= 67


def test_a_task_that_waits_for_off_peak_hours_says_until_when():
    machine = Machine(Limits(off_peak_windows=("22:00-23:00",)))
    machine.register()
    machine.join()
    machine.submit("a", off_peak=True)
    machine.dispatch()
    answer = machine.why("a")
    assert answer.closed[0].gate == "off_peak"
    assert answer.start is not None
    assert answer.start.p50_ms == answer.closed[0].clears_ms
    assert answer.start.p50_ms > machine.now_ms
    machine.close()
