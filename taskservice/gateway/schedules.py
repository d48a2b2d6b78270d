"""/v1/schedules: tasks that are made again and again."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import UNSET, UnsetType
from pydantic import Field

from taskservice.core.effects import Refusal, ScheduleAnswer
from taskservice.core.schedules import ScheduleId, ScheduleKey, ScheduleState
from taskservice.core.types import TenantId
from taskservice.gateway.access import Caller, Gateway, Here, Operator, Reader, Submitter
from taskservice.gateway.answers import json_answer
from taskservice.gateway.body import read_json
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import INVALID_CURSOR, MISSING_SCOPE, SCHEDULE_NOT_FOUND, Problem, invalid
from taskservice.gateway.query import ALL_TENANTS, TenantQuery
from taskservice.gateway.requests import SchedulePatch, ScheduleRequest
from taskservice.gateway.schedule_specs import refused, spec_of
from taskservice.gateway.schedule_views import SchedulePage, ScheduleView, schedule_view
from taskservice.ids import is_schedule_id, uuid7

routes = APIRouter(prefix="/v1", tags=["schedules"])

_REQUEST = msgspec.json.Decoder(ScheduleRequest)
_PATCH = msgspec.json.Decoder(SchedulePatch)
_CHANGE_ATTEMPTS = 3

IdInPath = Annotated[str, Path(description="The schedule's id.")]


class ShowQuery(TenantQuery):
    """Whose schedule is meant, and how much of it is wanted."""

    next: int | None = Field(None, ge=0, description="Next times that are shown, at most.")


class ListQuery(TenantQuery):
    """Which schedules are wanted."""

    tenant: str | None = Field(None, description="For admins: another tenant than the key's own, or * for all.")
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")
    limit: int | None = Field(None, ge=1, description="Schedules on a page, at most.")


@routes.post(
    "/schedules",
    **documented({201: ScheduleView, 200: ScheduleView}, (400, 409, 413, 415), body=ScheduleRequest),
)
async def create_schedule(request: Request, gateway: Here, caller: Submitter) -> Response:
    """There is a new schedule: 201. 200 if there was one of that id, like that; 409 if it is another."""
    wanted = await read_json(request, _REQUEST, gateway.settings)
    spec = await spec_of(gateway, wanted, None)
    answer = await gateway.dispatcher.put_schedule(caller.key.tenant, _new_id(wanted.id), spec, None)
    return _whole(gateway, _found(answer), 200 if answer.known else 201)


@routes.get("/schedules", **documented({200: SchedulePage}))
async def list_schedules(gateway: Here, caller: Reader, query: Annotated[ListQuery, Query()]) -> Response:
    """A page of schedules, by tenant and id, without payloads, and with the next time of each."""
    settings = gateway.settings
    limit = settings.list_limit_default if query.limit is None else query.limit
    if limit > settings.list_limit_max:
        message = f"at most {settings.list_limit_max} schedules make a page"
        raise invalid("limit", message, limit="list_limit_max", value=settings.list_limit_max)
    tenant = caller.acting_for(query.tenant)
    after = None if query.cursor is None else _decode_cursor(query.cursor)
    page = await gateway.dispatcher.schedules(None if tenant == ALL_TENANTS else tenant, after, limit)
    views = [schedule_view(each, next_count=1, payload=False) for each in page.schedules]
    cursor = _encode_cursor(page.schedules[-1].schedule.key) if page.more else None
    return json_answer(SchedulePage(views, cursor))


@routes.get("/schedules/{id}", **documented({200: ScheduleView}, (404,)))
async def get_schedule(gateway: Here, caller: Reader, id: IdInPath, query: Annotated[ShowQuery, Query()]) -> Response:
    """The schedule, with its next times."""
    most = gateway.settings.schedule_next_max
    if query.next is not None and query.next > most:
        raise invalid("next", f"at most {most} times are shown", limit="schedule_next_max", value=most)
    known = _found(await gateway.dispatcher.schedule(caller.acting_for(query.tenant), _known_id(id)))
    return _whole(gateway, known, 200, query.next)


@routes.patch("/schedules/{id}", **documented({200: ScheduleView}, (400, 404, 409, 413, 415), body=SchedulePatch))
async def change_schedule(
    request: Request, gateway: Here, caller: Operator, id: IdInPath, query: Annotated[TenantQuery, Query()]
) -> Response:
    """The schedule has the values given; those not given stay. `paused` pauses it and lets it go on. Anything else decides which
    tasks there will be, and needs the scope `submit` as well."""
    tenant = caller.acting_for(query.tenant)
    patch = await read_json(request, _PATCH, gateway.settings)
    _check_may(caller, patch)
    attempts_left = _CHANGE_ATTEMPTS
    while True:
        known = _found(await gateway.dispatcher.schedule(tenant, _known_id(id))).schedule
        spec = await spec_of(gateway, patch, known.spec)
        answer = await gateway.dispatcher.put_schedule(tenant, known.id, spec, known.version)
        attempts_left -= 1
        if answer.refusal is not Refusal.SCHEDULE_CHANGED or not attempts_left:
            break
    return _whole(gateway, _found(answer), 200)


@routes.delete("/schedules/{id}", **documented({200: ScheduleView}, (404,)))
async def remove_schedule(
    gateway: Here, caller: Operator, id: IdInPath, query: Annotated[TenantQuery, Query()]
) -> Response:
    """There is no such schedule any more; the answer shows it as it was. The tasks that it made go on."""
    answer = await gateway.dispatcher.remove_schedule(caller.acting_for(query.tenant), _known_id(id))
    return _whole(gateway, _found(answer), 200)


def _check_may(caller: Caller, patch: SchedulePatch) -> None:
    more = any(getattr(patch, name) is not UNSET for name in patch.__struct_fields__ if name != "paused")
    if more and not caller.may("submit"):
        message = f"To change more than `paused` needs a key with the scope 'submit'; {caller.key.id} has not got it."
        raise Problem(MISSING_SCOPE, message)


def _new_id(given: str | UnsetType | None) -> ScheduleId:
    if given is None or isinstance(given, UnsetType):
        return ScheduleId(uuid7())
    if not is_schedule_id(given):
        raise invalid("$.id", "use 1 to 100 of A-Z a-z 0-9 . _ : + = ~ -, beginning with a letter or digit")
    return ScheduleId(given)


def _known_id(text: str) -> ScheduleId:
    if not is_schedule_id(text):
        raise _not_found(text)
    return ScheduleId(text)


def _not_found(id: str) -> Problem:
    return Problem(SCHEDULE_NOT_FOUND, f"There is no schedule {id[:200]!r}.")


def _found(answer: ScheduleAnswer) -> ScheduleState:
    """The schedule in the answer. Raises the Problem that it is if it was refused."""
    if answer.refusal is Refusal.NOT_FOUND:
        raise Problem(SCHEDULE_NOT_FOUND, f"{answer.message[:1].upper()}{answer.message[1:]}.")
    if answer.refusal is not None or answer.found is None:
        raise refused(answer.refusal, answer.message, answer.limit)
    return answer.found


def _whole(gateway: Gateway, known: ScheduleState, status: int, next_count: int | None = None) -> Response:
    count = gateway.settings.schedule_next_default if next_count is None else next_count
    return json_answer(schedule_view(known, next_count=count, payload=True), status)


def _encode_cursor(key: ScheduleKey) -> str:
    return base64.urlsafe_b64encode(f"after:{key.tenant}/{key.id}".encode()).rstrip(b"=").decode()


def _decode_cursor(cursor: str) -> ScheduleKey:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    name, _, key = text.partition(":")
    tenant, slash, id = key.partition("/")
    if name != "after" or not slash or not is_schedule_id(id):
        raise Problem(INVALID_CURSOR, "Send the next_cursor of an earlier page, unchanged, or none.")
    return ScheduleKey(TenantId(tenant), ScheduleId(id))
