"""Whatever happens to schedules and their tasks: no time is early, none comes twice, and each is accounted for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskservice.core.events import Ticked
from taskservice.core.limits import Limits
from taskservice.core.recurrence import task_id
from taskservice.core.schedules import CatchUp, Overlap, ScheduleId, ScheduleKey
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.types import ListFilter
from world.machine import START_MS, Machine

LIMITS = Limits(
    schedule_catchup_max=4, schedule_period_ms_min=1, schedule_retry_ms=70, schedule_grace_ms=40, due_batch_max=5
)

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("later"), st.sampled_from([1, 30, 100, 1_000])),
        st.tuples(st.just("dispatch"), st.none()),
        st.tuples(st.just("finish"), st.none()),
        st.tuples(st.just("cancel"), st.none()),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("crash"), st.sampled_from([1, 500])),
        st.tuples(st.just("room"), st.sampled_from([1, 2, None])),
    ),
    max_size=25,
)
SCHEDULES = st.lists(
    st.fixed_dictionaries(
        {
            "interval_ms": st.sampled_from([50, 100, 330]),
            "overlap": st.sampled_from(Overlap),
            "catch_up": st.sampled_from(CatchUp),
            "jitter_ms": st.sampled_from([0, 30]),
            "ends_ms": st.none() | st.just(START_MS + 900),
        }
    ),
    min_size=1,
    max_size=3,
)


@given(schedules=SCHEDULES, actions=ACTIONS)
def test_every_time_is_accounted_for(schedules: list[dict], actions: list[tuple[str, int | None]]) -> None:
    machine = Machine(LIMITS)
    machine.register()
    machine.join(cpus=2)
    for number, said in enumerate(schedules):
        machine.put_schedule(f"s{number}", **said)
    for what, value in actions:
        _act(machine, what, value)
        _check_times(machine, schedules)
    machine.close()


def _act(machine: Machine, what: str, value: int | None) -> None:
    match what:
        case "later":
            machine.later(value or 0)
        case "dispatch":
            machine.dispatch()
        case "finish":
            for lease in [launch.lease for launch in machine.launches]:
                machine.succeed(lease)
            machine.launches.clear()
        case "cancel":
            for each in list(machine.state.schedules.of(None)):
                machine.cancel(each.progress.last_task or "none")
        case "restart":
            machine.restart()
            machine.join(cpus=2)
            machine.settle()
            machine.launches.clear()
        case "crash":
            machine.now_ms += value or 0
            machine.handle(Ticked())
            machine.restart()
            machine.join(cpus=2)
            machine.settle()
            machine.launches.clear()
        case "room":
            machine.tenant(DEFAULT_TENANT, queued_max=value)


def _check_times(machine: Machine, schedules: list[dict]) -> None:
    tasks = {task.id: task for task in machine.state.table.listing(ListFilter(), None, 10_000)}
    for number, said in enumerate(schedules):
        known = machine.state.schedules.find(ScheduleKey(DEFAULT_TENANT, ScheduleId(f"s{number}")))
        assert known is not None
        schedule, progress = known.schedule, known.progress
        over_ms = said["ends_ms"] if progress.next_ms is None else progress.next_ms
        times = range(START_MS + said["interval_ms"], over_ms, said["interval_ms"])
        made = {each: task for each in times if (task := tasks.get(task_id(schedule.id, each))) is not None}
        assert all(task.created_ms >= schedule.fires_ms(each) for each, task in made.items()), "early"
        assert len(made) == progress.fired
        skipped = progress.skipped
        waiting = progress.waiting_ms is not None
        assert len(times) == progress.fired + skipped.late + skipped.overlap + skipped.refused + waiting
        assert not waiting or said["overlap"] is Overlap.QUEUE_ONE
        assert (progress.error is None) or progress.retry_ms is not None or skipped.refused
