"""What the records of schedules make true: the part of `apply` that is theirs."""

from __future__ import annotations

from taskservice.core.effects import Effect
from taskservice.core.notes import forget_schedule, note_progress, note_schedule
from taskservice.core.schedule_records import ScheduleFired, ScheduleRemoved, ScheduleSet
from taskservice.core.schedules import Progress, Schedule
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES


def was_set(state: State, record: ScheduleSet) -> list[tuple[int, Effect]]:
    """There is such a schedule."""
    note_schedule(state.table, record.schedule)
    note_progress(state.table, record.schedule.key, record.progress)
    place(state, record.schedule, record.progress)
    return []


def removed(state: State, record: ScheduleRemoved) -> list[tuple[int, Effect]]:
    """There is no such schedule."""
    forget_schedule(state.table, record.key)
    state.schedules.remove(record.key)
    return []


def fired(state: State, record: ScheduleFired) -> list[tuple[int, Effect]]:
    """The schedule has come so far."""
    known = state.schedules.find(record.key)
    assert known is not None
    note_progress(state.table, record.key, record.progress)
    place(state, known.schedule, record.progress)
    return []


def place(state: State, schedule: Schedule, progress: Progress) -> None:
    """The schedule has its turn when the clock says, or when the task has ended that one of its times waits for."""
    waits = progress.waiting_ms is not None and progress.retry_ms is None
    state.schedules.put(schedule, progress, watch=waits and _unfinished(state, schedule, progress))


def _unfinished(state: State, schedule: Schedule, progress: Progress) -> bool:
    if progress.last_task is None:
        return False
    last = state.table.find(schedule.tenant, [progress.last_task]).get(progress.last_task)
    return last is not None and last.state not in TERMINAL_STATES
