"""What whoever follows a task is told of its end: the same JSON for functions and for callbacks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from taskservice.core.types import Task, TaskState
from taskservice.core.values import ref_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ErrorSaid(Struct, frozen=True):
    """Why the last attempt ended badly."""

    reason: str
    message: str


class TaskSaid(Struct, frozen=True, kw_only=True):
    """A task that has ended, without its payload. Times are ISO 8601 in UTC."""

    id: str
    tenant: str
    function: str
    state: TaskState
    run: int
    attempt: int
    tags: dict[str, str]
    created_at: str
    started_at: str | None
    ended_at: str | None
    duration_ms: float | None
    result: Raw | UnsetType = UNSET
    """Of a run that succeeded, if it is small enough."""
    result_bytes: int | UnsetType = UNSET
    """How large the result is; only if it is left out."""
    error: ErrorSaid | UnsetType = UNSET
    """Of a run that failed."""


_encode = msgspec.json.Encoder(order="sorted").encode


def task_json(task: Task, result_bytes_max: int) -> bytes:
    """The task, which has ended, as JSON. A result of more bytes, or one that is an object of its own, is left out."""
    result: Raw | UnsetType = UNSET
    result_bytes: int | UnsetType = UNSET
    if task.state is TaskState.SUCCEEDED:
        text = task.result or b"null"
        ref = ref_of(text)
        size_bytes = len(text) if ref is None else ref.size_bytes
        if ref is None and size_bytes <= result_bytes_max:
            result = Raw(text)
        else:
            result_bytes = size_bytes
    failed = task.state is TaskState.FAILED and task.error is not None
    return _encode(
        TaskSaid(
            id=task.id,
            tenant=task.tenant,
            function=task.function,
            state=task.state,
            run=task.run,
            attempt=task.attempt,
            tags=dict(task.tags),
            created_at=iso(task.created_ms),
            started_at=None if task.started_ms is None else iso(task.started_ms),
            ended_at=None if task.ended_ms is None else iso(task.ended_ms),
            duration_ms=None if task.duration_us is None else task.duration_us / 1000,
            result=result,
            result_bytes=result_bytes,
            error=ErrorSaid(task.error.reason, task.error.message) if failed and task.error is not None else UNSET,
        )
    )


def iso(ms: int) -> str:
    """For example `2030-01-31T09:00:00.000Z`."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
