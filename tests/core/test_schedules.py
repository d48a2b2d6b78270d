"""Schedules: what is set, when tasks come of it, and what is done about times that cannot have theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskservice.core import records as r
from taskservice.core.effects import Refusal, SchedulesAnswer
from taskservice.core.events import SchedulesListed
from taskservice.core.fire import PLAN_STEPS
from taskservice.core.limits import Limits
from taskservice.core.schedules import CatchUp, Overlap, ScheduleId, ScheduleKey, ScheduleSpec, Skipped
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import Priority, TaskState, TenantId
from world.machine import START_MS, Machine, bad, function

MINUTE = 60_000
HOUR = 60 * MINUTE
EVERY = {"interval_ms": MINUTE}


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(Limits(schedule_catchup_max=5, schedules_max=3, schedule_retry_ms=10_000))
    machine.register(function(), function("app.g", priority=Priority.LOW))
    machine.join(cpus=4)
    yield machine
    machine.close()


def made(machine: Machine, id: str = "s") -> list[int]:
    """The times of the schedule that came to a task, in minutes after the start."""
    tasks = [task for record in accepted(machine) for task in record.tasks if task.id.startswith(f"{id}@")]
    return [minute_of(task.id) for task in tasks]


def minute_of(task_id: str) -> int:
    """1970-01-01T00:16:40Z is the start."""
    _, _, moment = task_id.partition("T")
    hours, minutes, seconds = moment.rstrip("Z").split(":")
    return (int(hours) * 3_600 + int(minutes) * 60 + int(float(seconds)) - START_MS // 1_000) // 60


def accepted(machine: Machine) -> list[r.TasksAccepted]:
    return [record for record in machine.records if isinstance(record, r.TasksAccepted)]


def finish(machine: Machine) -> None:
    """All that may run has run."""
    for lease in machine.dispatch():
        machine.succeed(lease)


# Set, change, remove


def test_a_schedule_makes_ordinary_tasks_at_its_times(machine: Machine) -> None:
    task = {"priority": Priority.HIGH, "tags": (("a", "b"),), "max_attempts": 2, "timeout_ms": 5_000}
    machine.put_schedule("s", payload=b'{"n":1}', task=task, **EVERY)
    machine.later(MINUTE - 1)
    assert machine.states() == {}
    machine.later(1)
    assert list(machine.states()) == ["s@1970-01-01T00:17:40.000Z"]
    made_task = machine.task("s@1970-01-01T00:17:40.000Z")
    assert (made_task.function, made_task.payload, made_task.state) == ("app.f", b'{"n":1}', TaskState.QUEUED)
    assert (made_task.priority, made_task.max_attempts, made_task.timeout_ms) == (Priority.HIGH, 2, 5_000)
    assert made_task.tags == (("a", "b"), ("schedule", "s"))
    assert (made_task.created_ms, made_task.due_ms) == (machine.now_ms, machine.now_ms)
    (lease,) = machine.dispatch()
    assert lease.tasks[0].id == made_task.id
    progress = machine.progress("s")
    assert (progress.fired, progress.last_ms, progress.last_task) == (1, START_MS + MINUTE, made_task.id)
    assert (progress.next_ms, progress.skipped, progress.error) == (START_MS + 2 * MINUTE, Skipped(), None)


def test_a_tag_of_the_same_name_is_the_users_own(machine: Machine) -> None:
    machine.put_schedule("s", task={"tags": (("schedule", "mine"),)}, **EVERY)
    machine.later(MINUTE)
    assert machine.task(machine.progress("s").last_task or "").tags == (("schedule", "mine"),)


def test_tasks_and_progress_are_records_of_one_event(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    machine.later(MINUTE)
    assert [type(record) for record in machine.records[-2:]] == [r.TasksAccepted, r.ScheduleFired]


def test_a_new_schedule_that_is_wanted_twice_is_there_once(machine: Machine) -> None:
    """A client whose answer was lost asks again."""
    first = machine.put_schedule("s", **EVERY)
    machine.now_ms += 10
    again = machine.put_schedule("s", **EVERY)
    assert (again.found, first.known, again.known) == (first.found, False, True)
    assert machine.put_schedule("s", interval_ms=HOUR).refusal is Refusal.SCHEDULE_EXISTS
    assert machine.progress("s").next_ms == START_MS + MINUTE


def test_a_change_names_the_version_that_it_changes(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    changed = machine.put_schedule("s", 1, interval_ms=HOUR)
    assert changed.found is not None
    assert (changed.found.schedule.version, changed.found.schedule.created_ms) == (2, START_MS)
    assert changed.found.progress.next_ms == START_MS + HOUR
    assert machine.put_schedule("s", 1, interval_ms=5 * MINUTE).refusal is Refusal.SCHEDULE_CHANGED
    assert machine.put_schedule("nobody", 1, **EVERY).refusal is Refusal.NOT_FOUND


def test_a_change_of_the_task_leaves_the_next_time_alone(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    machine.later(30_000)
    machine.put_schedule("s", 1, payload=b'{"new":1}', **EVERY)
    machine.later(30_000)
    assert machine.task(machine.progress("s").last_task or "").payload == b'{"new":1}'


def test_a_schedule_that_is_paused_makes_nothing_and_catches_nothing_up(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    machine.put_schedule("s", 1, paused=True, **EVERY)
    machine.later(10 * MINUTE)
    assert (made(machine), machine.progress("s").next_ms) == ([], None)
    machine.put_schedule("s", 2, **EVERY)
    machine.later(MINUTE)
    assert (made(machine), machine.progress("s").skipped) == ([11], Skipped())


def test_a_time_that_is_due_when_the_schedule_is_changed_is_counted(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    machine.now_ms += 3 * MINUTE
    machine.put_schedule("s", 1, interval_ms=HOUR)
    assert machine.progress("s").skipped == Skipped(late=3)
    machine.put_schedule("s", 2, interval_ms=HOUR, paused=True)
    assert machine.progress("s").skipped == Skipped(late=3)


def test_a_schedule_that_is_removed_leaves_its_tasks(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    machine.later(MINUTE)
    removed = machine.remove_schedule("s")
    assert removed.found is not None
    assert removed.found.progress.fired == 1
    assert machine.remove_schedule("s").refusal is Refusal.NOT_FOUND
    machine.later(HOUR)
    assert (len(machine.states()), machine.state.schedules.next_ms()) == (1, None)
    machine.restart()
    assert machine.state.schedules.by_tenant == {}


def test_only_so_many_for_a_tenant(machine: Machine) -> None:
    acme = machine.tenant("acme")
    for id in ("a", "b", "c"):
        machine.put_schedule(id, **EVERY)
    refused = machine.put_schedule("d", **EVERY)
    assert (refused.refusal, refused.limit, "schedules_max 3" in refused.message) == (Refusal.SCHEDULES_MAX, 3, True)
    assert machine.put_schedule("d", tenant=acme, **EVERY).refusal is None
    assert machine.put_schedule("a", 1, interval_ms=HOUR).refusal is None
    machine.remove_schedule("b")
    assert machine.put_schedule("d", **EVERY).refusal is None


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"interval_ms": MINUTE, "function": "app.none"}, Refusal.UNKNOWN_FUNCTION),
        ({"interval_ms": MINUTE, "task": {"max_attempts": 4}}, Refusal.ATTEMPTS_ABOVE_LIMIT),
        ({"interval_ms": MINUTE, "task": {"timeout_ms": 10**9}}, Refusal.TIMEOUT_ABOVE_LIMIT),
        ({}, Refusal.SCHEDULE_INVALID),
        ({"interval_ms": MINUTE, "cron": "* * * * *"}, Refusal.SCHEDULE_INVALID),
        ({"cron": "* * * * *", "anchor_ms": 5}, Refusal.SCHEDULE_INVALID),
        ({"interval_ms": 999}, Refusal.PERIOD_TOO_SHORT),
        ({"interval_ms": MINUTE, "jitter_ms": MINUTE}, Refusal.SCHEDULE_INVALID),
        ({"cron": "*/2 * * * *", "jitter_ms": 2 * MINUTE}, Refusal.SCHEDULE_INVALID),
        ({"interval_ms": MINUTE, "ends_ms": START_MS + MINUTE}, Refusal.SCHEDULE_INVALID),
        ({"cron": "61 * * * *"}, Refusal.CRON_INVALID),
        ({"cron": "* * * * *", "zone": "Europe/Atlantis"}, Refusal.ZONE_UNKNOWN),
        ({"interval_ms": MINUTE, "tenant": TenantId("nobody")}, Refusal.UNKNOWN_TENANT),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_set(machine: Machine, said: dict, refusal: Refusal) -> None:
    answer = machine.put_schedule("s", **said)
    assert (answer.refusal, answer.found, bool(answer.message)) == (refusal, None, True)
    assert machine.state.schedules.by_tenant == {}


def test_a_tenant_lists_its_own_page_by_page_and_an_admin_all(machine: Machine) -> None:
    acme = machine.tenant("acme")
    for id in ("b", "c", "a"):
        machine.put_schedule(id, **EVERY)
    machine.put_schedule("x", tenant=acme, **EVERY)

    def page(tenant: TenantId | None, after: ScheduleKey | None, limit: int) -> tuple[list[str], bool]:
        answer = machine.ask(SchedulesListed(machine.next_ref(), tenant, after, limit))
        assert isinstance(answer, SchedulesAnswer)
        return [each.schedule.id for each in answer.schedules], answer.more

    assert page(DEFAULT_TENANT, None, 2) == (["a", "b"], True)
    assert page(DEFAULT_TENANT, ScheduleKey(DEFAULT_TENANT, ScheduleId("b")), 2) == (["c"], False)
    assert page(None, None, 10) == (["x", "a", "b", "c"], False)
    assert page(acme, None, 10) == (["x"], False)
    assert page(TenantId("nobody"), None, 10) == ([], False)


# Times


def test_intervals_are_counted_from_the_anchor_or_the_start(machine: Machine) -> None:
    machine.put_schedule("anchored", interval_ms=HOUR, anchor_ms=START_MS - 10 * HOUR - 7_000)
    machine.put_schedule("starting", interval_ms=HOUR, starts_ms=START_MS + 5_000)
    machine.put_schedule("made", interval_ms=HOUR)
    next_ms = {id: machine.progress(id).next_ms for id in ("anchored", "starting", "made")}
    assert next_ms == {"anchored": START_MS + HOUR - 7_000, "starting": START_MS + 5_000, "made": START_MS + HOUR}


def test_a_schedule_begins_at_its_start_and_is_over_at_its_end(machine: Machine) -> None:
    machine.put_schedule(
        "s", anchor_ms=START_MS, starts_ms=START_MS + 2 * MINUTE, ends_ms=START_MS + 4 * MINUTE, **EVERY
    )
    for _ in range(8):
        machine.later(MINUTE)
    assert made(machine) == [2, 3]
    assert (machine.progress("s").next_ms, machine.state.schedules.next_ms()) == (None, None)


def test_jitter_makes_it_later_by_as_much_as_it_always_would(machine: Machine) -> None:
    machine.put_schedule("s", jitter_ms=50_000, **EVERY)
    schedule = machine.state.schedules.find(ScheduleKey(DEFAULT_TENANT, ScheduleId("s")))
    assert schedule is not None
    offsets = [schedule.schedule.jitter_of(START_MS + n * MINUTE) for n in range(1, 1_001)]
    assert (min(offsets) < 1_000, max(offsets) > 49_000, max(offsets) <= 50_000) == (True, True, True)
    assert 24_000 < sum(offsets) / len(offsets) < 26_000
    machine.later(MINUTE + offsets[0] - 1)
    assert made(machine) == []
    machine.later(1)
    assert made(machine) == [1]


def test_nothing_fires_while_its_turn_has_not_come(machine: Machine) -> None:
    """Ticks for other reasons are no reason."""
    machine.put_schedule("s", **EVERY)
    for _ in range(59):
        machine.later(1_000)
    assert made(machine) == []


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
    finish(machine)
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
    machine.join(cpus=4)
    finish(machine)
    machine.later(10_000)
    progress = machine.progress("s", acme)
    assert (progress.fired, progress.waiting_ms, progress.error) == (2, None, None)


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


# Many


def test_a_turn_deals_with_so_many_and_the_rest_have_theirs_next() -> None:
    machine = Machine(Limits(due_batch_max=10 * (PLAN_STEPS + 1), schedules_max=100))
    machine.register()
    for number in range(35):
        machine.put_schedule(f"s{number:02}", starts_ms=START_MS + MINUTE, interval_ms=HOUR)
    machine.later(MINUTE)
    assert len(machine.states()) == 10
    assert machine.catch_up() == 3
    assert len(machine.states()) == 35
    machine.close()


def test_large_payloads_do_not_make_a_turn_large() -> None:
    machine = Machine(Limits(schedules_max=100))
    machine.register()
    payload = b'"' + b"x" * (1 << 20) + b'"'
    for number in range(10):
        machine.put_schedule(f"s{number}", starts_ms=START_MS + MINUTE, interval_ms=HOUR, payload=payload)
    machine.later(MINUTE)
    assert len(machine.states()) == 4
    machine.catch_up()
    assert len(machine.states()) == 10


def test_the_heap_does_not_grow_with_changes(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    for version in range(1, 1_000):
        machine.put_schedule("s", version, interval_ms=MINUTE + version)
    assert len(machine.state.schedules._heap) < 300
