"""POST /v1/tasks/cancel, /pause, ... with filters, and GET /v1/operations/{id}: what is done to all tasks that pass a filter."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from msgspec import UNSET
from pydantic import BaseModel, ConfigDict, Field

from taskservice.core.operate import DONE
from taskservice.core.operations import SOURCES, Operation, OperationKind
from taskservice.core.types import TaskState
from taskservice.gateway.access import Caller, Gateway, Here, Reader
from taskservice.gateway.answers import OperationView, json_answer, operation_view
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import OPERATION_NOT_FOUND, REFUSALS, Problem, invalid
from taskservice.gateway.query import ALL_TENANTS, Filters, list_filter
from taskservice.gateway.requests import FILTER_NAMES, ChangeRequest

routes = APIRouter(prefix="/v1", tags=["operations"])

IdInPath = Annotated[str, Path(description="The operation's id, as the answer that began it has it.")]


class OperationQuery(BaseModel):
    """Whose operation is meant: only admins may say."""

    model_config = ConfigDict(extra="forbid")
    tenant: str | None = Field(
        None, description="For admins, who need not say: they see the operations of all tenants."
    )


@routes.get("/operations/{id}", **documented({200: OperationView}, (404,)))
async def get_operation(
    gateway: Here, caller: Reader, id: IdInPath, query: Annotated[OperationQuery, Query()]
) -> Response:
    """How far the operation has come. It is remembered after it is done, until many others of the tenant are."""
    whose = None if caller.is_admin and query.tenant in (None, ALL_TENANTS) else caller.acting_for(query.tenant)
    found = await gateway.dispatcher.operation(whose, id[:100])
    if found is None:
        raise Problem(OPERATION_NOT_FOUND, f"There is no operation {id[:100]!r} (any more).")
    return json_answer(operation_view(found))


async def change_matching(
    gateway: Gateway,
    caller: Caller,
    kind: OperationKind,
    asked: ChangeRequest,
    tenant: str | None,
    resume_ms: int | None,
) -> Response:
    """202 and an operation that holds for all tasks that pass, or 200 if all is said. `tenant`: the query's."""
    said = _said(asked)
    states = ", ".join(SOURCES[kind])
    if not said:
        raise invalid("$", f"name ids, or filters: to mean all tasks there are, say state: [{states}]")
    filters = Filters.model_validate(said if tenant is None else {"tenant": tenant} | said)
    wrong = [state.value for state in filters.state if state not in SOURCES[kind]]
    if wrong:
        raise invalid("state", f"only tasks that are {states} can be {DONE[kind]}, and not those {', '.join(wrong)}")
    answer = await gateway.dispatcher.bulk(kind, list_filter(caller, filters), asked.dry_run, resume_ms)
    if answer.operation is None or answer.refusal is not None:
        refused = REFUSALS[answer.refusal] if answer.refusal is not None else OPERATION_NOT_FOUND
        retry_after_s = gateway.settings.queue_retry_after_s
        raise Problem(refused, answer.message, value=answer.limit, retry_after_s=retry_after_s)
    response = json_answer(operation_view(answer.operation), status=_status(answer.operation))
    if answer.operation.id:
        response.headers["location"] = f"/v1/operations/{answer.operation.id}"
    return response


def _status(operation: Operation) -> int:
    return 202 if operation.done_ms is None else 200


def _said(asked: ChangeRequest) -> dict[str, object]:
    """What the body says, as a listing's query says it. Raises a 422 Problem for a list of no states, which might be
    taken for all."""
    said: dict[str, object] = {}
    for name in FILTER_NAMES:
        value = getattr(asked, name)
        if value is UNSET or value is None:
            continue
        if name != "state":
            said[name] = str(value)
        elif value == []:
            raise invalid("state", "name at least one state, or leave it out")
        else:
            said[name] = [value] if isinstance(value, TaskState) else value
    return said
