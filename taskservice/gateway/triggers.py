"""/v1/triggers: which events come to which tasks."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import UNSET, UnsetType
from pydantic import Field

from taskservice.core.trigger_events import TriggerAnswer, TriggerRefusal
from taskservice.core.trigger_template import BadTemplate, check_template
from taskservice.core.triggers import TextFilter, Trigger, TriggerId, TriggerKey, TriggerSpec
from taskservice.core.types import FunctionName, TenantId
from taskservice.gateway.access import Here, Operator, Reader
from taskservice.gateway.answers import json_answer
from taskservice.gateway.body import read_json
from taskservice.gateway.canonical import canonical
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import (
    INTERNAL_ERROR,
    INVALID_CURSOR,
    UNKNOWN_FUNCTION,
    UNKNOWN_TENANT,
    Kind,
    Problem,
    invalid,
    too_large,
)
from taskservice.gateway.query import ALL_TENANTS, TenantQuery
from taskservice.gateway.settings import GatewaySettings
from taskservice.gateway.trigger_views import FilterSaid, TriggerPage, TriggerRequest, TriggerView, trigger_view
from taskservice.ids import is_schedule_id, uuid7

routes = APIRouter(prefix="/v1", tags=["triggers"])

_REQUEST = msgspec.json.Decoder(TriggerRequest)
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,50}")
_NOT_FOUND = Kind("trigger_not_found", 404, "No such trigger")
_KINDS = {
    TriggerRefusal.NOT_FOUND: _NOT_FOUND,
    TriggerRefusal.EXISTS: Kind("trigger_exists", 409, "There is another trigger of this id"),
    TriggerRefusal.MAX: Kind("triggers_max", 409, "The tenant has as many triggers as it may", "triggers_max"),
    TriggerRefusal.UNKNOWN_TENANT: UNKNOWN_TENANT,
    TriggerRefusal.UNKNOWN_FUNCTION: UNKNOWN_FUNCTION,
}

IdInPath = Annotated[str, Path(description="The trigger's id.")]


class ListQuery(TenantQuery):
    """Which triggers are wanted."""

    tenant: str | None = Field(None, description="For admins: another tenant than the key's own, or * for all.")
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")
    limit: int | None = Field(None, ge=1, description="Triggers on a page, at most.")


@routes.post(
    "/triggers",
    **documented({201: TriggerView, 200: TriggerView}, (400, 409, 413, 415), body=TriggerRequest),
)
async def create_trigger(request: Request, gateway: Here, caller: Operator) -> Response:
    """There is a new trigger: 201. 200 if there was one of that id, like that; 409 if it is another."""
    wanted = await read_json(request, _REQUEST, gateway.settings)
    spec = _spec_of(wanted, gateway.settings)
    answer = await gateway.dispatcher.put_trigger(caller.key.tenant, _new_id(wanted.id), spec)
    return json_answer(trigger_view(_found(answer)), 200 if answer.known else 201)


@routes.get("/triggers", **documented({200: TriggerPage}))
async def list_triggers(gateway: Here, caller: Reader, query: Annotated[ListQuery, Query()]) -> Response:
    """A page of triggers, by tenant and id."""
    settings = gateway.settings
    limit = settings.list_limit_default if query.limit is None else query.limit
    if limit > settings.list_limit_max:
        message = f"at most {settings.list_limit_max} triggers make a page"
        raise invalid("limit", message, limit="list_limit_max", value=settings.list_limit_max)
    tenant = caller.acting_for(query.tenant)
    after = None if query.cursor is None else _decode_cursor(query.cursor)
    page = await gateway.dispatcher.triggers(None if tenant == ALL_TENANTS else tenant, after, limit)
    cursor = _encode_cursor(page.triggers[-1].key) if page.more else None
    return json_answer(TriggerPage([trigger_view(each) for each in page.triggers], cursor))


@routes.get("/triggers/{id}", **documented({200: TriggerView}, (404,)))
async def get_trigger(gateway: Here, caller: Reader, id: IdInPath, query: Annotated[TenantQuery, Query()]) -> Response:
    """The trigger."""
    answer = await gateway.dispatcher.trigger(caller.acting_for(query.tenant), _known_id(id))
    return json_answer(trigger_view(_found(answer)))


@routes.delete("/triggers/{id}", **documented({200: TriggerView}, (404,)))
async def remove_trigger(
    gateway: Here, caller: Operator, id: IdInPath, query: Annotated[TenantQuery, Query()]
) -> Response:
    """There is no such trigger any more; the answer shows it as it was. The tasks that it made go on."""
    answer = await gateway.dispatcher.remove_trigger(caller.acting_for(query.tenant), _known_id(id))
    return json_answer(trigger_view(_found(answer)))


def _spec_of(wanted: TriggerRequest, settings: GatewaySettings) -> TriggerSpec:
    """What is wanted. Raises Problem."""
    filters = tuple(sorted((name, _filter(name, said)) for name, said in wanted.filter.items()))
    priority = None if isinstance(wanted.priority, UnsetType) else wanted.priority
    if wanted.payload is UNSET:
        return TriggerSpec(FunctionName(wanted.function), filters, None, priority)
    template = canonical(bytes(wanted.payload), settings.payload_depth_max)
    if len(template.text) > settings.inline_bytes_max:
        message = f"The template has {len(template.text)} bytes; {settings.inline_bytes_max} are allowed."
        raise too_large(message, "inline_bytes_max", settings.inline_bytes_max)
    try:
        check_template(template.value)
    except BadTemplate as why:
        raise invalid("$.payload", str(why)) from None
    return TriggerSpec(FunctionName(wanted.function), filters, template.text, priority)


def _filter(name: str, said: str | FilterSaid) -> TextFilter:
    if not _ATTRIBUTE.fullmatch(name) or name == "data":
        message = f"{name[:80]!r} is no attribute of events: use 1 to 50 of a-z 0-9, as CloudEvents name them"
        raise invalid("$.filter", message)
    if isinstance(said, str):
        return TextFilter(said)
    if said == FilterSaid():
        raise invalid(f"$.filter.{name}", "say what it has to be: exact, prefix or suffix")
    return TextFilter(said.exact, said.prefix, said.suffix)


def _new_id(given: str | UnsetType | None) -> TriggerId:
    if given is None or isinstance(given, UnsetType):
        return TriggerId(uuid7())
    if not is_schedule_id(given):
        raise invalid("$.id", "use 1 to 100 of A-Z a-z 0-9 . _ : + = ~ -, beginning with a letter or digit")
    return TriggerId(given)


def _known_id(text: str) -> TriggerId:
    if not is_schedule_id(text):
        raise Problem(_NOT_FOUND, f"There is no trigger {text[:200]!r}.")
    return TriggerId(text)


def _found(answer: TriggerAnswer) -> Trigger:
    """The trigger in the answer. Raises the Problem that it is if it was refused."""
    if answer.refusal is not None or answer.found is None:
        kind = INTERNAL_ERROR if answer.refusal is None else _KINDS[answer.refusal]
        raise Problem(kind, f"{answer.message[:1].upper()}{answer.message[1:]}.", value=answer.limit)
    return answer.found


def _encode_cursor(key: TriggerKey) -> str:
    return base64.urlsafe_b64encode(f"trigger:{key.tenant}/{key.id}".encode()).rstrip(b"=").decode()


def _decode_cursor(cursor: str) -> TriggerKey:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    name, _, key = text.partition(":")
    tenant, slash, id = key.partition("/")
    if name != "trigger" or not slash or not is_schedule_id(id):
        raise Problem(INVALID_CURSOR, "Send the next_cursor of an earlier page, unchanged, or none.")
    return TriggerKey(TenantId(tenant), TriggerId(id))
