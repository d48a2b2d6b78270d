"""GET /v1/tasks, /v1/tasks/{id}, and its result."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from taskservice.core.types import FunctionName, ListFilter, Priority, Task, TaskId, TaskNo, TaskState, TenantId
from taskservice.core.values import ref_of
from taskservice.gateway.access import Caller, Gateway, Here, Reader
from taskservice.gateway.answers import NO_VALUES, TaskPage, TaskView, json_answer, task_view
from taskservice.gateway.body import JSON
from taskservice.gateway.history import here_or_past, page_of
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import (
    INVALID_CURSOR,
    NOT_ENDED,
    TASK_CANCELLED,
    TASK_EXPIRED,
    TASK_FAILED,
    TASK_NOT_FOUND,
    Problem,
    invalid,
)
from taskservice.gateway.times import parse_time_ms
from taskservice.gateway.values import inline_values, lost
from taskservice.gateway.waiting import while_connected
from taskservice.ids import is_task_id
from taskservice.values import ValueLost

routes = APIRouter(prefix="/v1", tags=["query"])

TEXT = "text/plain"
_RESULT_SCHEMA = {"description": "What the handler returned."}
ALL_TENANTS = "*"
TIME_FORMS = "ISO 8601 with a zone, or seconds since the epoch."

IdInPath = Annotated[str, Path(description="The task's id.")]


class TenantQuery(BaseModel):
    """Whose task is meant: only admins may say."""

    model_config = ConfigDict(extra="forbid")
    tenant: str | None = Field(None, description="For admins: another tenant than the key's own.")


class WaitQuery(TenantQuery):
    """How long to wait for the task to end."""

    wait: float = Field(0.0, ge=0, allow_inf_nan=False, description="Seconds to wait for the task to end, at most.")


class PageQuery(BaseModel):
    """Which page of a listing is wanted."""

    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")
    limit: int | None = Field(None, ge=1, description="Tasks on a page, at most.")
    values: bool = Field(False, description="With payloads and results, but for large ones.")


class Filters(TenantQuery):
    """Which tasks are meant."""

    tenant: str | None = Field(None, description="For admins: another tenant than the key's own, or * for all.")
    state: list[TaskState] = Field([], description="May be given several times.")
    function: str | None = None
    priority: Priority | None = None
    tag: str | None = Field(None, description="NAME=VALUE")
    created_after: str | None = Field(None, description=f"Created then or later. {TIME_FORMS}")
    created_before: str | None = Field(None, description=f"Created before then. {TIME_FORMS}")


class ListQuery(Filters, PageQuery):
    """Which tasks are wanted, and how many of them."""


@routes.get("/tasks/{id}", **documented({200: TaskView}, (404,)))
async def get_task(
    request: Request, gateway: Here, caller: Reader, id: IdInPath, query: Annotated[WaitQuery, Query()]
) -> Response:
    """The task; with `wait`, as soon as it has ended, or as it is when the wait is over."""
    task, cancelling = await _find(request, gateway, caller.acting_for(query.tenant), id, query.wait)
    values = await gateway.values.of(task)
    return json_answer(task_view(task, gateway.now_ms(), values, cancelling=cancelling))


@routes.get("/tasks/{id}/result", **documented({200: {JSON: _RESULT_SCHEMA}}, (404, 409, 410)))
async def get_result(
    request: Request, gateway: Here, caller: Reader, id: IdInPath, query: Annotated[WaitQuery, Query()]
) -> Response:
    """What the handler returned. 409 if there is no result: not yet, or because the task failed, was cancelled or has expired."""
    task, _ = await _find(request, gateway, caller.acting_for(query.tenant), id, query.wait)
    if task.state is not TaskState.SUCCEEDED:
        raise _no_result(task)
    try:
        return await _result(gateway, task.result or b"null")
    except ValueLost as why:
        raise lost(task, why) from None


@routes.get("/tasks", **documented({200: TaskPage}))
async def list_tasks(gateway: Here, caller: Reader, query: Annotated[ListQuery, Query()]) -> Response:
    """A page of tasks, newest first. With `values`, a task that lacks its payload or result has a large one: ask for the task."""
    return await page_answer(gateway, list_filter(caller, query), query)


async def page_answer(gateway: Gateway, wanted: ListFilter, query: PageQuery) -> Response:
    """The page that the query asks for. Raises Problem if it asks for too much, or by a cursor that is not ours."""
    limit_max = gateway.settings.list_limit_max
    limit = gateway.settings.list_limit_default if query.limit is None else query.limit
    if limit > limit_max:
        raise invalid("limit", f"at most {limit_max} tasks make a page", limit="list_limit_max", value=limit_max)
    before_no = None if query.cursor is None else _decode_cursor(query.cursor)
    page = await gateway.dispatcher.list_tasks(wanted, before_no, min(limit, limit_max))
    cursor = None if page.next_before_no is None else encode_cursor(page.next_before_no)
    tasks = await page_of(gateway.history, page, whole=query.values)
    now_ms = gateway.now_ms()
    cancelling = frozenset(page.cancelling)
    views = [
        task_view(task, now_ms, inline_values(task) if query.values else NO_VALUES, cancelling=task.no in cancelling)
        for task in tasks
    ]
    return json_answer(TaskPage(views, cursor))


async def _find(request: Request, gateway: Gateway, tenant: TenantId, task_id: str, wait_s: float) -> tuple[Task, bool]:
    """The tenant's task, after it has ended or the wait is over, and whether it is being cancelled. Raises a 404 Problem."""
    task: Task | None = None
    cancelling = False
    if is_task_id(task_id):
        waiting_s = min(wait_s, gateway.settings.wait_s_max)
        getting = gateway.dispatcher.get(tenant, TaskId(task_id), waiting_s)
        answer = await (while_connected(request, getting) if waiting_s > 0 else getting)
        task, cancelling = await here_or_past(gateway.history, answer.task, answer.past), answer.cancelling
    if task is None:
        raise task_not_found(task_id)
    return task, cancelling


async def _result(gateway: Gateway, result: bytes) -> Response:
    """The result; part by part if it is large. If a later part cannot be had, the connection is closed before the end."""
    ref = ref_of(result)
    if ref is None or ref.size_bytes < gateway.settings.result_streamed_bytes_min:
        return Response(await gateway.values.text(result), media_type=JSON)
    parts = gateway.values.parts(ref)
    first = await anext(parts)

    async def all_parts() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            yield part

    return StreamingResponse(all_parts(), media_type=JSON, headers={"content-length": str(ref.size_bytes)})


def task_not_found(task_id: str) -> Problem:
    """A 404, the same whether there is no such task or it is another tenant's."""
    return Problem(TASK_NOT_FOUND, f"There is no task {task_id[:200]!r}.")


def _no_result(task: Task) -> Problem:
    state = task.state.value
    if task.state is TaskState.CANCELLED:
        return Problem(TASK_CANCELLED, f"Task {task.id} was cancelled.", state=state)
    if task.state is TaskState.EXPIRED:
        return Problem(TASK_EXPIRED, f"Task {task.id} has expired: it had not started in time.", state=state)
    if task.state is not TaskState.FAILED:
        return Problem(NOT_ENDED, f"Task {task.id} is {state}; ask again, or with ?wait=30.", state=state)
    if task.error is None:
        return Problem(TASK_FAILED, f"Task {task.id} failed.", state=state)
    detail = f"Task {task.id} failed: {task.error.message}"
    return Problem(TASK_FAILED, detail, state=state, reason=task.error.reason, trace=task.error.detail or None)


def list_filter(caller: Caller, query: Filters) -> ListFilter:
    """What the caller means, and may see. Raises Problem."""
    tenant = caller.acting_for(query.tenant)
    return ListFilter(
        tenant=None if tenant == ALL_TENANTS else tenant,
        states=tuple(query.state),
        function=None if query.function is None else FunctionName(query.function),
        priority=query.priority,
        tag=None if query.tag is None else _tag(query.tag),
        created_after_ms=time_ms("created_after", query.created_after),
        created_before_ms=time_ms("created_before", query.created_before),
    )


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise invalid("tag", "write NAME=VALUE")
    return key, value


def time_ms(name: str, text: str | None) -> int | None:
    """The time that a parameter says. Raises a 422 Problem."""
    try:
        return None if text is None else parse_time_ms(text)
    except ValueError as error:
        raise invalid(name, str(error)) from None


def encode_cursor(before_no: TaskNo) -> str:
    """What a caller sends back to get the next page; means nothing to them."""
    return base64.urlsafe_b64encode(b"before:%d" % before_no).rstrip(b"=").decode()


def _decode_cursor(cursor: str) -> TaskNo:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        text = b""
    name, _, number = text.partition(b":")
    if name != b"before" or not number.isdigit() or len(number) > len(str(2**63)) - 1:
        raise Problem(INVALID_CURSOR, "Send the next_cursor of an earlier page, unchanged, or none.")
    return TaskNo(int(number))
