"""What people ask to be done with tasks that they name."""

from __future__ import annotations

from taskservice.core.bulk import ahead_of
from taskservice.core.cancelling import orders_to_cancel
from taskservice.core.changes import Change, changed
from taskservice.core.decision import Decision
from taskservice.core.effects import ItemAnswer, ItemsAnswer, ItemStatus, Refusal
from taskservice.core.events import ChangeAsked
from taskservice.core.operations import SOURCES, OperationKind
from taskservice.core.past import Past
from taskservice.core.records import HistoryForgotten, Record, TasksCancelled, TasksChanged
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, Task, TaskId, TaskNo, TaskState

DONE = {
    OperationKind.CANCEL: ItemStatus.CANCELLED,
    OperationKind.PAUSE: ItemStatus.PAUSED,
    OperationKind.RESUME: ItemStatus.RESUMED,
    OperationKind.RETRY: ItemStatus.RETRIED,
    OperationKind.DELETE: ItemStatus.DELETED,
}
"""What is said of a task when it is done."""

_UNFINISHED = tuple(state for state in TaskState if state not in TERMINAL_STATES)

ALREADY = {
    OperationKind.CANCEL: (TaskState.CANCELLED,),
    OperationKind.PAUSE: (TaskState.PAUSED,),
    OperationKind.RESUME: tuple(state for state in _UNFINISHED if state is not TaskState.PAUSED),
    OperationKind.RETRY: _UNFINISHED,
    OperationKind.DELETE: (),
}
"""The states in which nothing is left to do, so that asking twice is as good as once."""


def change(state: State, event: ChangeAsked, now_ms: int) -> Decision:
    """What is asked for is done to each of the tasks, or it says why not."""
    here = state.table.find(event.tenant, event.ids)
    past = state.table.past.find(event.tenant, [id for id in event.ids if id not in here])
    wanted = Change(event.kind, now_ms, event.resume_ms)
    nos: list[TaskNo] = []
    forgotten: list[TaskNo] = []
    running: list[Task] = []
    items: list[ItemAnswer] = []
    for id in event.ids:
        task = here.get(id)
        if task is None:
            items.append(_not_here(id, past.get(id), event.kind))
            if items[-1].status is ItemStatus.DELETED:
                forgotten.append(past.pop(id).no)
            continue
        if event.kind is OperationKind.CANCEL and task.state is TaskState.RUNNING:
            running.append(task)
            items.append(ItemAnswer(id, ItemStatus.CANCELLING, task))
            continue
        refused = _refusal(state, task, event.kind)
        if refused is not None:
            items.append(ItemAnswer(id, ItemStatus.REFUSED, task, *refused))
            continue
        if task.state in SOURCES[event.kind]:
            nos.append(task.no)
            task = changed(task, wanted)
            if task is None:
                del here[id]
            else:
                here[id] = task
        items.append(ItemAnswer(id, DONE[event.kind], task))
    records = _records(wanted, nos, forgotten)
    orders = orders_to_cancel(state, running, now_ms)
    if orders is not None:
        records.append(orders)
    return Decision(tuple(records), ItemsAnswer(tuple(items)))


def _records(wanted: Change, nos: list[TaskNo], forgotten: list[TaskNo]) -> list[Record]:
    records: list[Record] = []
    if nos and wanted.kind is OperationKind.CANCEL:
        records.append(TasksCancelled(wanted.at_ms, tuple(nos)))
    elif nos:
        records.append(TasksChanged(wanted.at_ms, wanted.kind, tuple(nos), wanted.resume_ms))
    if forgotten:
        records.append(HistoryForgotten(wanted.at_ms, tuple(forgotten)))
    return records


def _not_here(id: TaskId, past: Past | None, kind: OperationKind) -> ItemAnswer:
    """What is said of a task that is in history, or nowhere."""
    if past is None:
        message = f"there is no task {id!r}"
        return ItemAnswer(id, ItemStatus.REFUSED, refusal=Refusal.NOT_FOUND, message=message)
    if kind is OperationKind.DELETE:
        return ItemAnswer(id, ItemStatus.DELETED)
    if past.state in ALREADY[kind]:
        return ItemAnswer(id, DONE[kind], past=past)
    if past.state in SOURCES[kind]:
        message = f"task {id!r} is in history, and not run again from there; submit it anew, under another id"
        return ItemAnswer(id, ItemStatus.REFUSED, None, Refusal.IN_HISTORY, message, past=past)
    return ItemAnswer(id, ItemStatus.REFUSED, None, Refusal.ENDED, f"task {id!r} has ended: {past.state}", past=past)


def _refusal(state: State, task: Task, kind: OperationKind) -> tuple[Refusal, str] | None:
    if task.state not in SOURCES[kind] and task.state not in ALREADY[kind]:
        if task.state is TaskState.RUNNING:
            return Refusal.RUNNING, f"task {task.id!r} is running; only tasks that do not run can be {DONE[kind]}"
        return Refusal.ENDED, f"task {task.id!r} has ended: {task.state}"
    return still_ahead(state, task, kind)


def still_ahead(state: State, task: Task, kind: OperationKind) -> tuple[Refusal, str] | None:
    """Why that has to wait: an operation is still to come to the task, and would undo it or be escaped by it. None: it need not."""
    ahead = ahead_of(state, task, kind)
    if ahead is not None:
        message = f"operation {ahead.id} ({ahead.kind}) is still to come to task {task.id!r}; ask again when it is done"
        return Refusal.OPERATION_AHEAD, message
    return None
