"""What the clock does to tasks: they fall due, they are resumed, they leave the off-peak lanes, their time is over."""

from __future__ import annotations

from collections.abc import Iterable

from taskservice.core.bulk import wanted_by
from taskservice.core.changes import is_over
from taskservice.core.operations import OperationKind
from taskservice.core.press import Pressing
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.records import (
    OperationCaught,
    Record,
    TasksChanged,
    TasksDue,
    TasksExpired,
)
from taskservice.core.state import State
from taskservice.core.types import Task, TaskNo


def ticked(state: State, now_ms: int) -> tuple[Record, ...]:
    """All whose time has come, `due_batch_max` of each kind. Those that an operation is still to come to, and means, have from
    it what they would have had: so none of them slips into a state in which it would not be meant."""
    table, most = state.table, state.limits.due_batch_max
    due = table.due_by(now_ms, most)
    late = [task.no for task in due if is_over(task.expires_ms, now_ms)]
    expired = dict.fromkeys([*table.expired_by(now_ms, most), *late])
    resumed = [no for no in table.resumed_by(now_ms, most) if no not in expired]
    ready = [task for task in due if task.no not in expired]
    caught: dict[tuple[str, OperationKind], list[TaskNo]] = {}
    records: list[Record] = []
    if over := _let_go(state, _loaded(state, expired), caught):
        records.append(TasksExpired(now_ms, over))
    if again := _let_go(state, _loaded(state, resumed), caught):
        records.append(TasksChanged(now_ms, OperationKind.RESUME, again))
    if nos := _let_go(state, [(task.no, task) for task in ready], caught):
        records.append(TasksDue(now_ms, nos))
    pressed, later = Pressing(state).judged(
        [press for press in table.pressed_by(now_ms, most) if press.no not in expired], now_ms
    )
    if nos := _let_go(state, _loaded(state, pressed), caught):
        records.append(TasksPressed(now_ms, nos))
    if later:
        records.append(PressesPutOff(now_ms, tuple(later)))
    ended = [OperationCaught(now_ms, id, tuple(nos), kind) for (id, kind), nos in caught.items()]
    return (*ended, *records)


def _loaded(state: State, nos: Iterable[TaskNo]) -> list[tuple[TaskNo, Task | None]]:
    """The tasks, if it matters what they are."""
    nos = list(nos)
    tasks = state.table.load(nos) if state.operations.under_way else [None] * len(nos)
    return list(zip(nos, tasks, strict=True))


def _let_go(
    state: State, tasks: Iterable[tuple[TaskNo, Task | None]], caught: dict[tuple[str, OperationKind], list[TaskNo]]
) -> tuple[TaskNo, ...]:
    """Those that no operation means; the others are added to what each of them has caught."""
    free: list[TaskNo] = []
    for no, task in tasks:
        operation = None if task is None else wanted_by(state, task)
        if operation is None:
            free.append(no)
        else:
            caught.setdefault((operation.id, operation.kind), []).append(no)
    return tuple(free)
