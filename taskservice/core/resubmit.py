"""Tasks that have ended and are submitted again with `on_conflict: rerun`: their next runs."""

from __future__ import annotations

from taskservice.core.changes import Change, changed
from taskservice.core.effects import ItemAnswer, ItemStatus, Refusal
from taskservice.core.operate import not_here, refusal
from taskservice.core.operations import OperationKind
from taskservice.core.records import Record, TasksChanged
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, Task, TaskId, TaskNo, TaskState


class Reruns:
    """The tasks of one submit that begin their next run: what `retry` would do with them."""

    def __init__(self, state: State, here: dict[TaskId, Task], now_ms: int) -> None:
        """`here`: the tenant's tasks in the table, kept as they are after these runs have begun."""
        self._state = state
        self._here = here
        self._wanted = Change(OperationKind.RETRY, now_ms)
        self._nos: list[TaskNo] = []

    def take(self, item: ItemAnswer) -> ItemAnswer:
        """A duplicate of a task that has ended is accepted as its next run, or it says why not; any other item is as it was."""
        before = item.task or item.past
        if item.status is not ItemStatus.DUPLICATE or before is None or before.state not in TERMINAL_STATES:
            return item
        if before.state is TaskState.SUCCEEDED:
            message = f"task {item.id!r} has succeeded, and is not run again; submit it under another id"
            return ItemAnswer(item.id, ItemStatus.REFUSED, item.task, Refusal.ENDED, message, past=item.past)
        if item.task is None:
            return not_here(item.id, item.past, self._wanted.kind)
        refused = refusal(self._state, item.task, self._wanted.kind)
        if refused is not None:
            return ItemAnswer(item.id, ItemStatus.REFUSED, item.task, *refused)
        task = changed(item.task, self._wanted)
        if task is not None:
            self._here[item.id] = task
        self._nos.append(item.task.no)
        return ItemAnswer(item.id, ItemStatus.ACCEPTED, task)

    def records(self) -> tuple[Record, ...]:
        """What makes it true."""
        if not self._nos:
            return ()
        return (TasksChanged(self._wanted.at_ms, self._wanted.kind, tuple(self._nos)),)
