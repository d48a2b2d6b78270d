"""How the gateway says no: RFC 9457 problem documents, one kind for each reason.

`type`, `title`, `status` and `code` belong to the kind; `detail` and the members after it to the case. An item of a
batch that is refused alone carries the same document.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from starlette.responses import Response

from taskservice.core.effects import ItemAnswer, Refusal

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


class Kind(NamedTuple):
    """A reason to refuse. `limit` names the setting behind it, where there is always the same one."""

    code: str
    status: int
    title: str
    limit: str | None = None


MALFORMED_JSON = Kind("malformed_json", 400, "The body is not well-formed JSON")
MALFORMED_BODY = Kind("malformed_body", 400, "The body is not what its Content-Encoding says")
INVALID_KEY = Kind("invalid_key", 401, "A valid API key is needed")
MISSING_SCOPE = Kind("missing_scope", 403, "The API key does not allow this")
TENANT_FORBIDDEN = Kind("tenant_forbidden", 403, "Only an admin key may act for another tenant")
TASK_NOT_FOUND = Kind("task_not_found", 404, "No such task")
OPERATION_NOT_FOUND = Kind("operation_not_found", 404, "No such operation")
SCHEDULE_NOT_FOUND = Kind("schedule_not_found", 404, "No such schedule")
FUNCTION_NOT_FOUND = Kind("function_not_found", 404, "No such function")
DOWNSTREAM_NOT_FOUND = Kind("downstream_not_found", 404, "No such downstream")
CLASS_NOT_FOUND = Kind("class_not_found", 404, "No such priority class")
TENANT_NOT_FOUND = Kind("tenant_not_found", 404, "No such tenant")
KEY_NOT_FOUND = Kind("key_not_found", 404, "No such key")
APP_NOT_FOUND = Kind("app_not_found", 404, "No such app")
VERSION_NOT_FOUND = Kind("version_not_found", 404, "No such version")
NO_CANARY = Kind("no_canary", 409, "No canary is tried")
CANARY_UNLIKE = Kind("canary_unlike", 409, "The canary asks for other machines")
VERSIONS_MAX = Kind("versions_max", 409, "All versions are in use", "versions_max")
BAD_ARCHIVE = Kind("bad_archive", 422, "The archive cannot be taken")
APP_NOT_LOADED = Kind("app_not_loaded", 422, "The app cannot be loaded")
NOT_ENDED = Kind("not_ended", 409, "The task has not ended")
TASK_FAILED = Kind("task_failed", 409, "The task failed")
TASK_CANCELLED = Kind("task_cancelled", 409, "The task was cancelled")
TASK_EXPIRED = Kind("task_expired", 409, "The task has expired")
TENANT_EXISTS = Kind("tenant_exists", 409, "The tenant exists already")
NO_CALLBACK = Kind("no_callback", 409, "The task has no callback that could be sent again")
TENANTS_NOT_APART = Kind(
    "tenants_not_apart",
    409,
    "Tenants cannot be kept apart here, and no setting says that they need not be",
    "tenant_users",
)
KEY_IN_USE = Kind("key_in_use", 409, "A key cannot revoke itself")
VALUE_LOST = Kind("value_lost", 410, "The value is gone or damaged")
TOO_LARGE = Kind("too_large", 413, "The request is above a limit")
UNSUPPORTED_MEDIA_TYPE = Kind("unsupported_media_type", 415, "The body is of a type that is not understood")
INVALID_REQUEST = Kind("invalid_request", 422, "The request is not valid")
INVALID_CURSOR = Kind("invalid_cursor", 422, "The cursor is not one of ours")
DUPLICATE_JSON_KEY = Kind("duplicate_json_key", 422, "A JSON object has the same key twice")
PAYLOAD_INVALID = Kind("payload_invalid", 422, "The payload is not valid for the function")
UNKNOWN_FUNCTION = Kind("unknown_function", 422, "No such function")
UNKNOWN_TENANT = Kind("unknown_tenant", 422, "No such tenant")
QUEUED_MAX = Kind("queued_max", 429, "The tenant's queue is full", "queued_max")
INTERNAL_ERROR = Kind("internal_error", 500, "The service made a mistake")
NOT_READY = Kind("not_ready", 503, "The service is not ready")
LOG_FOLLOWERS_MAX = Kind("log_followers_max", 503, "Too many logs are being followed", "log_followers_max")
VALUES_AWAY = Kind("values_away", 503, "The store of large payloads and results does not answer")

REFUSALS: Final[Mapping[Refusal, Kind]] = {
    Refusal.UNKNOWN_FUNCTION: UNKNOWN_FUNCTION,
    Refusal.UNKNOWN_TENANT: UNKNOWN_TENANT,
    Refusal.CONFLICT: Kind("conflict", 409, "The id belongs to a task with another payload or function"),
    Refusal.DUPLICATE: Kind("duplicate", 409, "The id is known already"),
    Refusal.QUEUED_MAX: QUEUED_MAX,
    Refusal.SUBMIT_RATE: Kind("submit_rate", 429, "Tasks come faster than they may", "submit_rate"),
    Refusal.ATTEMPTS_ABOVE_LIMIT: Kind(
        "attempts_above_limit", 422, "More attempts than the function allows", "max_attempts"
    ),
    Refusal.TIMEOUT_ABOVE_LIMIT: Kind(
        "timeout_above_limit", 422, "A longer time-out than the function allows", "timeout_ms"
    ),
    Refusal.NOT_FOUND: TASK_NOT_FOUND,
    Refusal.RUNNING: Kind("running", 409, "The task is running"),
    Refusal.ENDED: Kind("ended", 409, "The task has ended"),
    Refusal.IN_HISTORY: Kind("in_history", 409, "The task is in history"),
    Refusal.OPERATION_AHEAD: Kind("operation_ahead", 409, "A bulk operation is still to come to the task"),
    Refusal.EXPIRES_UNDUE: Kind("expires_undue", 422, "The task would expire before it is due", "ttl_ms"),
    Refusal.DEADLINE_UNDUE: Kind("deadline_undue", 422, "The task's deadline is before it is due"),
    Refusal.OPERATIONS_MAX: Kind("operations_max", 429, "Too many operations are under way", "operations_max"),
    Refusal.SCHEDULES_MAX: Kind("schedules_max", 409, "The tenant has as many schedules as it may", "schedules_max"),
    Refusal.SCHEDULE_EXISTS: Kind("schedule_exists", 409, "There is another schedule of this id"),
    Refusal.SCHEDULE_CHANGED: Kind("schedule_changed", 409, "The schedule was changed meanwhile"),
    Refusal.SCHEDULE_INVALID: Kind("schedule_invalid", 422, "The schedule's times do not fit together"),
    Refusal.CRON_INVALID: Kind("cron_invalid", 422, "The cron expression is not valid"),
    Refusal.ZONE_UNKNOWN: Kind("zone_unknown", 422, "No such time zone"),
    Refusal.PERIOD_TOO_SHORT: Kind(
        "period_too_short", 422, "The schedule's times are too close", "schedule_period_ms_min"
    ),
}
"""What each refusal of the core is over HTTP."""


class FieldError(Struct, frozen=True):
    """One thing wrong with a request: where (`$.payload.sizes[0]`, or a parameter's name) and what."""

    path: str
    message: str


class ProblemDocument(Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `code` is stable and for programs; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    limit: str | None = None
    """The setting that refused it."""
    value: float | None = None
    """That setting's value."""
    errors: tuple[FieldError, ...] = ()
    retry_after_s: float | None = None
    line: int | None = None
    """The line of an NDJSON body, from 1."""
    state: str | None = None
    """The state of the task that is in the way."""
    reason: str | None = None
    """Why the task failed."""
    trace: str | None = None
    """The end of the failed task's traceback."""


class Problem(Exception):
    """The request, or one item of it, is refused."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        limit: str | None = None,
        value: float | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        state: str | None = None,
        reason: str | None = None,
        trace: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.document = ProblemDocument(
            type=f"urn:taskservice:problem:{kind.code}",
            title=kind.title,
            status=kind.status,
            detail=detail,
            code=kind.code,
            limit=limit or kind.limit,
            value=value,
            errors=tuple(errors),
            retry_after_s=retry_after_s,
            state=state,
            reason=reason,
            trace=trace,
        )


def refusal_problem(item: ItemAnswer, retry_after_s: float) -> Problem:
    """The problem that a refused item is. `retry_after_s` is told to those who need only wait, unless it is known exactly."""
    kind = REFUSALS[item.refusal] if item.refusal is not None else INTERNAL_ERROR
    known = item.task or item.past
    if item.retry_after_ms is not None:
        retry_after_s = item.retry_after_ms / 1000
    return Problem(
        kind,
        item.message or f"{kind.title}.",
        value=item.limit,
        retry_after_s=retry_after_s if kind.status == HTTPStatus.TOO_MANY_REQUESTS else None,
        state=known.state.value if known is not None else None,
    )


def too_large(detail: str, limit: str, value: int) -> Problem:
    """A 413 that names the limit."""
    return Problem(TOO_LARGE, detail, limit=limit, value=value)


def invalid(path: str, message: str, *, limit: str | None = None, value: float | None = None) -> Problem:
    """A 422 about one field."""
    return Problem(INVALID_REQUEST, f"{path}: {message}", errors=[FieldError(path, message)], limit=limit, value=value)


def problem_response(document: ProblemDocument, headers: Mapping[str, str] | None = None) -> Response:
    """The document as an answer, with the headers that its status asks for."""
    extra = dict(headers or {})
    if document.retry_after_s is not None:
        extra["retry-after"] = str(max(1, math.ceil(document.retry_after_s)))
    if document.status == HTTPStatus.UNAUTHORIZED:
        extra["www-authenticate"] = "Bearer"
    if document.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        extra["connection"] = "close"  # the rest of the body is not read
    return Response(msgspec.json.encode(document), document.status, extra, PROBLEM_MEDIA_TYPE)
