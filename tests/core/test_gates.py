"""Gates before tasks, as tenants, functions and policies say: closed means nothing starts, open means it does, at once."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from taskservice.core.effects import ItemStatus, Refusal
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Quota, Rate, Resources, RetryPolicy
from taskservice.core.types import FunctionName, OutcomeKind, Priority, TenantId
from world.machine import Machine, bad, function, ok

F = FunctionName("app.f")


@pytest.fixture
def wide(machine: Machine) -> Machine:
    """With a runner of a hundred CPUs more."""
    machine.join("r2", cpus=100)
    return machine


def ids(leases: list[LeaseSpec]) -> list[str]:
    return [task.id for lease in leases for task in lease.tasks]


def tasks(machine: Machine, count: int, name: str = "t", **options: object) -> None:
    machine.submit(*(f"{name}{n}" for n in range(count)), **options)  # type: ignore[arg-type]


def on_whom(machine: Machine, lease: LeaseSpec) -> str:
    return next(launch.runner for launch in machine.launches if launch.lease.token == lease.token)


def succeed(machine: Machine, lease: LeaseSpec, duration_us: int = 1_000) -> None:
    outcomes = [ok(task.no, duration_us=duration_us) for task in lease.tasks]
    machine.report(lease.token, *outcomes, runner=on_whom(machine, lease))


def test_as_many_of_a_function_run_as_may(wide: Machine):
    wide.register(function(max_running=3))
    tasks(wide, 10)
    leases = wide.dispatch()
    assert len(ids(leases)) == 3
    assert wide.dispatch() == []
    succeed(wide, leases[0])
    assert len(ids(wide.dispatch())) == 1


def test_as_many_of_a_tenant_run_as_may_and_others_do_not_wait(wide: Machine):
    small = wide.tenant("small", running_max=1)
    tasks(wide, 5, "s", tenant=small)
    tasks(wide, 5, "d")
    assert Counter(name[0] for name in ids(wide.dispatch())) == {"s": 1, "d": 5}


def test_a_rate_lets_its_burst_through_and_then_one_after_the_other(wide: Machine):
    wide.register(function(rate=Rate(10.0, 2)))
    tasks(wide, 6)
    assert len(ids(wide.dispatch())) == 2
    assert wide.state.turns.tree.rings_ms == wide.now_ms + 100
    wide.now_ms += 99
    assert wide.dispatch() == []
    wide.now_ms += 1
    assert len(ids(wide.dispatch())) == 1
    wide.now_ms += 1_000
    assert len(ids(wide.dispatch())) == 2


def test_after_a_restart_buckets_are_empty(wide: Machine):
    small = wide.tenant("small", rate=Rate(10.0, 5))
    tasks(wide, 6, tenant=small)
    wide.restart()
    wide.join("r3", cpus=100)
    assert wide.dispatch() == []
    wide.now_ms += 100
    assert len(ids(wide.dispatch())) == 1


def test_a_paused_function_does_not_start_and_goes_on_where_it_was(wide: Machine):
    wide.policy(FunctionPolicy(F, paused=True))
    tasks(wide, 3)
    assert wide.dispatch() == []
    wide.restart()
    wide.join("r3", cpus=100)
    assert wide.dispatch() == []
    wide.policy(FunctionPolicy(F))
    assert sorted(ids(wide.dispatch())) == ["t0", "t1", "t2"]


@pytest.mark.parametrize("who", ["function", "tenant", "class"])
def test_what_is_said_while_nothing_waits_holds_for_what_comes_later(wide: Machine, who: str):
    """A function that was paused in the moment in which none of its tasks waited used to go on: its place in the order had been kept
    from before, with the gates of before. So with the maxima of tenants and classes."""
    tasks(wide, 1, "first")
    (lease,) = wide.dispatch()
    if who == "function":
        wide.policy(FunctionPolicy(F, paused=True))
    elif who == "tenant":
        wide.tenant("default", quota=Quota(maximum=(("CPU", 1),)))
    else:
        wide.policy(ClassPolicy(Priority.NORMAL, quota=Quota(maximum=(("CPU", 1),))))
    succeed(wide, lease)
    tasks(wide, 1, "later")
    assert wide.dispatch() == []


def test_what_an_operator_says_comes_before_what_the_function_says(wide: Machine):
    wide.register(function(max_running=1))
    tasks(wide, 9)
    assert len(ids(wide.dispatch())) == 1
    wide.policy(FunctionPolicy(F, max_running=4))
    assert len(ids(wide.dispatch())) == 3
    wide.policy(FunctionPolicy(F))
    assert wide.dispatch() == []


@pytest.mark.parametrize("who", ["class", "tenant", "function"])
def test_nobody_has_more_of_the_pool_than_the_maximum(wide: Machine, who: str):
    wide.register(function(resources=Resources(cpu_m=1500)))
    quota = Quota(maximum=(("CPU", 4000),))
    small = wide.tenant("small", quota=quota if who == "tenant" else Quota())
    if who == "class":
        wide.policy(ClassPolicy(Priority.NORMAL, quota=quota))
    elif who == "function":
        wide.policy(FunctionPolicy(F, quota=quota))
    tasks(wide, 9, tenant=small)
    leases = wide.dispatch()
    assert len(leases) == 2
    wide.report(leases[0].token, *(ok(task.no) for task in leases[0].tasks), runner=on_whom(wide, leases[0]))
    assert len(wide.dispatch()) == 1


def test_what_is_kept_for_somebody_they_have_first(machine: Machine):
    """One CPU is free after the other; who has a reservation of two gets two, though the others' weight is a hundred times as large."""
    machine.join("r2", cpus=9)
    rich = machine.tenant("rich", weight=100.0)
    kept = machine.tenant("kept", quota=Quota(reserved=(("CPU", 2000),)))
    tasks(machine, 50, "r", tenant=rich)
    first = machine.dispatch()
    assert len(first) == 10
    tasks(machine, 50, "k", tenant=kept)
    for lease in first:
        succeed(machine, lease, 10**7)  # so long that nothing is pushed to wait behind another
        machine.dispatch()
    running = Counter(lease.leaf.tenant for lease in machine.state.leases.values())
    assert running == {TenantId("rich"): 8, TenantId("kept"): 2}


def test_what_is_kept_for_somebody_idle_others_have(machine: Machine):
    machine.tenant("kept", quota=Quota(reserved=(("CPU", 1000),)))
    tasks(machine, 3)
    assert len(ids(machine.dispatch())) == 1


def test_a_downstream_is_found_out_by_doubling(wide: Machine):
    wide.register(function(downstream="stripe"), function("app.g", downstream="stripe"))
    tasks(wide, 40, "f")
    tasks(wide, 40, "g", function="app.g")
    seen = []
    for _ in range(4):
        leases = wide.dispatch()
        seen.append(len(ids(leases)))
        wide.now_ms += 1_000
        for lease in leases:
            succeed(wide, lease)
    assert seen == [1, 2, 4, 8]


def test_a_function_has_a_window_of_its_own_once_it_is_throttled(wide: Machine):
    tasks(wide, 60)
    leases = wide.dispatch()
    assert len(ids(leases)) == 60
    tasks(wide, 60, "u")
    for lease in leases:
        outcomes = [bad(task.no, OutcomeKind.THROTTLED, retry_after_ms=60_000) for task in lease.tasks]
        wide.report(lease.token, *outcomes, runner=on_whom(wide, lease))
    assert wide.state.turns.gates.downstreams.windows[F].in_flight == 0
    wide.now_ms += 61_000
    assert 1 <= len(ids(wide.dispatch())) < 60


def test_an_operator_freezes_a_window(wide: Machine):
    wide.register(function(downstream="stripe"))
    wide.policy(DownstreamPolicy("stripe", frozen=7))
    tasks(wide, 40)
    assert len(ids(wide.dispatch())) == 7


def test_who_submits_faster_than_they_may_is_told_when_to_come_back(machine: Machine):
    fast = machine.tenant("fast", submit_rate=Rate(10.0, 3))
    machine.register(function(submit_rate=Rate(5.0, 100)))
    first = machine.submit("a", "b", "c", "d", tenant=fast)
    assert [item.status for item in first] == [ItemStatus.ACCEPTED] * 3 + [ItemStatus.REFUSED]
    assert (first[3].refusal, first[3].limit, first[3].retry_after_ms) == (Refusal.SUBMIT_RATE, 3, 100)
    machine.now_ms += 99
    assert machine.submit("d", tenant=fast)[0].retry_after_ms == 1
    machine.now_ms += 1
    assert machine.submit("d", tenant=fast)[0].status is ItemStatus.ACCEPTED


def test_what_is_refused_for_its_function_is_not_taken_from_its_tenant(machine: Machine):
    machine.register(function(submit_rate=Rate(1.0, 1)))
    fast = machine.tenant("fast", submit_rate=Rate(1.0, 3))
    assert machine.submit("a", "b", "c", tenant=fast)[1].message.endswith("(function.submit_rate)")
    assert machine.state.turns.gates.buckets["tenant.submit_rate", fast].room(machine.now_ms) == 2


def test_a_duplicate_is_not_counted_as_submitted(machine: Machine):
    fast = machine.tenant("fast", submit_rate=Rate(1.0, 2))
    for _ in range(5):
        assert machine.submit("a", tenant=fast)[0].status is not ItemStatus.REFUSED
    assert machine.submit("b", tenant=fast)[0].status is ItemStatus.ACCEPTED


def test_a_runner_that_is_lost_frees_what_its_leases_took(wide: Machine):
    wide.register(function(downstream="stripe", max_running=5))
    wide.policy(DownstreamPolicy("stripe", frozen=5))
    wide.tenant("default", quota=Quota(maximum=(("CPU", 5000),)))
    tasks(wide, 40)
    assert len(ids(wide.dispatch())) == 5
    for runner in ("r1", "r2"):
        wide.lose(runner)
    wide.join("r3", cpus=10)
    assert len(ids(wide.dispatch())) == 5


def test_as_many_of_a_key_run_as_may_and_other_keys_do_not_wait(wide: Machine):
    wide.register(function(key="user", key_max_running=2))
    other = wide.tenant("other")
    tasks(wide, 5, "a", key="a")
    tasks(wide, 5, "b", key="b", priority=Priority.LOW)
    tasks(wide, 1, "c", key="b")
    tasks(wide, 5, "d", key="a", tenant=other)
    leases = wide.dispatch()
    assert Counter(name[0] for name in ids(leases)) == {"a": 2, "b": 1, "c": 1, "d": 2}
    succeed(wide, next(lease for lease in leases if lease.tasks[0].id.startswith("a")))
    assert [name[0] for name in ids(wide.dispatch())] == ["a"]


def test_keys_leave_nothing_behind(wide: Machine):
    wide.register(function(key="user", key_max_running=1))
    for n in range(500):
        tasks(wide, 2, f"{n}-", key=f"k{n}")
        for _ in range(2):
            for lease in wide.dispatch():
                succeed(wide, lease)
    gc.collect()
    assert len(wide.state.turns.gates._lines) < 100
    assert wide.state.queues == {}
    assert wide.state.running.keys == {}


def test_retries_wait_for_their_budget_and_first_attempts_do_not(wide: Machine):
    """Of 400 tasks that fail, ten retries go for nothing and some for the traffic that there was; new tasks go on."""
    wide.register(function(retry=RetryPolicy(max_attempts=3, base_ms=1, max_ms=1, jitter=False)))
    tasks(wide, 90)
    for lease in wide.dispatch():
        outcomes = [bad(task.no) for task in lease.tasks]
        wide.report(lease.token, *outcomes, runner=on_whom(wide, lease))
    wide.later(10)
    retries = ids(wide.dispatch())
    assert len(retries) == 10 + int(90 * 0.1 / 2)
    assert wide.dispatch() == []
    tasks(wide, 5, "new")
    assert len(ids(wide.dispatch())) == 5


def test_a_retry_that_succeeds_pays_for_the_next(wide: Machine):
    wide.register(function(retry=RetryPolicy(max_attempts=3, base_ms=1, max_ms=1, jitter=False)))
    tasks(wide, 90)
    for lease in wide.dispatch():
        wide.report(lease.token, *[bad(task.no) for task in lease.tasks], runner=on_whom(wide, lease))
    wide.later(10)
    rounds = 0
    while leases := wide.dispatch():
        rounds += 1
        for lease in leases:
            succeed(wide, lease)
    assert set(wide.states().values()) == {"succeeded"}
    assert rounds <= 8
