"""Tasks that have ended leave the shard's table by the way that production's archiver takes, only that no file is written."""

from __future__ import annotations

from collections.abc import Callable

from taskservice.core.effects import Answer, EndedAnswer
from taskservice.core.events import EndedAsked, Event, FileWritten, ForgetAsked
from taskservice.core.past import DAY_MS, HistoryFile, WrittenTask
from taskservice.core.types import Task

ARCHIVE_REF = 1
"""Whose answers are the archive's."""

BATCH_TASKS = 5_000


class Archive:
    """The history of a world, which nobody reads."""

    def __init__(self, handle: Callable[[Event], list[Answer]]) -> None:
        """`handle` puts an event to the shard, and gives the answers to it that do not wait for a commit."""
        self._handle = handle
        self._files = 0
        self._ended = 0
        """Tasks that have ended and may be in the table."""

    def ended(self, tasks: int) -> None:
        """So many more tasks have ended."""
        self._ended += tasks

    def run_once(self) -> None:
        """If as many tasks have ended as fill a file, none of them is known any more."""
        if self._ended >= BATCH_TASKS:
            self._ended = 0
            for dead in (False, True):
                while self._leave(dead=dead):
                    pass

    def _leave(self, *, dead: bool) -> bool:
        """Some tasks that have ended are gone; whether there were any."""
        asked = EndedAsked(ARCHIVE_REF, dead=dead, after=None, limit=BATCH_TASKS, bytes_max=1 << 40)
        tasks = [task for answer in self._handle(asked) for task in _tasks(answer)]
        if not tasks:
            return False
        last_ms = max(task.ended_ms or 0 for task in tasks)
        nos = [task.no for task in tasks]
        self._files += 1
        key = f"history/{self._files:012}"
        file = HistoryFile(key, last_ms // DAY_MS, min(nos), max(nos), len(nos), 0, last_ms)
        rows = tuple([WrittenTask(task.no, row, task.run, task.state) for row, task in enumerate(tasks)])
        self._handle(FileWritten(0, file, rows, last=True))
        self._handle(ForgetAsked(0, BATCH_TASKS))
        return True


def _tasks(answer: Answer) -> tuple[Task, ...]:
    assert isinstance(answer.value, EndedAnswer)
    return answer.value.tasks
