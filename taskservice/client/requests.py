"""What can be asked of the service, as requests: paths, parameters and bodies. Answers are read in `answers`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict
from urllib.parse import quote

from taskservice.client.steps import NDJSON_TYPE, Request
from taskservice.errors import RequestError
from taskservice.ids import uuid7

Duration = float | str | timedelta
"""Seconds, a text such as `90s`, `5m`, `1h`, or a timedelta."""

Instant = datetime | float | str
"""A point in time, seconds since the Unix epoch, or ISO 8601 with a zone."""


Deadline = datetime | Duration
"""A point in time (a datetime, or ISO 8601 with a zone), or a duration from acceptance on."""

Change = Literal["cancel", "pause", "resume", "retry", "delete"]
"""What can be done to tasks that exist."""


OnConflict = Literal["return", "reject", "rerun"]
"""What a submitted id that is known means: that task; ConflictError; or, if it has ended, its next run."""


class TaskOptions(TypedDict, total=False):
    """What can be said of a task besides its function and payload. None is as if not said."""

    id: str | None
    """Its name, within the tenant: the same id again is the same task. One is made if none is given."""
    priority: str | None
    """`critical`, `high`, `normal`, `low` or `batch`; the function's own if not given."""
    delay: Duration | None
    run_at: Instant | None
    max_attempts: int | None
    """Fewer than the function's own."""
    timeout: Duration | None
    """Of each attempt; shorter than the function's own."""
    ttl: Duration | None
    """The task expires if it has not started by then."""
    deadline: Deadline | None
    """When it is to have ended; later it runs all the same."""
    off_peak: bool | None
    """It can wait for off-peak hours or an idle pool, while its deadline leaves time; the function's own if not given."""
    tags: Mapping[str, str] | None
    key: str | None
    """What its function's `key_max_running` counts by; the value of the parameter that the function names if not given."""
    callback_url: str | None
    """Is told by a signed request when the task has ended."""
    on_success: str | None
    """A function that gets a task `{"task": {...}}` when this one has succeeded."""
    on_failure: str | None
    """A function that gets a task `{"task": {...}}` when this one has failed or expired."""


class ListFilters(TypedDict, total=False):
    """Which tasks a listing has. What is not given, or None, does not matter."""

    state: str | Iterable[str] | None
    function: str | None
    priority: str | None
    tag: str | None
    """`NAME=VALUE`."""
    created_after: Instant | None
    created_before: Instant | None
    tenant: str | None
    """For admins: another tenant than the key's own, or `*`."""


@dataclass(frozen=True, slots=True)
class Line:
    """A task on its way: its JSON, and whether its id was made here, so that nobody else can have used it."""

    id: str
    text: bytes
    id_is_new: bool


def task_line(function: str, payload: object, options: TaskOptions) -> Line:
    """The task as JSON, with an id. Raises RequestError if it cannot be written as JSON."""
    unknown = sorted(set(options) - set(TaskOptions.__annotations__))
    if unknown:
        known = ", ".join(TaskOptions.__annotations__)
        raise TypeError(f"a task has no {', '.join(unknown)}: it has a function, a payload, and {known}")
    said = {name: in_json(value) for name, value in options.items() if value is not None}
    given_id = options.get("id")
    task_id = given_id if given_id is not None else uuid7()
    text = to_json({**said, "id": task_id, "function": function, "payload": payload_of(payload)})
    return Line(task_id, text, id_is_new=given_id is None)


def task_line_of(item: Mapping[str, Any], function: str | None, options: TaskOptions) -> Line:
    """A task of a batch: a payload if the function is given, else a mapping with function, payload and options."""
    if function is not None:
        return task_line(function, item, options)
    own = dict(item)
    name = own.pop("function", None)
    if not isinstance(name, str):
        raise RequestError('Say which function: function=..., or a "function" in each task.', code="bad_task")
    payload = own.pop("payload", {})
    merged: TaskOptions = {**options, **own}  # type: ignore[typeddict-item]  # task_line refuses other names
    return task_line(name, payload, merged)


def payload_of(value: object) -> dict[str, Any]:
    """The value as a payload. Raises RequestError if it is none."""
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise RequestError(f"A payload maps the handler's parameters to values; this is a {kind}.", code="bad_task")
    return dict(value)


def to_json(value: object) -> bytes:
    """The value as JSON. Raises RequestError, which says what is not JSON in it."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"This cannot be written as JSON: {error}", code="not_json") from error


def in_json(value: object) -> object:
    """Times as the API takes them. A datetime without a zone is local time, as everywhere in Python."""
    if isinstance(value, datetime):
        return value.astimezone().isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def task_path(task_id: str, rest: str = "") -> str:
    """Of a task, or of something that belongs to it."""
    return f"/v1/tasks/{quote(task_id, safe='')}{rest}"


def _wait(wait_s: float) -> tuple[tuple[str, str], ...]:
    return (("wait", f"{wait_s:.3f}"),) if wait_s > 0 else ()


def submit(line: Line, on_conflict: OnConflict | None = None) -> Request:
    params = () if on_conflict is None else (("on_conflict", on_conflict),)
    return Request("POST", "/v1/tasks", params, body=line.text)


def submit_batch(lines: Iterable[Line]) -> Request:
    return Request("POST", "/v1/tasks/batch", body=b"\n".join(line.text for line in lines), body_type=NDJSON_TYPE)


def get_task(task_id: str, wait_s: float = 0.0, tenant: str | None = None) -> Request:
    whose = () if tenant is None else (("tenant", tenant),)
    return Request("GET", task_path(task_id), (*_wait(wait_s), *whose), wait_s=wait_s)


def get_result(task_id: str, wait_s: float = 0.0) -> Request:
    return Request("GET", task_path(task_id, "/result"), _wait(wait_s), wait_s=wait_s)


def list_tasks(filters: ListFilters, cursor: str | None, limit: int, *, values: bool = False) -> Request:
    """A page of at most `limit` tasks; with their payloads and results, if `values`."""
    params = [("limit", str(limit)), *([("values", "true")] if values else [])]
    for name, value in _said(filters).items():
        params += [(name, str(each)) for each in (value if isinstance(value, list) else [value])]
    if cursor is not None:
        params.append(("cursor", cursor))
    return Request("GET", "/v1/tasks", tuple(params))


def _said(filters: ListFilters) -> dict[str, object]:
    """The filters that say something, as the API takes them."""
    unknown = sorted(set(filters) - set(ListFilters.__annotations__))
    if unknown:
        raise TypeError(f"there is no filter {', '.join(unknown)}: there are {', '.join(ListFilters.__annotations__)}")
    said = {name: in_json(value) for name, value in filters.items() if value is not None}
    states = filters.get("state")
    if states is not None:
        said["state"] = [states] if isinstance(states, str) else list(states)
    return said


def change(what: Change, task_id: str) -> Request:
    return Request("POST", task_path(task_id, f"/{what}"))


def change_many(what: Change, task_ids: Iterable[str], until: Instant | None = None) -> Request:
    return Request("POST", f"/v1/tasks/{what}", body=to_json({"ids": list(task_ids), **_until(until)}))


def change_all(what: Change, filters: ListFilters, *, dry_run: bool, until: Instant | None = None) -> Request:
    said = {**_said(filters), **_until(until), **({"dry_run": True} if dry_run else {})}
    return Request("POST", f"/v1/tasks/{what}", body=to_json(said))


def _until(until: Instant | None) -> dict[str, object]:
    return {} if until is None else {"until": in_json(until)}


def get_operation(operation_id: str) -> Request:
    return Request("GET", f"/v1/operations/{quote(operation_id, safe='')}")


def get(path: str) -> Request:
    """One of the pages without parameters: functions, cluster, tenants, keys."""
    return Request("GET", f"/v1/{path}")


def create_key(scopes: Iterable[str], tenant: str | None, name: str) -> Request:
    body = {"scopes": list(scopes), "name": name, **({} if tenant is None else {"tenant": tenant})}
    return Request("POST", "/v1/keys", body=to_json(body), repeatable=False)


def revoke_key(key_id: str) -> Request:
    return Request("DELETE", f"/v1/keys/{quote(key_id, safe='')}")
