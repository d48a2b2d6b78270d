"""What people ask to be done with tasks that exist."""

from __future__ import annotations

from msgspec.structs import replace

from taskservice.core.decision import Decision
from taskservice.core.effects import ItemAnswer, ItemsAnswer, ItemStatus, Refusal
from taskservice.core.events import CancelAsked
from taskservice.core.past import Past
from taskservice.core.records import TasksCancelled
from taskservice.core.state import State
from taskservice.core.types import TERMINAL_STATES, Task, TaskId, TaskNo, TaskState


def cancel(state: State, event: CancelAsked, now_ms: int) -> Decision:
    """Tasks that have not started are cancelled; the others say why not. Asking twice is as good as once."""
    known = state.table.find(event.tenant, event.ids)
    past = state.table.past.find(event.tenant, [id for id in event.ids if id not in known])
    nos: list[TaskNo] = []
    items: list[ItemAnswer] = []
    for id in event.ids:
        task = known.get(id)
        if task is None and id in past:
            items.append(_in_history(id, past[id]))
            continue
        refused = _refusal(id, task)
        if refused is not None:
            items.append(refused)
            continue
        assert task is not None
        if task.state is not TaskState.CANCELLED:
            nos.append(task.no)
            task = known[id] = replace(task, state=TaskState.CANCELLED, ended_ms=now_ms)
        items.append(ItemAnswer(id, ItemStatus.CANCELLED, task))
    records = (TasksCancelled(now_ms, tuple(nos)),) if nos else ()
    return Decision(records, ItemsAnswer(tuple(items)))


def _in_history(id: TaskId, past: Past) -> ItemAnswer:
    if past.state is TaskState.CANCELLED:
        return ItemAnswer(id, ItemStatus.CANCELLED, past=past)
    message = f"task {id!r} has ended: {past.state}"
    return ItemAnswer(id, ItemStatus.REFUSED, None, Refusal.ENDED, message, past=past)


def _refusal(id: TaskId, task: Task | None) -> ItemAnswer | None:
    if task is None:
        message = f"there is no task {id!r}"
        return ItemAnswer(id, ItemStatus.REFUSED, refusal=Refusal.NOT_FOUND, message=message)
    if task.state is TaskState.RUNNING:
        message = f"task {id!r} is running; only tasks that have not started can be cancelled"
        return ItemAnswer(id, ItemStatus.REFUSED, task, Refusal.RUNNING, message)
    if task.state in TERMINAL_STATES and task.state is not TaskState.CANCELLED:
        return ItemAnswer(id, ItemStatus.REFUSED, task, Refusal.ENDED, f"task {id!r} has ended: {task.state}")
    return None
