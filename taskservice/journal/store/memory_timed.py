"""What waits for the clock, of the table in memory: each kind of time in an order of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from taskservice.core.types import WAITING_STATES, Task, TaskNo, TaskState
from taskservice.journal.store import moves
from taskservice.journal.store.ordered import Ordered


class Time(NamedTuple):
    """When something becomes of a task."""

    at_ms: int
    no: TaskNo


@dataclass(slots=True)
class Timed:
    """The tasks by their times."""

    due: Ordered[Time] = field(default_factory=Ordered)
    expiring: Ordered[Time] = field(default_factory=Ordered)
    resuming: Ordered[Time] = field(default_factory=Ordered)
    pressing: Ordered[Time] = field(default_factory=Ordered)

    def copy(self) -> Timed:
        return Timed(self.due.copy(), self.expiring.copy(), self.resuming.copy(), self.pressing.copy())

    def enter(self, task: Task) -> None:
        """The task, as it is now, waits for its times."""
        if task.state is not TaskState.RUNNING and _has_times(task):
            for order, at_ms in self._times(task):
                order.add(Time(at_ms, task.no))

    def leave(self, task: Task) -> None:
        """It does not any more."""
        if task.state is not TaskState.RUNNING and _has_times(task):
            for order, at_ms in self._times(task):
                order.remove(Time(at_ms, task.no))

    def by(self, order: Ordered[Time], now_ms: int, limit: int) -> list[TaskNo]:
        """The first tasks of the order whose time has come."""
        return [time.no for time in order.within(None, (now_ms + 1,), limit)]

    def next_ms(self) -> int | None:
        """The first of all times; None if there is none."""
        first = [order.first for order in (self.due, self.expiring, self.resuming, self.pressing)]
        return min([time.at_ms for time in first if time is not None], default=None)

    def _times(self, task: Task) -> Iterator[tuple[Ordered[Time], int]]:
        if task.state in WAITING_STATES:
            yield self.due, task.due_ms
        if task.expires_ms is not None and task.state in moves.EXPIRE.sources:
            yield self.expiring, task.expires_ms
        if task.resume_ms is not None and task.state is TaskState.PAUSED:
            yield self.resuming, task.resume_ms
        if task.press_ms is not None and task.state in moves.PRESS.sources:
            yield self.pressing, task.press_ms


def _has_times(task: Task) -> bool:
    """Whether it may wait for any; most tasks never do, and are asked about with each of their moves."""
    timed = task.expires_ms is not None or task.resume_ms is not None or task.press_ms is not None
    return timed or task.state in WAITING_STATES
