"""GET /v1/dead-letters and POST /v1/dead-letters/retry: tasks that failed for good, with their payloads, until they are run again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET
from msgspec.structs import replace

from taskservice.core.operations import OperationKind
from taskservice.core.types import TaskState
from taskservice.gateway.access import Here, Operator, Reader
from taskservice.gateway.answers import TaskPage
from taskservice.gateway.body import read_json
from taskservice.gateway.changes import CHANGE, Whose, change_wanted, many
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import invalid
from taskservice.gateway.query import ListQuery, list_filter, page_answer
from taskservice.gateway.requests import ChangeRequest

routes = APIRouter(prefix="/v1", tags=["dead letters"])

_DEAD = [TaskState.FAILED]
_ONLY = "dead letters are the tasks that are failed: leave it out"


@routes.get("/dead-letters", **documented({200: TaskPage}))
async def list_dead_letters(gateway: Here, caller: Reader, query: Annotated[ListQuery, Query()]) -> Response:
    """A page of tasks that failed for good, newest first; filters as for `GET /v1/tasks`."""
    if query.state not in ([], _DEAD):
        raise invalid("state", _ONLY)
    return await page_answer(gateway, list_filter(caller, query.model_copy(update={"state": _DEAD})), query)


@routes.post("/dead-letters/retry", **many(ChangeRequest))
async def retry_dead_letters(request: Request, gateway: Here, caller: Operator, query: Whose) -> Response:
    """They run again, as if they were new: with `ids` those that are named, as `POST /v1/tasks/retry` does it; with filters those that
    failed and pass; with `{}` all that failed. Those in history do not."""
    wanted = await read_json(request, CHANGE, gateway.settings)
    if wanted.ids is UNSET:
        if wanted.state not in (UNSET, None, TaskState.FAILED, _DEAD):
            raise invalid("state", _ONLY)
        wanted = replace(wanted, state=TaskState.FAILED)
    return await change_wanted(gateway, caller, query, OperationKind.RETRY, wanted)
