"""What runs when a task has ended: its `on_success` or `on_failure`, as a task of its own.

It is accepted in the segment in which the task ends, by the same decision: so there is one for each run that ends, whatever
crashes, and no place in which it could wait or get lost. Nothing follows such a task in its turn, so none goes on for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from taskservice.core.admit import Admission, find
from taskservice.core.outcome import task_json
from taskservice.core.records import Record, TasksAccepted, TasksExpired, TasksFailed, TasksSucceeded
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
    ended = [task for record in records for task in _ended(state, record) if function_after(task)]
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


def _ended(state: State, record: Record) -> list[Task]:
    """The tasks that something follows, as they are when the record is true."""
    match record:
        case TasksSucceeded(token=token, rows=rows):
            open_, done = state.leases[token].open, {row[0]: row for row in rows}
            return [
                replace(
                    task,
                    state=TaskState.SUCCEEDED,
                    ended_ms=record.at_ms,
                    result=done[task.no][1],
                    started_ms=done[task.no][2],
                    duration_us=done[task.no][3],
                )
                for task in _loaded(state, [no for no in done if open_[no].hooked])
            ]
        case TasksFailed(token=token, rows=dead):
            open_, died = state.leases[token].open, {row.no: row for row in dead}
            return [
                replace(
                    task,
                    state=TaskState.FAILED,
                    ended_ms=record.at_ms,
                    error=died[task.no].error,
                    duration_us=died[task.no].duration_us,
                )
                for task in _loaded(state, [no for no in died if open_[no].hooked])
            ]
        case TasksExpired(nos=nos):
            return [
                replace(task, state=TaskState.EXPIRED, ended_ms=record.at_ms)
                for task in _loaded(state, state.table.hooked(nos))
            ]
        case _:
            return []


def _loaded(state: State, nos: list[TaskNo]) -> list[Task]:
    return state.table.load(nos) if nos else []
