"""How an answer is read: values from the 2xx, errors from problem documents (RFC 9457) and from silence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskservice.client.requests import Line
from taskservice.client.steps import Reply, Silence
from taskservice.errors import (
    AuthError,
    BackOffError,
    ConflictError,
    NotFoundError,
    RequestError,
    ServiceBug,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskServiceError,
    UnreachableError,
)

CLASS_OF_STATUS: Mapping[int, type[TaskServiceError]] = {
    401: AuthError,
    403: AuthError,
    404: NotFoundError,
    409: ConflictError,
    429: BackOffError,
    502: BackOffError,
    503: BackOffError,
    504: BackOffError,
}
"""Other statuses: RequestError below 500, ServiceBug from there on."""

NOT_ENDED = "not_ended"
_TEXT_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one item of a batch. `status`: `accepted`, `duplicate`, `refused`; or, by what was asked for, `cancelled`,
    `cancelling` (it runs, and is asked to stop), `paused`, `resumed`, `retried`, `deleted`."""

    id: str | None
    status: str
    error: TaskServiceError | None = None
    """Why it was refused."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of each item of a batch, in the order given."""

    results: tuple[ItemResult, ...]

    def _count(self, status: str) -> int:
        return sum(item.status == status for item in self.results)

    @property
    def accepted(self) -> int:
        return self._count("accepted")

    @property
    def duplicates(self) -> int:
        return self._count("duplicate")

    @property
    def cancelled(self) -> int:
        return self._count("cancelled")

    @property
    def cancelling(self) -> int:
        """Those that run, and are cancelled when they have stopped."""
        return self._count("cancelling")

    @property
    def paused(self) -> int:
        return self._count("paused")

    @property
    def resumed(self) -> int:
        return self._count("resumed")

    @property
    def retried(self) -> int:
        return self._count("retried")

    @property
    def deleted(self) -> int:
        return self._count("deleted")

    @property
    def refused(self) -> int:
        return self._count("refused")

    def raise_for_refused(self) -> None:
        """Raises the error of the first item that was refused, if one was."""
        for item in self.results:
            if item.error is not None:
                raise item.error


def read_json(reply: Reply) -> Any:
    """The value in a 2xx answer."""
    try:
        return json.loads(reply.body)
    except ValueError as error:
        text = reply.body[:_TEXT_CHARS_MAX].decode(errors="replace")
        raise ServiceBug("The answer is not JSON. Is this URL the task service's?", detail=text) from error


def read_items(reply: Reply) -> tuple[ItemResult, ...]:
    """The result of each item of a batch."""
    return tuple(_item(item) for item in read_json(reply)["results"])


def _item(item: Mapping[str, Any]) -> ItemResult:
    document = item.get("error")
    return ItemResult(item["id"], item["status"], None if document is None else problem_error(document))


def read_submitted(line: Line, item: ItemResult) -> ItemResult:
    """As it was meant: with an id that was made here, a duplicate can only be our own earlier attempt to submit it."""
    if item.status == "duplicate" and line.id_is_new:
        return ItemResult(line.id, "accepted")
    return item


def error_of(heard: Reply | Silence, url: str = "") -> TaskServiceError:
    """The error that an answer outside 2xx, or no answer, is."""
    if isinstance(heard, Silence):
        return UnreachableError(heard.message, retry_after_s=0.0)
    document = _document(heard)
    if document is None:
        text = heard.body[:_TEXT_CHARS_MAX].decode(errors="replace")
        document = {"detail": f"{url} answers with HTTP {heard.status}".strip(), "status": heard.status, "trace": text}
    retry_after = heard.headers.get("retry-after", "")
    if retry_after.isdigit():  # it may also be a date, which our gateway never sends
        document = {**document, "retry_after_s": float(retry_after)}
    return problem_error({**document, "status": heard.status})


def _document(reply: Reply) -> Mapping[str, Any] | None:
    """The problem document, if the answer is one: what stands between us and the service may answer as well."""
    if "json" not in reply.headers.get("content-type", ""):
        return None
    try:
        value = json.loads(reply.body)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "detail" in value else None


def problem_error(document: Mapping[str, Any]) -> TaskServiceError:
    """The error that a problem document describes. What an error has no field for is in its `detail`, as lines."""
    status = int(document.get("status", 500))
    message = str(document.get("detail") or document.get("title") or f"HTTP {status}")
    code = str(document.get("code", ""))
    if isinstance(document.get("trace"), str):
        detail = document["trace"]
    else:
        detail = "\n".join(f"{error['path']}: {error['message']}" for error in document.get("errors", ()))
    kind = CLASS_OF_STATUS.get(status, RequestError if status < 500 else ServiceBug)
    if issubclass(kind, BackOffError):
        retry_after_s = float(document.get("retry_after_s") or 0.0)
        return kind(message, retry_after_s=retry_after_s, code=code, detail=detail, status=status)
    return kind(message, code=code, detail=detail, status=status)


def no_result(task_id: str, reply: Reply) -> TaskServiceError:
    """Why there is no result: TaskFailed, TaskCancelled, TaskExpired, or any other error."""
    document = _document(reply) or {}
    message = str(document.get("detail", ""))
    if document.get("code") == "task_failed":
        reason = str(document.get("reason") or "unknown")
        return TaskFailed(message, task_id=task_id, reason=reason, detail=str(document.get("trace") or ""))
    if document.get("code") == "task_cancelled":
        return TaskCancelled(message, task_id=task_id, reason="cancelled")
    if document.get("code") == "task_expired":
        return TaskExpired(message, task_id=task_id, reason="expired")
    return error_of(reply)
