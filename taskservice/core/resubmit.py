"""Tasks that have ended and are submitted again with `on_conflict: rerun`: their next runs.

One in the table is run again as by a retry, whatever it ended as: with the payload, which is the same, and all else that was
said of it first. Of one in history only the payload is known, from this submit: it leaves history, and is a task of the same
id as it is submitted now. Its row in the file stays; nobody is shown it any more.
"""

from __future__ import annotations

from taskservice.core.changes import Change, changed
from taskservice.core.effects import Refusal
from taskservice.core.operate import still_ahead
from taskservice.core.operations import OperationKind
from taskservice.core.past import Past
from taskservice.core.records import HistoryForgotten, Record, TasksChanged
from taskservice.core.state import State
from taskservice.core.types import Task, TaskNo


class Reruns:
    """The next runs that one submit begins."""

    def __init__(self, state: State, now_ms: int) -> None:
        self._state = state
        self._wanted = Change(OperationKind.RETRY, now_ms)
        self._again: list[TaskNo] = []
        self._forgotten: list[TaskNo] = []

    def refusal(self, ended: Task) -> tuple[Refusal, str] | None:
        """Why the task, which has ended, cannot be run again now; None if it can."""
        return still_ahead(self._state, ended, self._wanted.kind)

    def begin(self, ended: Task) -> Task:
        """The task in its next run."""
        self._again.append(ended.no)
        task = changed(ended, self._wanted)
        assert task is not None, "only what is deleted is gone"
        return task

    def leave(self, past: Past) -> int:
        """The task is not in history any more; gives the run that is its next."""
        self._forgotten.append(past.no)
        return past.run + 1

    def records(self) -> tuple[Record, ...]:
        """What makes it true, before the tasks from history are accepted."""
        records: list[Record] = []
        if self._again:
            records.append(TasksChanged(self._wanted.at_ms, self._wanted.kind, tuple(self._again)))
        if self._forgotten:
            records.append(HistoryForgotten(self._wanted.at_ms, tuple(self._forgotten)))
        return tuple(records)
