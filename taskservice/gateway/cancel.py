"""POST /v1/tasks/{id}/cancel and POST /v1/tasks/cancel; by filters: see `operations`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET

from taskservice.core.effects import ItemStatus
from taskservice.core.types import TaskId
from taskservice.gateway.access import Here, Operator
from taskservice.gateway.answers import CancelView, OperationView, TaskView, json_answer, task_view
from taskservice.gateway.body import JSON, read_json
from taskservice.gateway.history import here_or_past
from taskservice.gateway.openapi import documented, reference
from taskservice.gateway.operations import cancel_matching
from taskservice.gateway.problems import invalid, refusal_problem, too_large
from taskservice.gateway.query import IdInPath, TenantQuery, task_not_found
from taskservice.gateway.requests import CancelRequest
from taskservice.gateway.submit import item_view
from taskservice.ids import is_task_id

routes = APIRouter(prefix="/v1", tags=["cancel"])

_DECODER = msgspec.json.Decoder(CancelRequest)


@routes.post("/tasks/{id}/cancel", **documented({200: TaskView}, (404, 409)))
async def cancel(gateway: Here, caller: Operator, id: IdInPath, query: Annotated[TenantQuery, Query()]) -> Response:
    """The task will not run. 409 if it has started or ended."""
    tenant = caller.acting_for(query.tenant)
    if not is_task_id(id):
        raise task_not_found(id)
    item = (await gateway.dispatcher.cancel(tenant, [TaskId(id)])).items[0]
    if item.status is ItemStatus.REFUSED:
        raise refusal_problem(item, gateway.settings.queue_retry_after_s)
    cancelled = await here_or_past(gateway.history, item.task, item.past)
    if cancelled is None:
        raise task_not_found(id)
    return json_answer(task_view(cancelled, await gateway.values.of(cancelled)))


_DONE = {JSON: {"anyOf": [reference(CancelView), reference(OperationView)]}}


@routes.post("/tasks/cancel", **documented({200: _DONE, 202: OperationView}, (400, 413, 415, 429), body=CancelRequest))
async def cancel_many(
    request: Request, gateway: Here, caller: Operator, query: Annotated[TenantQuery, Query()]
) -> Response:
    """With `ids`: these tasks will not run; each result says whether that could be done.

    With filters: none of the tasks that there are and that pass them starts from now on. They are cancelled in the
    background; the answer (202) names the operation, and says how many they are if that is known at once.
    """
    settings = gateway.settings
    tenant = caller.acting_for(query.tenant)
    wanted = await read_json(request, _DECODER, settings)
    if wanted.ids is UNSET:
        return await cancel_matching(gateway, caller, wanted, query.tenant)
    if wanted != CancelRequest(wanted.ids):
        raise invalid("ids", "name ids or filters, not both; a dry run goes with filters")
    if len(wanted.ids) > settings.batch_tasks_max:
        message = f"One request may name {settings.batch_tasks_max} tasks."
        raise too_large(message, "batch_tasks_max", settings.batch_tasks_max)
    answer = await gateway.dispatcher.cancel(tenant, [TaskId(one) for one in wanted.ids])
    results = [item_view(item, settings.queue_retry_after_s) for item in answer.items]
    refused = sum(result.status is ItemStatus.REFUSED for result in results)
    return json_answer(CancelView(results, len(results) - refused, refused))
