"""GET /v1/tasks/{id}/why, /v1/tasks/{id}/timeline and /v1/usage: the scheduler explains itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from taskservice.core.insight import WhyAnswer
from taskservice.core.timeline import past_stages
from taskservice.core.types import TaskId
from taskservice.gateway.access import Here, Reader
from taskservice.gateway.answers import json_answer
from taskservice.gateway.history import here_or_past
from taskservice.gateway.insight_views import TimelineView, UsageView, WhyView, timeline_view, usage_view, why_view
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import TENANT_NOT_FOUND, Problem
from taskservice.gateway.query import ALL_TENANTS, IdInPath, TenantQuery, task_not_found
from taskservice.ids import is_task_id

routes = APIRouter(prefix="/v1", tags=["insight"])


class UsageQuery(BaseModel):
    """Whose usage is meant: only admins may say."""

    model_config = ConfigDict(extra="forbid")
    tenant: str | None = Field(None, description="For admins: of this tenant alone; * or nothing: of all.")


@routes.get("/tasks/{id}/why", **documented({200: WhyView}, (404,)))
async def get_why(gateway: Here, caller: Reader, id: IdInPath, query: Annotated[TenantQuery, Query()]) -> Response:
    """Why the task does not run yet: the closed gates by name, their values and when they clear, its rank, how many come before
    it, and when it is expected to start; of one that runs or has ended: since when, where, and why it ended."""
    tenant = caller.acting_for(query.tenant)
    answer = await gateway.dispatcher.why(tenant, TaskId(id)) if is_task_id(id) else WhyAnswer()
    task = await here_or_past(gateway.history, answer.task, answer.past)
    if task is None:
        raise task_not_found(id)
    return json_answer(why_view(answer, task, machines=caller.is_admin))


@routes.get("/tasks/{id}/timeline", **documented({200: TimelineView}, (404,)))
async def get_timeline(gateway: Here, caller: Reader, id: IdInPath, query: Annotated[TenantQuery, Query()]) -> Response:
    """What the task has gone through, each time of waiting with its cause, and the time spent by stage. What was waited for is known
    since the dispatcher has started (`known_since`), and of the last attempt."""
    tenant = caller.acting_for(query.tenant)
    if not is_task_id(id):
        raise task_not_found(id)
    answer = await gateway.dispatcher.timeline(tenant, TaskId(id))
    task = await here_or_past(gateway.history, answer.task, answer.past)
    if task is None:
        raise task_not_found(id)
    if answer.task is None:
        return json_answer(timeline_view(task, past_stages(task), None, gateway.now_ms(), machines=caller.is_admin))
    return json_answer(
        timeline_view(task, answer.stages, answer.known_since_ms, gateway.now_ms(), machines=caller.is_admin)
    )


@routes.get("/usage", **documented({200: UsageView}, (404,)))
async def get_usage(gateway: Here, caller: Reader, query: Annotated[UsageQuery, Query()]) -> Response:
    """Shares used in the last minutes and due by weights, quotas, rates, counts, windows, retry budgets and queues: one's own, or
    everybody's if an admin asks."""
    everybody = caller.is_admin and query.tenant in (None, ALL_TENANTS)
    tenant = None if everybody else caller.acting_for(query.tenant)
    answer = await gateway.dispatcher.usage(tenant)
    if tenant is not None and not answer.tenants:
        raise Problem(TENANT_NOT_FOUND, f"There is no tenant {tenant[:200]!r}.")
    return json_answer(usage_view(answer, gateway.now_ms()))
