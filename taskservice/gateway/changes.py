"""POST /v1/tasks/cancel, /pause, /resume, /retry, /delete, and of one task /cancel and /retry; by filters: see `operations`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET

from taskservice.core.effects import ItemStatus
from taskservice.core.operate import DONE
from taskservice.core.operations import OperationKind
from taskservice.core.types import TaskId
from taskservice.gateway.access import Caller, Gateway, Here, Operator
from taskservice.gateway.answers import ChangeView, OperationView, TaskView, json_answer, task_view
from taskservice.gateway.body import JSON, read_json
from taskservice.gateway.history import here_or_past
from taskservice.gateway.openapi import documented, reference
from taskservice.gateway.operations import change_matching
from taskservice.gateway.problems import invalid, refusal_problem, too_large
from taskservice.gateway.query import IdInPath, TenantQuery, task_not_found
from taskservice.gateway.requests import ChangeRequest, PauseRequest
from taskservice.gateway.submit import item_view
from taskservice.gateway.times import parse_time_ms
from taskservice.ids import is_task_id

routes = APIRouter(prefix="/v1", tags=["changes"])

CHANGE = msgspec.json.Decoder(ChangeRequest)
_PAUSE: msgspec.json.Decoder[ChangeRequest] = msgspec.json.Decoder(PauseRequest)
_DONE = {JSON: {"anyOf": [reference(ChangeView), reference(OperationView)]}}

Whose = Annotated[TenantQuery, Query()]


def many(body: type[ChangeRequest]) -> dict[str, Any]:
    """Says what a route answers that changes tasks."""
    return {**documented({200: _DONE, 202: OperationView}, (400, 413, 415, 429), body=body)}


@routes.post("/tasks/{id}/cancel", **documented({200: TaskView, 202: TaskView}, (404, 409)))
async def cancel_task(gateway: Here, caller: Operator, id: IdInPath, query: Whose) -> Response:
    """The task will not run. If it runs (202), it is asked to stop, ended by force after its grace, and cancelled then, unless it
    succeeds before. 409 if it has ended."""
    return await _one(gateway, caller, query, OperationKind.CANCEL, id)


@routes.post("/tasks/{id}/retry", **documented({200: TaskView}, (404, 409)))
async def retry_task(gateway: Here, caller: Operator, id: IdInPath, query: Whose) -> Response:
    """The task runs again, as if it were new, if it failed, was cancelled or has expired. 409 if it has succeeded, or is in
    history."""
    return await _one(gateway, caller, query, OperationKind.RETRY, id)


@routes.post("/tasks/cancel", **many(ChangeRequest))
async def cancel(request: Request, gateway: Here, caller: Operator, query: Whose) -> Response:
    """With `ids`: these tasks will not run; each result says whether that could be done. Those that run are asked to stop.

    With filters: none of the tasks that there are and that pass them starts from now on. They are cancelled in the
    background; the answer (202) names the operation, and says how many they are if that is known at once. What runs is left alone.
    """
    return await _named_or_matching(request, gateway, caller, query, OperationKind.CANCEL)


@routes.post("/tasks/pause", **many(PauseRequest))
async def pause(request: Request, gateway: Here, caller: Operator, query: Whose) -> Response:
    """Tasks that wait do not start until they are resumed, or until the time that `until` says. Named or filtered as for
    `cancel`; so for all that follow."""
    return await _named_or_matching(request, gateway, caller, query, OperationKind.PAUSE)


@routes.post("/tasks/resume", **many(ChangeRequest))
async def resume(request: Request, gateway: Here, caller: Operator, query: Whose) -> Response:
    """Tasks that are paused wait again as they did before."""
    return await _named_or_matching(request, gateway, caller, query, OperationKind.RESUME)


@routes.post("/tasks/retry", **many(ChangeRequest))
async def retry(request: Request, gateway: Here, caller: Operator, query: Whose) -> Response:
    """Tasks that failed, were cancelled or have expired run again, as if they were new. Those in history do not."""
    return await _named_or_matching(request, gateway, caller, query, OperationKind.RETRY)


@routes.post("/tasks/delete", **many(ChangeRequest))
async def delete(request: Request, gateway: Here, caller: Operator, query: Whose) -> Response:
    """Tasks are as if they had never been, whether they wait or have ended, here or in history; their ids are free."""
    return await _named_or_matching(request, gateway, caller, query, OperationKind.DELETE)


async def _one(gateway: Gateway, caller: Caller, query: TenantQuery, kind: OperationKind, id: str) -> Response:
    tenant = caller.acting_for(query.tenant)
    if not is_task_id(id):
        raise task_not_found(id)
    item = (await gateway.dispatcher.change(tenant, kind, [TaskId(id)])).items[0]
    if item.status is ItemStatus.REFUSED:
        raise refusal_problem(item, gateway.settings.queue_retry_after_s)
    changed = await here_or_past(gateway.history, item.task, item.past)
    if changed is None:
        raise task_not_found(id)
    cancelling = item.status is ItemStatus.CANCELLING
    view = task_view(changed, gateway.now_ms(), await gateway.values.of(changed), cancelling=cancelling)
    return json_answer(view, 202 if cancelling else 200)


async def _named_or_matching(
    request: Request, gateway: Gateway, caller: Caller, query: TenantQuery, kind: OperationKind
) -> Response:
    wanted = await read_json(request, _PAUSE if kind is OperationKind.PAUSE else CHANGE, gateway.settings)
    return await change_wanted(gateway, caller, query, kind, wanted)


async def change_wanted(
    gateway: Gateway, caller: Caller, query: TenantQuery, kind: OperationKind, wanted: ChangeRequest
) -> Response:
    """It is done to the tasks that are named, or is under way for those that pass the filters."""
    settings = gateway.settings
    tenant = caller.acting_for(query.tenant)
    resume_ms = _resume_ms(gateway, wanted)
    if wanted.ids is UNSET:
        return await change_matching(gateway, caller, kind, wanted, query.tenant, resume_ms)
    if wanted.says_more_than_ids:
        raise invalid("ids", "name ids or filters, not both; a dry run goes with filters")
    if len(wanted.ids) > settings.batch_tasks_max:
        message = f"One request may name {settings.batch_tasks_max} tasks."
        raise too_large(message, "batch_tasks_max", settings.batch_tasks_max)
    answer = await gateway.dispatcher.change(tenant, kind, [TaskId(one) for one in wanted.ids], resume_ms)
    results = [item_view(item, settings.queue_retry_after_s) for item in answer.items]
    refused = sum(result.status is ItemStatus.REFUSED for result in results)
    cancelling = sum(result.status is ItemStatus.CANCELLING for result in results)
    counts = {DONE[kind].value: len(results) - refused - cancelling}
    if kind is OperationKind.CANCEL:
        counts[ItemStatus.CANCELLING.value] = cancelling
    return json_answer(ChangeView(results=results, refused=refused, **counts))


def _resume_ms(gateway: Gateway, wanted: ChangeRequest) -> int | None:
    """When those that are paused are to be resumed by themselves. Raises Problem if that is no time to come."""
    if not isinstance(wanted, PauseRequest) or wanted.until is UNSET or wanted.until is None:
        return None
    try:
        resume_ms = parse_time_ms(wanted.until)
    except ValueError as error:
        raise invalid("until", str(error)) from None
    if resume_ms <= gateway.now_ms():
        raise invalid("until", "this time has passed")
    return resume_ms
