"""What runs when a task has ended: its `on_success` or `on_failure`, as a task of its own.

It is accepted in the segment in which the task ends, by the same decision: so there is one for each run that ends, whatever
crashes, and no place in which it could wait or get lost. Nothing follows such a task in its turn, so none goes on for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec.structs import replace

from taskservice.core.admit import Admission, find
from taskservice.core.changes import expired
from taskservice.core.outcome import task_json
from taskservice.core.records import DeadRow, Record, TasksAccepted, TasksExpired, TasksFailed, TasksSucceeded
from taskservice.core.state import State
from taskservice.core.types import FunctionName, NewTask, Task, TaskId, TaskNo, TaskState, TenantId

TAG = "follows"
"""The tag of such a task that names the one that it follows."""

RESULT_BYTES_MAX = 1 << 20
"""A larger result is not in its payload; one that is an object of its own never is."""

_ID_CHARS = 150
"""Of the id of the task that it follows; what comes after it has about twenty, and is no other task's."""


def follow_up_id(task: Task) -> TaskId:
    """The id of what follows this run of the task: `<id>~<number>.<run>`, whose number no other task of the shard ever has."""
    return TaskId(f"{task.id[:_ID_CHARS]}~{task.no}.{task.run}")


def function_after(task: Task) -> str:
    """The function that follows the task, which has ended; empty if none does."""
    if task.hooks is None:
        return ""
    if task.state is TaskState.SUCCEEDED:
        return task.hooks.on_success
    return task.hooks.on_failure if task.state in (TaskState.FAILED, TaskState.EXPIRED) else ""


def follow_ups(state: State, records: Sequence[Record], now_ms: int) -> TasksAccepted | None:
    """The tasks that follow those that end by these records, none of which is applied yet; None if nothing follows.

    They come in place of tasks that end: so there is room for them, whatever `queued_max` says.
    """
    ended: list[Task] = []
    for record in records:
        how = _ENDED.get(type(record))
        if how is not None:
            ended += [task for task in how(state, record) if function_after(task)]
    if not ended:
        return None
    by_tenant: dict[TenantId, list[Task]] = {}
    for task in ended:
        by_tenant.setdefault(task.tenant, []).append(task)
    accepted = [task for record in records if isinstance(record, TasksAccepted) for task in record.tasks]
    before = len(accepted)
    for id, tasks in by_tenant.items():
        tenant = state.tenants[id]
        known = find(state, tenant, [follow_up_id(task) for task in tasks])
        admission = Admission(state, tenant, known, accepted, now_ms, bounded=False)
        for task in tasks:
            admission.take(_new(task))
    return TasksAccepted(now_ms, tuple(accepted[before:])) if accepted[before:] else None


def _new(task: Task) -> NewTask:
    payload = b'{"task":' + task_json(task, RESULT_BYTES_MAX) + b"}"
    return NewTask(follow_up_id(task), FunctionName(function_after(task)), payload, tags=((TAG, task.id),))


def _succeeding(state: State, record: TasksSucceeded) -> list[Task]:
    lease = state.leases[record.token]
    done = {row[0]: row for row in record.rows if lease.open[row[0]].hooked} if lease.hooked else {}
    return [_succeeded(task, record.at_ms, done[task.no]) for task in _loaded(state, done)]


def _failing(state: State, record: TasksFailed) -> list[Task]:
    lease = state.leases[record.token]
    died = {row.no: row for row in record.rows if lease.open[row.no].hooked} if lease.hooked else {}
    return [_failed(task, record.at_ms, died[task.no]) for task in _loaded(state, died)]


def _expiring(state: State, record: TasksExpired) -> list[Task]:
    return [expired(task, record.at_ms) for task in _loaded(state, state.table.hooked(record.nos))]


_ENDED: dict[type, Callable[[State, Any], list[Task]]] = {
    TasksSucceeded: _succeeding,
    TasksFailed: _failing,
    TasksExpired: _expiring,
}
"""The tasks that something follows, as they are when such a record is true."""


def _loaded(state: State, nos: Collection[TaskNo]) -> list[Task]:
    return state.table.load(list(nos)) if nos else []


def _succeeded(task: Task, at_ms: int, row: tuple[TaskNo, bytes, int, int]) -> Task:
    _, result, started_ms, duration_us = row
    return replace(
        task,
        state=TaskState.SUCCEEDED,
        ended_ms=at_ms,
        result=result,
        started_ms=started_ms,
        duration_us=duration_us,
    )


def _failed(task: Task, at_ms: int, row: DeadRow) -> Task:
    return replace(task, state=TaskState.FAILED, ended_ms=at_ms, error=row.error, duration_us=row.duration_us)
