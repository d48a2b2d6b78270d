"""What people do to tasks that exist, one by one or all that pass a filter: what becomes of a task by that.

One place says it, for whoever answers before it is true, and for the table in memory; SQLite's table must equal that one.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from taskservice.core.operations import OperationKind
from taskservice.core.types import Task, TaskState


class Change(NamedTuple):
    """What is done to tasks, and when."""

    kind: OperationKind
    at_ms: int
    resume_ms: int | None = None
    """When tasks that are paused are resumed by themselves; None: not by themselves."""


def changed(task: Task, change: Change) -> Task | None:
    """The task after the change, which its state allows (`operations.SOURCES`); None: it is gone."""
    match change.kind:
        case OperationKind.CANCEL:
            return replace(task, state=TaskState.CANCELLED, ended_ms=change.at_ms, resume_ms=None)
        case OperationKind.PAUSE:
            return replace(task, state=TaskState.PAUSED, resume_ms=change.resume_ms)
        case OperationKind.RESUME:
            return replace(task, state=_resumed(task, change.at_ms), resume_ms=None)
        case OperationKind.RETRY:
            return _rerun(task, change.at_ms)
        case OperationKind.DELETE:
            return None


def is_over(expires_ms: int | None, now_ms: int) -> bool:
    """Whether it is too late to start a task that expires then."""
    return expires_ms is not None and expires_ms <= now_ms


def expired(task: Task, at_ms: int) -> Task:
    """The task when its time is over before it has started."""
    return replace(task, state=TaskState.EXPIRED, ended_ms=at_ms, resume_ms=None)


def _resumed(task: Task, at_ms: int) -> TaskState:
    """Where a paused task waited, or would be by now. What is retrying has an error, what is scheduled has none."""
    if task.due_ms <= at_ms:
        return TaskState.QUEUED
    return TaskState.SCHEDULED if task.error is None else TaskState.RETRYING


def _rerun(task: Task, at_ms: int) -> Task:
    """The next run of the task: as if it had been accepted now, and it expires no more. The result of the last one is gone."""
    return replace(
        task,
        state=TaskState.QUEUED,
        run=task.run + 1,
        due_ms=at_ms,
        attempt=0,
        crashes=0,
        losses=0,
        preempted=0,
        throttles=0,
        started_ms=None,
        ended_ms=None,
        duration_us=None,
        result=None,
        error=None,
        expires_ms=None,
    )
