"""GET /v1/tasks/{id}/logs: a task's log, all of it or a part, or line by line as it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from taskservice.core.types import RunnerId, Task, TaskId, TaskState, TenantId
from taskservice.gateway.access import Gateway, Here, Reader
from taskservice.gateway.answers import LogsView, json_answer
from taskservice.gateway.body import JSON
from taskservice.gateway.following import Follower, Look, parse_mark
from taskservice.gateway.history import here_or_past
from taskservice.gateway.logs import logs_view, stamped
from taskservice.gateway.openapi import documented, reference
from taskservice.gateway.problems import LOG_FOLLOWERS_MAX, Problem
from taskservice.gateway.query import TEXT, TIME_FORMS, IdInPath, TenantQuery, task_not_found, time_ms
from taskservice.ids import is_task_id
from taskservice.logs.chosen import Wanted, choose, text_of

routes = APIRouter(prefix="/v1", tags=["query"])

EVENTS = "text/event-stream"


class LogsQuery(TenantQuery):
    """Which part of a task's log is wanted, and how."""

    follow: bool = Field(
        False, description="As an event stream: an event `line` for each line, `end` at the task's end."
    )
    since: str | None = Field(None, description=f"Written then or later. {TIME_FORMS}")
    until: str | None = Field(None, description=f"Written before then. {TIME_FORMS}")
    attempt: int | None = Field(None, ge=1, description="Of this attempt; of the latest run, unless `run` says which.")
    run: int | None = Field(None, ge=1, description="Of this run.")
    tail: int | None = Field(None, ge=0, description="So many lines, the last ones.")
    timestamps: bool = Field(False, description="With the time before each line of the text.")


@routes.get(
    "/tasks/{id}/logs",
    **documented({200: {TEXT: {"type": "string"}, JSON: reference(LogsView), EVENTS: {"type": "string"}}}, (404,)),
)
async def get_logs(
    request: Request,
    gateway: Here,
    caller: Reader,
    id: IdInPath,
    query: Annotated[LogsQuery, Query()],
    last_event_id: Annotated[str | None, Header(description="Follow from after this event.")] = None,
) -> Response:
    """What the task's attempts wrote: as text; by attempt, with times and streams, if `Accept` asks for JSON; or as it is
    written, with `follow`."""
    tenant = caller.acting_for(query.tenant)
    found = await _look(gateway, tenant, id)
    if found is None:
        raise task_not_found(id)
    wanted = _wanted(query, found.task)
    if query.follow:
        return _follow(gateway, tenant, id, wanted, last_event_id)
    logs = await asyncio.to_thread(gateway.logs.stored, found.task, wanted)
    if found.task.state is TaskState.RUNNING:
        running = await gateway.logs.running(found.task, found.runner)
        logs += [] if running is None else [running]
    lines = choose(logs, wanted)
    if JSON in request.headers.get("accept", ""):
        return json_answer(logs_view(lines))
    return Response(text_of(stamped(lines) if query.timestamps else lines), media_type=TEXT)


def _wanted(query: LogsQuery, task: Task) -> Wanted:
    run = task.run if query.run is None and query.attempt is not None else query.run
    return Wanted(time_ms("since", query.since), time_ms("until", query.until), run, query.attempt, query.tail)


async def _look(gateway: Gateway, tenant: TenantId, id: str, known: Look | None = None) -> Look | None:
    """The tenant's task, and where it runs. `known`: what was found before."""
    if not is_task_id(id):
        return None
    answer = await gateway.dispatcher.get(tenant, TaskId(id), 0.0)
    task = await here_or_past(gateway.history, answer.task, answer.past)
    if task is None:
        return None
    runner: RunnerId | None = None
    if task.state is TaskState.RUNNING:
        same = known is not None and known.runner is not None and known.task.token == task.token
        runner = known.runner if known and same else (await gateway.dispatcher.why(tenant, TaskId(id))).runner
    return Look(task, runner)


def _follow(gateway: Gateway, tenant: TenantId, id: str, wanted: Wanted, last_event_id: str | None) -> Response:
    limit = gateway.settings.log_followers_max
    if gateway.followers.count >= limit:
        raise Problem(LOG_FOLLOWERS_MAX, f"{limit} logs are being followed here.", retry_after_s=5.0, value=limit)
    known: Look | None = None

    async def look() -> Look | None:
        nonlocal known
        known = await _look(gateway, tenant, id, known)
        return known

    after = None if last_event_id is None else parse_mark(last_event_id)
    follower = Follower(look, gateway.logs, wanted, gateway.now_ms, after)

    async def stream() -> AsyncIterator[bytes]:
        with gateway.followers.one_more():
            async for event in follower.events():
                yield event.encode()

    return StreamingResponse(stream(), media_type=EVENTS, headers={"x-accel-buffering": "no"})
