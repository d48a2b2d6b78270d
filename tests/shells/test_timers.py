"""Timers on the table that a service has: never early, never late while the dispatcher has time, and a turn does not grow with them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from helpers.counting import calls_of
from taskservice.core.events import FunctionsRegistered, RunnerJoined, Submitted, Ticked
from taskservice.core.limits import Limits
from taskservice.core.press_records import TasksPressed
from taskservice.core.records import TasksDue, TasksExpired
from taskservice.core.shard import DEFAULT_TENANT, Shard
from taskservice.core.specs import Resources
from taskservice.core.speed import Speed
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import FunctionName, NewTask, RunnerId, Task, TaskId
from taskservice.journal.store.sqlite import SqliteTable
from world.machine import START_MS, function

HOUR_MS = 3_600_000
LIMITS = Limits(off_peak_windows=("22:00-22:01",), off_peak_idle_ratio=0.0, head_tasks_max=100)


def shard(path: Path, timers: int, kinds: tuple[str, ...] = ("due", "expired", "pressed")) -> Shard:
    """Its tasks' times are over an hour, each at another millisecond."""
    made = Shard(State(SqliteTable(path), LIMITS))
    made.open(Mark("log", "writer", 1, -1), START_MS)
    made.handle(FunctionsRegistered(0, (function(),)), START_MS, Random(1))
    made.handle(RunnerJoined(RunnerId("r1"), "node", Resources(cpu_m=1_000_000)), START_MS, Random(1))
    made.state.speeds[FunctionName("app.f")] = Speed(40.0, 40.0)
    rng = Random(timers)
    times_ms = rng.sample(range(HOUR_MS, 2 * HOUR_MS), timers)
    for start in range(0, timers, 1_000):
        batch = [new(no, times_ms[no], kinds[no % len(kinds)]) for no in range(start, min(timers, start + 1_000))]
        made.handle(Submitted(0, DEFAULT_TENANT, tuple(batch)), START_MS, rng)
        made.cut()
    return made


def new(no: int, at_ms: int, kind: str) -> NewTask:
    said: dict[str, object] = {
        "due": {"delay_ms": at_ms},
        "expired": {"ttl_ms": at_ms},
        "pressed": {"off_peak": True, "deadline_in_ms": at_ms},
    }[kind]  # type: ignore[assignment]
    return NewTask(TaskId(f"t{no}"), FunctionName("app.f"), b"{}", **said)  # type: ignore[arg-type]


def time_of(task: Task) -> int:
    return next(at_ms for at_ms in (task.press_ms, task.expires_ms, task.due_ms) if at_ms is not None)


def test_each_of_thousands_of_timers_has_its_turn_at_its_millisecond(tmp_path: Path) -> None:
    """The clock goes from one time to the next, as the dispatcher's timer is set."""
    one = shard(tmp_path / "t.sqlite", 3_000)
    table = one.state.table
    waiting = {no: time_of(task) for no in range(1, 3_001) for task in table.load([no])}
    kinds = set()
    while (now_ms := next_tick_ms(one.state)) is not None:
        one.handle(Ticked(), now_ms, Random(1))
        cut = one.cut()
        assert cut is not None
        for record in cut.records:
            assert isinstance(record, TasksDue | TasksExpired | TasksPressed)
            kinds.add(type(record))
            assert [waiting.pop(no) for no in record.nos] == [now_ms] * len(record.nos), "neither early nor late"
    assert not waiting
    assert kinds == {TasksDue, TasksExpired, TasksPressed}


@pytest.mark.parametrize("kind", ["due", "expired", "pressed"])
def test_a_turn_makes_as_many_calls_however_many_timers_there_are(tmp_path: Path, kind: str) -> None:
    most = []
    for timers in (1_000, 20_000):
        one = shard(tmp_path / f"{timers}.sqlite", timers, (kind,))
        most.append(max(_calls(one) for _ in range(20)))
    assert most[1] <= 1.1 * most[0], most


def _calls(one: Shard) -> int:
    now_ms = next_tick_ms(one.state)
    assert now_ms is not None
    calls = calls_of(lambda: one.handle(Ticked(), now_ms, Random(1)))
    one.cut()
    return calls


def test_what_is_due_at_once_has_its_turns_so_many_at_a_time(tmp_path: Path) -> None:
    one = shard(tmp_path / "t.sqlite", 0)
    batch = tuple(new(no, HOUR_MS, ("due", "expired")[no % 2]) for no in range(4_000))
    one.handle(Submitted(0, DEFAULT_TENANT, batch), START_MS, Random(1))
    one.cut()
    turns = 0
    while next_tick_ms(one.state) is not None:
        one.handle(Ticked(), START_MS + HOUR_MS, Random(1))
        turns += 1
    assert turns == 2, "as many of either as have their turn at once"


def test_a_round_of_leases_makes_as_many_calls_however_many_wait_for_off_peak_hours(tmp_path: Path) -> None:
    """And with as many more that may run: what waits is not looked at."""
    calls = []
    for timers in (1_000, 20_000):
        one = shard(tmp_path / f"{timers}.sqlite", timers, ("pressed",))
        assert one.dispatch(START_MS) == 0
        busy = tuple(NewTask(TaskId(f"now{no}"), FunctionName("app.f"), b"{}") for no in range(10))
        one.handle(Submitted(0, DEFAULT_TENANT, busy), START_MS, Random(1))
        calls.append(calls_of(lambda: one.dispatch(START_MS)))  # noqa: B023 - called at once
    assert calls[0] == calls[1]
