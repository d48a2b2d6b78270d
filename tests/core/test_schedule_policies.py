"""What becomes of times that cannot have a task at once: overlap, catch-up, and tasks that are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.test_schedules import EVERY, HOUR, MINUTE, made
from taskservice.core import records as r
from taskservice.core.effects import Refusal
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.schedules import CatchUp, Overlap, ScheduleId, ScheduleKey, ScheduleSpec, Skipped
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import TenantId
from world.machine import START_MS, Machine, bad


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(Limits(schedule_catchup_max=5, schedules_max=3, schedule_retry_ms=10_000))
    machine.register()
    machine.join(cpus=4)
    yield machine
    machine.close()


# Overlap


def test_overlap_allow_makes_one_more_task(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    for _ in range(3):
        machine.later(MINUTE)
    assert len(machine.states()) == 3


@pytest.mark.parametrize("end", ["succeed", "cancel", "bulk", "fail"])
def test_overlap_skip_waits_for_the_end_of_the_last_task_however_it_ends(machine: Machine, end: str) -> None:
    machine.put_schedule("s", overlap=Overlap.SKIP, task={"max_attempts": 1}, **EVERY)
    machine.later(MINUTE)
    (lease,) = machine.dispatch() if end in {"succeed", "fail"} else (None,)
    machine.later(MINUTE)
    machine.later(MINUTE)
    assert (made(machine), machine.progress("s").skipped) == ([1], Skipped(overlap=2))
    if lease is None:
        _end_waiting(machine, end)
    elif end == "succeed":
        machine.succeed(lease)
    else:
        machine.report(lease.token, bad(lease.tasks[0].no))
    machine.later(MINUTE)
    assert (made(machine), machine.progress("s").skipped) == ([1, 4], Skipped(overlap=2))


def _end_waiting(machine: Machine, end: str) -> None:
    """The schedule's last task, which has not started, is cancelled."""
    if end == "cancel":
        machine.cancel(machine.progress("s").last_task or "")
    else:
        machine.bulk()
        machine.finish_bulk()


@pytest.mark.parametrize("end", ["succeed", "cancel", "bulk", "fail"])
def test_queue_one_lets_one_time_wait_and_makes_its_task_at_the_end_of_the_last(machine: Machine, end: str) -> None:
    machine.put_schedule("s", overlap=Overlap.QUEUE_ONE, task={"max_attempts": 1}, **EVERY)
    machine.later(MINUTE)
    (lease,) = machine.dispatch() if end in {"succeed", "fail"} else (None,)
    for _ in range(3):
        machine.later(MINUTE)
    progress = machine.progress("s")
    assert (made(machine), progress.waiting_ms, progress.skipped.overlap) == ([1], START_MS + 2 * MINUTE, 2)
    machine.now_ms += 1_000
    if lease is None:
        _end_waiting(machine, end)
    elif end == "succeed":
        machine.succeed(lease)
    else:
        machine.report(lease.token, bad(lease.tasks[0].no))
    assert machine.catch_up() == 1
    progress = machine.progress("s")
    assert (made(machine), progress.waiting_ms, progress.last_fired_ms) == ([1, 2], None, machine.now_ms)
    assert progress.next_ms == START_MS + 5 * MINUTE


def test_what_waits_goes_on_waiting_after_a_restart_and_is_made_after_another(machine: Machine) -> None:
    machine.put_schedule("s", overlap=Overlap.QUEUE_ONE, **EVERY)
    machine.later(MINUTE)
    machine.later(MINUTE)
    machine.restart()
    assert (machine.catch_up(), machine.progress("s").waiting_ms) == (0, START_MS + 2 * MINUTE)
    machine.cancel(machine.progress("s").last_task or "")
    machine.restart()
    assert machine.catch_up() == 1
    assert made(machine) == [2]


@pytest.mark.parametrize("how", ["by name", "by a filter"])
def test_a_time_that_waits_for_a_task_that_is_deleted_waits_no_longer(machine: Machine, how: str) -> None:
    """Seed 3 of the worlds, once some of their tasks were followed by others: it waited for ever."""
    machine.put_schedule("s", overlap=Overlap.QUEUE_ONE, **EVERY)
    machine.later(MINUTE)
    machine.later(MINUTE)
    if how == "by name":
        machine.change(OperationKind.DELETE, machine.progress("s").last_task or "")
    else:
        machine.bulk(OperationKind.DELETE)
        machine.finish_bulk()
    assert machine.catch_up() == 1
    assert made(machine) == [1, 2]


def test_a_change_does_not_make_a_waiting_time_wait_for_ever(machine: Machine) -> None:
    """It comes between the end of the last task and the turn in which that is seen."""
    machine.put_schedule("s", overlap=Overlap.QUEUE_ONE, **EVERY)
    machine.later(MINUTE)
    machine.later(MINUTE)
    machine.cancel(machine.progress("s").last_task or "")
    machine.put_schedule("s", 1, overlap=Overlap.QUEUE_ONE, payload=b"[]", **EVERY)
    assert machine.catch_up() == 1
    assert made(machine) == [1, 2]


def test_pausing_drops_what_waits_and_counts_it(machine: Machine) -> None:
    machine.put_schedule("s", overlap=Overlap.QUEUE_ONE, **EVERY)
    machine.later(MINUTE)
    machine.later(MINUTE)
    machine.put_schedule("s", 1, overlap=Overlap.QUEUE_ONE, paused=True, **EVERY)
    machine.cancel(machine.progress("s").last_task or "")
    assert (machine.catch_up(), made(machine), machine.progress("s").skipped) == (0, [1], Skipped(overlap=1))


# Catch-up


@pytest.mark.parametrize(
    ("policy", "minutes", "late"),
    [(CatchUp.SKIP, [180], 179), (CatchUp.ONE, [180], 179), (CatchUp.ALL, [176, 177, 178, 179, 180], 175)],
)
def test_an_outage_of_three_hours_that_ends_at_a_time(
    machine: Machine, policy: CatchUp, minutes: list[int], late: int
) -> None:
    machine.put_schedule("s", catch_up=policy, **EVERY)
    machine.now_ms += 3 * HOUR + 5_000
    machine.restart()
    machine.catch_up()
    progress = machine.progress("s")
    assert (made(machine), progress.skipped, progress.fired) == (minutes, Skipped(late=late), len(minutes))
    assert progress.next_ms == START_MS + 181 * MINUTE


@pytest.mark.parametrize(
    ("policy", "minutes", "late"), [(CatchUp.SKIP, [], 3), (CatchUp.ONE, [150], 2), (CatchUp.ALL, [50, 100, 150], 0)]
)
def test_an_outage_of_three_hours_that_ends_long_after_the_last_time(
    machine: Machine, policy: CatchUp, minutes: list[int], late: int
) -> None:
    machine.put_schedule("s", catch_up=policy, interval_ms=50 * MINUTE)
    machine.now_ms += 3 * HOUR
    machine.restart()
    machine.catch_up()
    assert (made(machine), machine.progress("s").skipped) == (minutes, Skipped(late=late))


@pytest.mark.parametrize("policy", CatchUp)
@pytest.mark.parametrize("by", [{"cron": "* * * * *"}, {"interval_ms": MINUTE, "anchor_ms": 0}])
def test_after_a_month_all_times_are_counted_in_turns_of_a_bounded_length(
    machine: Machine, policy: CatchUp, by: dict
) -> None:
    machine.put_schedule("s", catch_up=policy, **by)
    machine.now_ms += 30 * 24 * HOUR
    turns = machine.catch_up()
    progress = machine.progress("s")
    fired = 5 if policy is CatchUp.ALL else 1
    assert (progress.fired, progress.fired + progress.skipped.late) == (fired, 30 * 24 * 60)
    assert turns == 1 if "interval_ms" in by else 40 < turns < 50


def test_all_and_overlap_skip_makes_the_first_and_skips_what_overlaps_it(machine: Machine) -> None:
    machine.put_schedule("s", catch_up=CatchUp.ALL, overlap=Overlap.SKIP, **EVERY)
    machine.now_ms += 3 * MINUTE
    machine.catch_up()
    assert (made(machine), machine.progress("s").skipped) == ([1], Skipped(overlap=2))


def test_a_time_that_is_late_by_less_than_the_grace_is_not_skipped(machine: Machine) -> None:
    """A fail-over takes some seconds: that is no outage."""
    machine.put_schedule("s", catch_up=CatchUp.SKIP, interval_ms=HOUR)
    machine.now_ms += HOUR + machine.limits.schedule_grace_ms
    machine.restart()
    machine.catch_up()
    assert made(machine) == [60]


# Refused tasks


@pytest.fixture
def full(machine: Machine) -> TenantId:
    """A tenant whose queue is full."""
    acme = machine.tenant("acme", queued_max=1)
    machine.submit("in the way", tenant=acme)
    return acme


def test_a_refused_task_is_skipped_counted_and_told_under_skip(machine: Machine, full: TenantId) -> None:
    machine.put_schedule("s", tenant=full, catch_up=CatchUp.SKIP, **EVERY)
    machine.later(MINUTE)
    progress = machine.progress("s", full)
    assert (progress.skipped, progress.retry_ms) == (Skipped(refused=1), None)
    assert progress.error is not None
    assert (progress.error.reason, progress.error.nominal_ms) == (Refusal.QUEUED_MAX, START_MS + MINUTE)
    assert "queued_max 1" in progress.error.message
    machine.cancel("in the way", tenant=full)
    machine.later(MINUTE)
    progress = machine.progress("s", full)
    assert (progress.fired, progress.error, progress.skipped) == (1, None, Skipped(refused=1))


@pytest.mark.parametrize(("policy", "minutes", "late"), [(CatchUp.ONE, [3], 2), (CatchUp.ALL, [1, 2, 3], 0)])
def test_a_refused_task_is_tried_again(
    machine: Machine, full: TenantId, policy: CatchUp, minutes: list[int], late: int
) -> None:
    machine.put_schedule("s", tenant=full, catch_up=policy, **EVERY)
    machine.later(MINUTE)
    progress = machine.progress("s", full)
    assert (progress.next_ms, progress.retry_ms) == (START_MS + MINUTE, machine.now_ms + 10_000)
    assert progress.error is not None
    machine.later(9_999)
    assert machine.progress("s", full) == progress
    machine.restart()
    machine.later(1)
    assert machine.progress("s", full).retry_ms == machine.now_ms + 10_000
    machine.now_ms = START_MS + 3 * MINUTE
    machine.tenant("acme", queued_max=10)
    machine.catch_up()
    progress = machine.progress("s", full)
    assert (made(machine), progress.skipped, progress.error) == (minutes, Skipped(late=late), None)
    assert progress.next_ms == START_MS + 4 * MINUTE


def test_all_keeps_its_order_when_there_is_room_for_a_few(machine: Machine, full: TenantId) -> None:
    machine.put_schedule("s", tenant=full, catch_up=CatchUp.ALL, **EVERY)
    machine.tenant("acme", queued_max=3)
    machine.now_ms += 5 * MINUTE
    machine.catch_up()
    assert (made(machine), machine.progress("s", full).next_ms) == ([1, 2], START_MS + 3 * MINUTE)


def test_room_is_shared_by_schedules_that_are_due_together(machine: Machine) -> None:
    acme = machine.tenant("acme", queued_max=2)
    for id in ("a", "b", "c"):
        machine.put_schedule(id, tenant=acme, **EVERY)
    machine.later(MINUTE)
    assert (len(machine.states()), [machine.progress(id, acme).fired for id in "abc"]) == (2, [1, 1, 0])


def test_a_waiting_time_whose_task_is_refused_goes_on_waiting(machine: Machine) -> None:
    acme = machine.tenant("acme", queued_max=1)
    machine.put_schedule("s", tenant=acme, overlap=Overlap.QUEUE_ONE, **EVERY)
    machine.later(MINUTE)
    machine.later(MINUTE)
    (lease,) = machine.dispatch()
    machine.succeed(lease)
    machine.submit("in the way", tenant=acme)
    machine.catch_up()
    progress = machine.progress("s", acme)
    assert (progress.waiting_ms, progress.retry_ms) == (START_MS + 2 * MINUTE, machine.now_ms + 10_000)
    machine.restart()
    machine.cancel("in the way", tenant=acme)
    machine.later(10_000)
    progress = machine.progress("s", acme)
    assert (progress.fired, progress.waiting_ms, progress.error) == (2, None, None)


def test_no_other_time_overtakes_a_waiting_one_whose_task_is_refused(machine: Machine) -> None:
    acme = machine.tenant("acme", queued_max=1)
    machine.put_schedule("s", tenant=acme, overlap=Overlap.QUEUE_ONE, **EVERY)
    machine.later(MINUTE)
    machine.later(MINUTE)
    machine.cancel(machine.progress("s", acme).last_task or "", tenant=acme)
    machine.submit("in the way", tenant=acme)
    machine.catch_up()
    machine.later(MINUTE)
    progress = machine.progress("s", acme)
    assert (progress.waiting_ms, progress.next_ms) == (START_MS + 2 * MINUTE, START_MS + 4 * MINUTE)
    assert (progress.fired, progress.skipped) == (1, Skipped(overlap=1))


def test_an_id_that_somebody_used_for_something_else_is_skipped_at_once(machine: Machine) -> None:
    machine.put_schedule("s", catch_up=CatchUp.ALL, **EVERY)
    machine.submit("s@1970-01-01T00:17:40.000Z", payload=b'"other"')
    machine.later(MINUTE)
    progress = machine.progress("s")
    assert (progress.fired, progress.skipped, progress.retry_ms) == (0, Skipped(refused=1), None)
    assert progress.error is not None
    assert progress.error.reason == Refusal.CONFLICT


def test_a_zone_that_is_gone_stops_the_schedule_and_is_told(machine: Machine) -> None:
    """Set by a version that knew it."""
    machine.put_schedule("s", **EVERY)
    known = machine.state.schedules.find(ScheduleKey(DEFAULT_TENANT, ScheduleId("s")))
    assert known is not None
    spec = ScheduleSpec(known.schedule.spec.task, cron="* * * * *", zone="Europe/Atlantis")
    schedule = type(known.schedule)(ScheduleId("s"), DEFAULT_TENANT, spec, START_MS)
    machine.shard._append(r.ScheduleSet(machine.now_ms, schedule, known.progress))
    machine.later(MINUTE)
    progress = machine.progress("s")
    assert (progress.next_ms, progress.fired) == (None, 0)
    assert progress.error is not None
    assert progress.error.reason == Refusal.ZONE_UNKNOWN
