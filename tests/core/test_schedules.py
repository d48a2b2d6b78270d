"""Schedules: what is set, and when tasks come of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from taskservice.core import records as r
from taskservice.core.effects import Refusal, SchedulesAnswer
from taskservice.core.events import SchedulesListed, Ticked
from taskservice.core.fire import PLAN_STEPS
from taskservice.core.limits import Limits
from taskservice.core.schedules import ScheduleId, ScheduleKey, Skipped
from taskservice.core.shard import DEFAULT_TENANT, SEGMENT_BYTES
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import Priority, TaskState, TenantId
from world.machine import START_MS, Machine

MINUTE = 60_000
HOUR = 60 * MINUTE
EVERY = {"interval_ms": MINUTE}


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(Limits(schedule_catchup_max=5, schedules_max=3, schedule_retry_ms=10_000))
    machine.register()
    machine.join(cpus=4)
    yield machine
    machine.close()


def made(machine: Machine) -> list[int]:
    """The times of schedules that came to a task since the last start, in minutes after the beginning of the test."""
    accepted = [record for record in machine.records if isinstance(record, r.TasksAccepted)]
    ids = [task.id for record in accepted for task in record.tasks if "@" in task.id]
    moments = [datetime.fromisoformat(id.partition("@")[2]) for id in ids]
    return [int(moment.timestamp() * 1_000 - START_MS) // MINUTE for moment in moments]


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


def test_the_records_of_an_event_are_in_one_segment_though_it_is_full(machine: Machine) -> None:
    machine.put_schedule("s", **EVERY)
    machine.now_ms += MINUTE
    machine.shard._pending_bytes = SEGMENT_BYTES - 1
    machine.handle(Ticked())
    cut = machine.shard.cut()
    assert cut is not None
    assert [type(record) for record in cut.records] == [r.TasksAccepted, r.ScheduleFired]
    assert machine.shard.cut() is None
    machine.restart()


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
    assert sum(isinstance(record, r.ScheduleFired) for record in machine.records) == 1, "it has one turn"


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
    assert next_tick_ms(machine.state) == START_MS + MINUTE + offsets[0]
    machine.later(1)
    assert made(machine) == [1]


def test_nothing_fires_while_its_turn_has_not_come(machine: Machine) -> None:
    """Ticks for other reasons are no reason."""
    machine.put_schedule("s", **EVERY)
    for _ in range(59):
        machine.later(1_000)
    assert made(machine) == []


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
    machine.put_schedule("s", interval_ms=HOUR)
    for version in range(1, 1_000):
        machine.put_schedule("s", version, interval_ms=HOUR - version)
    assert len(machine.state.schedules._heap) < 300
