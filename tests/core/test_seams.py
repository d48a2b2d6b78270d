"""Where two features meet: each is tested alone elsewhere, here what comes of both."""

from __future__ import annotations

from datetime import UTC, datetime

from taskservice.core.effects import Ordered
from taskservice.core.events import RunnerJoined
from taskservice.core.flow.gate import Reason
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.preempt import CLAIM_AFTER_MS
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.specs import FunctionPolicy, FunctionSpec, Quota, Resources
from taskservice.core.types import FunctionName, Lane, OutcomeKind, Priority, RunnerId, TaskState
from world.machine import Machine, bad, function, ok

GIB = 2**30
NEEDS = Resources(cpu_m=1000, memory_bytes=1 * GIB)
NIGHT = Limits(off_peak_windows=("22:00-06:00",), off_peak_idle_ratio=0.0)
NOON_MS = int(datetime(2030, 5, 14, 12, tzinfo=UTC).timestamp() * 1000)
EVENING_MS = int(datetime(2030, 5, 14, 22, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS = 60_000


def at_noon(*functions: FunctionSpec) -> Machine:
    """Off-peak hours begin in ten hours."""
    machine = Machine(NIGHT)
    machine.now_ms = NOON_MS
    machine.restart()
    machine.register(*functions)
    return machine


def join(machine: Machine, name: str, gib: int, cpus: int = 4) -> None:
    machine.handle(RunnerJoined(RunnerId(name), name, Resources(cpu_m=1000 * cpus, memory_bytes=gib * GIB)))
    machine.commit()


def end(machine: Machine, lease: LeaseSpec, kind: OutcomeKind | None = None) -> None:
    """Every task of the lease ends like that."""
    runner = next(launch.runner for launch in machine.launches if launch.lease.token == lease.token)
    outcomes = [ok(task.no, duration_us=1_000_000) if kind is None else bad(task.no, kind) for task in lease.tasks]
    machine.report(lease.token, *outcomes, runner=runner)


def grow(machine: Machine) -> LeaseSpec:
    """The only lease that is to be had now runs out of memory, and its task is due again."""
    (lease,) = machine.dispatch()
    end(machine, lease, OutcomeKind.OUT_OF_MEMORY)
    machine.later(2_000)
    return lease


def ids(leases: list[LeaseSpec]) -> list[str]:
    return [task.id for lease in leases for task in lease.tasks]


# Memory that grows


def test_what_has_grown_too_large_for_all_machines_is_before_nobody_and_what_has_not_is() -> None:
    """Seen: whether a machine is large enough was remembered by function, and not by what each queue of it asks for."""
    machine = at_noon(function(resources=NEEDS, memory_retry_factor=4.0, key_max_running=9))
    join(machine, "large", 8)
    machine.submit("big")
    grow(machine)
    machine.lose("large")
    join(machine, "small", 1)
    machine.submit("first", "second")
    assert ids(machine.dispatch()) == ["first"]
    machine.submit("other-1", "other-2", "other-3", key="k")
    assert machine.closed("big") == ["pool.too_large"]
    places = [machine.why(id).place for id in ("second", "other-3")]
    assert [place and place.before for place in places] == [1, 3], (
        "the other queue's, and nothing of the one that has grown"
    )
    machine.close()


def test_memory_grows_no_further_than_quotas_allow() -> None:
    """It would wait for ever at `tenant.maximum`, and is to be a dead letter that says what it took."""
    machine = at_noon(function(resources=NEEDS, memory_retry_factor=4.0))
    join(machine, "large", 64)
    tenant = machine.tenant("acme", quota=Quota(maximum=(("memory", 3 * GIB),)))
    machine.submit("a", tenant=tenant)
    asked = [grow(machine).resources.memory_bytes // GIB for _ in range(3)]
    assert asked == [1, 3, 3]
    assert machine.task("a", tenant).state is TaskState.FAILED
    machine.close()


def test_an_off_peak_task_that_has_run_out_of_memory_is_pressed_into_a_queue_of_its_size() -> None:
    machine = at_noon(function(resources=NEEDS, memory_retry_factor=2.0, timeout_ms=20_000))
    join(machine, "large", 8)
    machine.now_ms = EVENING_MS
    machine.submit("a", off_peak=True, deadline_ms=EVENING_MS + 24 * 60 * MINUTE_MS)
    grow(machine)
    assert machine.task("a").leaf.memory_bytes == 2 * GIB
    assert machine.task("a").lane is Lane.OFF_PEAK_RETRY
    machine.later(10 * 60 * MINUTE_MS)
    machine.restart()
    join(machine, "again", 8)
    machine.later(0)
    assert machine.dispatch() == [], "it is morning"
    press_ms = machine.task("a").press_ms
    assert press_ms is not None
    machine.later(press_ms - machine.now_ms)
    (lease,) = machine.dispatch()
    assert lease.resources.memory_bytes == 2 * GIB
    machine.close()


# Off-peak


def test_a_task_that_waits_for_off_peak_hours_says_when_its_deadline_presses_it() -> None:
    """Seen: `nobody knows when off_peak lets it go` of a task that showed until when it was to wait."""
    machine = at_noon(function(timeout_ms=MINUTE_MS))
    machine.join()
    machine.submit("soon", off_peak=True, deadline_ms=NOON_MS + 60 * MINUTE_MS)
    machine.submit("late", off_peak=True, deadline_ms=NOON_MS + 2_000 * MINUTE_MS)
    press_ms = machine.task("soon").press_ms
    answer = machine.why("soon")
    assert answer.closed[0] == Reason("off_peak", 0, 0, press_ms, cause="hours")
    assert answer.start is not None
    assert answer.start.p50_ms == press_ms
    answer = machine.why("late")
    assert answer.closed[0].clears_ms == EVENING_MS, "the window opens first"
    assert answer.start is not None
    assert answer.start.p50_ms == EVENING_MS
    machine.close()


def test_what_is_reserved_for_a_function_whose_tasks_wait_for_off_peak_hours_others_have_meanwhile() -> None:
    machine = at_noon(function(), function("app.night"))
    machine.policy(FunctionPolicy(FunctionName("app.night"), quota=Quota(reserved=(("CPU", 1000),))))
    machine.join()
    machine.submit("night", function="app.night", off_peak=True, priority=Priority.CRITICAL)
    machine.submit("now")
    (lease,) = machine.dispatch()
    assert ids([lease]) == ["now"]
    for _ in range(20):
        machine.later(ROUND_MS)
        machine.dispatch()
    assert not any(isinstance(effect, Ordered) for effect in machine.released), (
        "nobody is stopped for who may not start"
    )
    machine.close()


def test_a_deadline_that_comes_while_the_task_is_paused_presses_it_when_it_is_resumed() -> None:
    machine = at_noon(function(timeout_ms=MINUTE_MS))
    machine.join()
    machine.submit("a", off_peak=True, deadline_ms=NOON_MS + 60 * MINUTE_MS)
    machine.change(OperationKind.PAUSE, "a")
    machine.later(90 * MINUTE_MS)
    machine.catch_up()
    assert machine.task("a").state is TaskState.PAUSED
    machine.change(OperationKind.RESUME, "a")
    machine.catch_up()
    assert ids(machine.dispatch()) == ["a"]
    machine.close()


# Preemption


def stopped(machine: Machine, **options: object) -> LeaseSpec:
    """A batch task `b` runs, and is stopped for a critical one, which runs then; gives the lease of that."""
    machine.submit("b", function="app.long", priority=Priority.BATCH, **options)  # type: ignore[arg-type]
    (lease,) = machine.dispatch()
    return stop(machine, lease)


def stop(machine: Machine, lease: LeaseSpec) -> LeaseSpec:
    machine.later(5_000)
    machine.submit(f"urgent-{machine.now_ms}", priority=Priority.CRITICAL)
    machine.dispatch()
    machine.later(CLAIM_AFTER_MS + ROUND_MS)
    machine.dispatch()
    assert [effect.order.token for effect in machine.released if isinstance(effect, Ordered)][-1] == lease.token
    end(machine, lease, OutcomeKind.PREEMPTED)
    (urgent,) = machine.dispatch()
    assert ids([urgent]) == [f"urgent-{machine.now_ms - CLAIM_AFTER_MS - ROUND_MS}"]
    return urgent


LONG = function("app.long", timeout_ms=3_600_000, grace_ms=2_000, key_max_running=1)


def test_a_task_that_was_stopped_does_not_expire_for_it_had_started() -> None:
    machine = at_noon(function(), LONG)
    machine.join()
    urgent = stopped(machine, ttl_ms=6_000)
    machine.later(60_000)
    machine.catch_up()
    assert machine.task("b").state is TaskState.QUEUED
    assert machine.closed("b") == ["pool.room"]
    end(machine, urgent)
    assert ids(machine.dispatch()) == ["b"]
    machine.close()


def test_a_retry_that_was_stopped_is_back_in_its_place_among_retries() -> None:
    machine = at_noon(function(), LONG)
    machine.join()
    machine.submit("b", function="app.long", priority=Priority.BATCH)
    (lease,) = machine.dispatch()
    end(machine, lease, OutcomeKind.HANDLER_ERROR)
    machine.later(2_000)
    (lease,) = machine.dispatch()
    urgent = stop(machine, lease)
    task = machine.task("b")
    assert (task.state, task.lane, task.attempt, task.preempted) == (TaskState.QUEUED, Lane.RETRY, 1, 1)
    end(machine, urgent)
    (lease,) = machine.dispatch()
    assert (ids([lease]), lease.tasks[0].attempt) == (["b"], 2)
    machine.close()


def test_a_key_is_free_again_when_its_task_was_stopped() -> None:
    machine = at_noon(function(), LONG)
    machine.join()
    urgent = stopped(machine, key="user-1")
    machine.submit("c", function="app.long", priority=Priority.BATCH, key="user-1")
    end(machine, urgent)
    (lease,) = machine.dispatch()
    assert ids([lease]) == ["b"]
    assert "key.max_running" in machine.closed("c")
    end(machine, lease)
    assert ids(machine.dispatch()) == ["c"]
    machine.close()


def test_what_has_grown_is_stopped_and_asks_for_as_much_again() -> None:
    machine = at_noon(function(), function("app.long", resources=NEEDS, memory_retry_factor=2.0, timeout_ms=3_600_000))
    join(machine, "r", 8, cpus=1)
    machine.submit("b", function="app.long", priority=Priority.BATCH)
    grow(machine)
    (lease,) = machine.dispatch()
    urgent = stop(machine, lease)
    machine.restart()
    assert machine.task("b").leaf.memory_bytes == 2 * GIB
    join(machine, "r2", 8, cpus=1)
    (lease,) = machine.dispatch()
    assert (ids([lease]), lease.resources.memory_bytes) == (["b"], 2 * GIB)
    assert urgent.resources.memory_bytes == 0
    machine.close()


def test_an_off_peak_task_that_was_stopped_waits_for_off_peak_hours_again() -> None:
    machine = at_noon(function(), LONG)
    machine.join()
    machine.now_ms = EVENING_MS
    machine.later(0)
    urgent = stopped(machine, off_peak=True, deadline_ms=EVENING_MS + 24 * 60 * MINUTE_MS)
    assert machine.task("b").lane is Lane.OFF_PEAK
    assert machine.task("b").press_ms is not None
    machine.later(9 * 60 * MINUTE_MS)
    end(machine, urgent)
    assert machine.dispatch() == []
    assert machine.closed("b") == ["off_peak"]
    machine.close()
