"""Tasks that can wait: when they start, what brings them forward, and what they may take of the pool."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from helpers.counting import calls_of
from taskservice.core.check import check
from taskservice.core.effects import Refusal
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.specs import Resources
from taskservice.core.types import Lane, TaskState
from world.machine import START_MS, Machine, bad, function, ok

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NIGHT = Limits(off_peak_windows=("22:00-06:00",), off_peak_idle_ratio=0.0)
IDLE = Limits(off_peak_idle_ratio=0.5, off_peak_idle_s=60.0)


def at(hour: int, minute: int = 0) -> int:
    return int(datetime(2030, 5, 14, hour, minute, tzinfo=UTC).timestamp() * 1000)


def machine(limits: Limits, hour: int = 12, cpus: int = 4) -> Machine:
    made = Machine(limits)
    made.now_ms = at(hour)
    made.restart()
    made.register()
    made.join(cpus=cpus)
    return made


def leased(machine: Machine) -> list[str]:
    return [task.id for lease in machine.dispatch() for task in lease.tasks]


def learn(machine: Machine, duration_us: int, times: int = 30) -> None:
    """The function's attempts take so long."""
    for number in range(times):
        machine.succeed(machine.run(f"learn-{duration_us}-{number}"), duration_us)


# Hours


def test_a_task_that_can_wait_starts_when_the_window_opens() -> None:
    day = machine(NIGHT)
    day.submit("night", off_peak=True)
    day.submit("now")
    assert leased(day) == ["now"]
    assert day.shard.opens_ms == at(22)
    day.later(at(22) - 1 - day.now_ms)
    assert leased(day) == []
    day.later(1)
    assert leased(day) == ["night"]
    day.close()


def test_in_the_window_it_has_its_turn_like_others_and_after_it_no_more() -> None:
    night = machine(NIGHT, hour=23, cpus=2)
    night.submit("a", off_peak=True)
    night.submit("b")
    assert sorted(leased(night)) == ["a", "b"]
    night.later(at(23) + 7 * HOUR_MS - night.now_ms)
    night.submit("c", off_peak=True)
    for lease in list(night.state.leases.values()):
        night.report(lease.token)
    night.later(1_000)
    assert "c" not in leased(night)


def test_a_function_may_be_off_peak_and_a_task_may_say_otherwise() -> None:
    day = machine(NIGHT)
    day.register(function("app.f", off_peak=True, deadline_ms=10 * DAY_MS))
    day.submit("waits")
    day.submit("hurries", off_peak=False)
    assert leased(day) == ["hurries"]
    assert day.task("waits").deadline_ms == day.now_ms + 10 * DAY_MS


def test_with_nothing_to_wait_for_it_is_like_all_others() -> None:
    day = machine(Limits(off_peak_idle_ratio=0.0))
    day.submit("a", off_peak=True)
    assert day.task("a").lane is Lane.MAIN
    assert leased(day) == ["a"]


def test_what_waited_when_there_were_hours_starts_when_there_are_none_any_more() -> None:
    day = machine(NIGHT)
    day.submit("a", off_peak=True)
    day.limits = Limits(off_peak_idle_ratio=0.0)
    day.restart()
    day.join()
    assert leased(day) == ["a"]


def test_a_retry_waits_for_the_night_too() -> None:
    night = machine(NIGHT, hour=5)
    night.submit("a", off_peak=True)
    (lease,) = night.dispatch()
    night.later(HOUR_MS)
    night.report(lease.token, bad(lease.tasks[0].no))
    night.later(10_000)
    assert (night.task("a").state, night.task("a").lane) == (TaskState.QUEUED, Lane.OFF_PEAK_RETRY)
    assert leased(night) == []
    night.later(at(22) - night.now_ms)
    assert leased(night) == ["a"]


def test_it_waits_through_a_restart() -> None:
    day = machine(NIGHT)
    day.submit("a", off_peak=True, deadline_in_ms=2 * DAY_MS)
    before = day.task("a")
    day.restart()
    day.join()
    assert (day.task("a"), leased(day)) == (before, [])
    day.close()


# An idle pool


def test_an_idle_pool_is_used_after_a_while_up_to_its_share() -> None:
    pool = machine(IDLE, cpus=4)
    pool.submit(*"abc", off_peak=True)
    assert leased(pool) == []
    assert pool.shard.opens_ms == pool.now_ms + 60_000
    pool.later(60_000)
    assert leased(pool) == ["a", "b"], "half of the pool, and the rest is free for others"
    lease = next(iter(pool.state.leases.values()))
    pool.report(lease.token, *(ok(no) for no in lease.open))
    assert leased(pool) == ["c"], "its own use does not count as others'"


def test_the_gate_closes_when_others_use_the_pool_and_opens_when_they_have_not_for_a_while() -> None:
    pool = machine(IDLE, cpus=4)
    pool.later(60_000)
    pool.submit("x", "y")
    leases = pool.dispatch()
    assert len(leases) == 2
    pool.submit("a", off_peak=True)
    pool.later(120_000)
    assert leased(pool) == []
    pool.succeed(leases[0])
    pool.dispatch()
    pool.later(59_999)
    assert leased(pool) == []
    pool.later(1)
    assert leased(pool) == ["a"]


def test_others_wait_for_no_more_than_the_tasks_that_run_on_a_small_pool() -> None:
    pool = machine(IDLE, cpus=1)
    pool.submit("a", "b", off_peak=True)
    pool.later(0)
    pool.dispatch()
    pool.later(60_000)
    (lease,) = pool.dispatch()
    assert [task.id for task in lease.tasks] == ["a"]
    pool.submit("urgent")
    assert leased(pool) == []
    pool.succeed(lease)
    assert leased(pool) == ["urgent"]


def test_only_what_the_task_takes_has_to_be_idle() -> None:
    pool = machine(IDLE, cpus=4)
    pool.register(function("app.big", resources=Resources(cpu_m=0, custom_m=(("disk", 1000),))))
    pool.submit("a", off_peak=True, function="app.big")
    pool.later(120_000)
    assert leased(pool) == [], "there is no disk"


# Deadlines


def test_a_deadline_brings_it_forward_in_time() -> None:
    day = machine(NIGHT)
    learn(day, 60_000_000)
    start_ms = day.now_ms
    day.submit("a", off_peak=True, deadline_ms=start_ms + 4 * HOUR_MS)
    press_ms = day.task("a").press_ms
    assert press_ms is not None
    assert 60_000 <= start_ms + 4 * HOUR_MS - press_ms <= 4 * 60_000, "its time, with a margin"
    day.later(press_ms - 1 - day.now_ms)
    assert leased(day) == []
    day.later(1)
    assert (day.task("a").lane, day.task("a").press_ms) == (Lane.MAIN, None)
    (lease,) = day.dispatch()
    day.now_ms += 60_000
    day.succeed(lease, 60_000_000)
    kept = day.state.deadlines.of(None)["app.f"]
    assert (kept.met, kept.missed) == (1, 0)
    day.close()


def test_while_nothing_is_known_of_a_function_it_may_take_its_timeout() -> None:
    day = machine(NIGHT)
    day.submit("a", off_peak=True, timeout_ms=300_000, deadline_in_ms=4 * HOUR_MS)
    assert day.task("a").press_ms == day.now_ms + 4 * HOUR_MS - 450_000 - 10_000


def test_the_more_wait_before_it_the_earlier() -> None:
    day = machine(NIGHT, cpus=2)
    learn(day, 10_000_000)
    day.submit(*(f"a{number}" for number in range(100)), off_peak=True, deadline_in_ms=8 * HOUR_MS)
    presses = [day.task(f"a{number}").press_ms or 0 for number in range(100)]
    assert presses == sorted(presses, reverse=True), "one after another, as they can be served"
    gap_ms = (presses[0] - presses[-1]) / 99
    assert 0.9 * 7_500 <= gap_ms <= 1.2 * 7_500, "two at once, ten seconds each, and half as much again"


def test_what_cannot_wait_does_not() -> None:
    day = machine(NIGHT)
    day.submit("a", off_peak=True, deadline_in_ms=60_000)
    assert (day.task("a").lane, day.task("a").press_ms) == (Lane.MAIN, None)
    assert leased(day) == ["a"]


def test_if_less_is_needed_than_was_thought_it_is_put_off() -> None:
    day = machine(NIGHT)
    day.submit("a", off_peak=True, deadline_in_ms=4 * HOUR_MS)
    first_ms = day.task("a").press_ms or 0
    learn(day, 1_000_000)
    day.later(first_ms - day.now_ms)
    assert [type(record) for record in day.records][-1] is PressesPutOff
    later_ms = day.task("a").press_ms or 0
    assert first_ms < later_ms < START_MS + at(16)
    assert leased(day) == []
    day.later(later_ms - day.now_ms)
    assert leased(day) == ["a"]
    day.close()


def test_it_is_put_off_only_so_often() -> None:
    """Estimates that shrink each time put it off each time, and yet not for ever."""
    day = machine(NIGHT)
    day.submit("a", off_peak=True, deadline_in_ms=9 * HOUR_MS, timeout_ms=600_000)
    times, duration_us = 0, 500_000_000
    while day.task("a").lane is Lane.OFF_PEAK:
        day.state.speeds.clear()
        learn(day, duration_us := int(duration_us * 0.7), times=1)
        press_ms = day.task("a").press_ms
        assert press_ms is not None
        day.later(max(0, press_ms - day.now_ms))
        times += 1
    assert times <= 30
    assert sum(isinstance(record, PressesPutOff) for record in day.records) == times - 1


def test_after_a_restart_nothing_is_put_off_for_want_of_knowledge() -> None:
    day = machine(NIGHT)
    learn(day, 100_000_000)
    day.submit("a", off_peak=True, deadline_in_ms=4 * HOUR_MS)
    press_ms = day.task("a").press_ms or 0
    day.restart()
    day.later(press_ms - day.now_ms)
    assert day.task("a").lane is Lane.MAIN


def test_a_pressed_task_takes_its_turn_like_others() -> None:
    day = machine(NIGHT, cpus=1)
    learn(day, 1_000_000)
    day.tenant("other")
    day.submit(*(f"o{number}" for number in range(3)), tenant="other")
    day.submit("a", off_peak=True, deadline_in_ms=HOUR_MS)
    (lease,) = day.dispatch()
    day.later(HOUR_MS)
    turns = [lease.tasks[0].id]
    while lease is not None:
        day.succeed(lease, 1_000_000)
        leases = day.dispatch()
        lease = leases[0] if leases else None
        turns += [task.id for each in leases for task in each.tasks]
    assert turns[-1] != "a"
    assert turns.index("a") >= 1


def test_a_missed_deadline_is_counted_and_the_task_runs_all_the_same() -> None:
    day = machine(NIGHT)
    day.submit("late", deadline_ms=day.now_ms - 1)
    day.submit("dead", deadline_in_ms=1_000, max_attempts=1)
    lease = day.dispatch()
    day.now_ms += 5_000
    for each in lease:
        outcomes = [bad(task.no) for task in each.tasks if task.id == "dead"]
        if outcomes:
            day.report(each.token, *outcomes)
        else:
            day.succeed(each)
    assert day.states() == {"late": "succeeded", "dead": "failed"}
    kept = day.state.deadlines.of("default")["app.f"]
    assert (kept.met, kept.missed) == (0, 2)
    assert day.state.deadlines.of("nobody") == {}
    day.restart()
    assert day.state.deadlines.of(None)["app.f"] == kept
    day.close()


def test_with_a_ttl_it_ends_instead() -> None:
    day = machine(NIGHT)
    day.submit("a", off_peak=True, ttl_ms=HOUR_MS, deadline_in_ms=4 * HOUR_MS)
    day.later(HOUR_MS)
    assert day.states() == {"a": "expired"}
    assert not day.state.deadlines.of(None)


def test_a_deadline_before_it_is_due_is_refused() -> None:
    day = machine(NIGHT)
    (item,) = day.submit("a", delay_ms=HOUR_MS, deadline_in_ms=HOUR_MS)
    assert item.refusal is Refusal.DEADLINE_UNDUE
    assert "its deadline is in 3600000 ms" in item.message
    (item,) = day.submit("a", delay_ms=HOUR_MS, deadline_in_ms=HOUR_MS + 1)
    assert item.refusal is None


def test_one_that_an_operation_means_is_not_moved_out_of_its_way() -> None:
    """The lane that it would go to comes before its own, where the operation has been already."""
    day = machine(NIGHT)
    day.submit("a", off_peak=True, deadline_in_ms=4 * HOUR_MS)
    day.submit("main", delay_ms=12 * HOUR_MS)
    press_ms = day.task("a").press_ms or 0
    day.now_ms = press_ms
    day.bulk(OperationKind.CANCEL)
    day.later(0)
    assert day.task("a").state is TaskState.CANCELLED
    assert not any(isinstance(record, TasksPressed) for record in day.records)
    day.finish_bulk()
    day.close()


# Many


def test_a_turn_costs_as_much_however_many_wait() -> None:
    costs = []
    for waiting in (100, 3_000):
        day = machine(NIGHT)
        learn(day, 1_000)
        for start in range(0, waiting, 500):
            ids = (f"a{number}" for number in range(start, min(waiting, start + 500)))
            day.submit(*ids, off_peak=True, deadline_in_ms=30 * DAY_MS)
        day.shard.dispatch(day.now_ms)
        costs.append(calls_of(lambda: day.shard.dispatch(day.now_ms)))  # noqa: B023 - called at once
        check(day.state)
    assert costs[0] == costs[1]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_nothing_is_lost_and_no_invariant_broken(seed: int) -> None:
    rng = Random(seed)
    limits = Limits(off_peak_windows=("22:00-06:00 Europe/Berlin",), off_peak_idle_s=30.0, due_batch_max=3)
    world = machine(limits, hour=rng.randrange(24), cpus=rng.randrange(1, 5))
    submitted = 0
    for _ in range(60):
        match rng.randrange(6):
            case 0 | 1:
                for _ in range(rng.randrange(1, 4)):
                    submitted += 1
                    deadline = rng.choice([None, rng.randrange(1, 20) * HOUR_MS])
                    world.submit(f"t{submitted}", off_peak=rng.random() < 0.8, deadline_in_ms=deadline)
            case 2:
                world.later(rng.randrange(1, 4 * HOUR_MS))
            case 3:
                world.dispatch()
            case 4 if world.state.leases:
                lease = rng.choice(list(world.state.leases.values()))
                failed = [bad(no) for no in lease.open if rng.random() < 0.3]
                world.report(lease.token, *failed, handed_back=tuple(lease.open) if rng.random() < 0.3 else ())
            case 5 if rng.random() < 0.3:
                world.restart()
                world.join()
                world.settle()
    world.later(3 * DAY_MS)
    for _ in range(20 * submitted + 20):
        for lease in list(world.state.leases.values()):
            launch = next((each for each in world.launches if each.lease.token == lease.token), None)
            if launch is not None:
                world.succeed(launch.lease)
        world.later(HOUR_MS)
        world.dispatch()
        if not any(world.state.unfinished.values()):
            break
    assert not any(world.state.unfinished.values())
    world.close()
