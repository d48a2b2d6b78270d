"""/v1/tasks/{id}/deliveries and /v1/callbacks: what became of callbacks, their endpoints, and what they are signed with."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from taskservice.core.callback_events import DeliveriesAnswer
from taskservice.core.types import TaskId, TenantId
from taskservice.gateway.access import Here, Operator, Reader
from taskservice.gateway.answers import json_answer
from taskservice.gateway.body import read_json
from taskservice.gateway.callback_views import (
    DeliveriesView,
    EndpointsView,
    EndpointView,
    SecretView,
    deliveries_view,
    endpoint_view,
)
from taskservice.gateway.openapi import documented
from taskservice.gateway.problems import NO_CALLBACK, TENANT_NOT_FOUND, Problem
from taskservice.gateway.query import ALL_TENANTS, IdInPath, TenantQuery, task_not_found
from taskservice.gateway.requests import EndpointRequest
from taskservice.gateway.times import iso
from taskservice.ids import is_task_id

routes = APIRouter(prefix="/v1", tags=["callbacks"])

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
"""As Standard Webhooks wants it: from 24 to 64."""

_ENDPOINT = msgspec.json.Decoder(EndpointRequest)

Whose = Annotated[TenantQuery, Query()]


@routes.get("/tasks/{id}/deliveries", **documented({200: DeliveriesView}, (404,)))
async def get_deliveries(gateway: Here, caller: Reader, id: IdInPath, query: Whose) -> Response:
    """The task's callbacks: each attempt, what came of it, and when the next one is."""
    tenant = caller.acting_for(query.tenant)
    answer = await gateway.dispatcher.deliveries(tenant, TaskId(id)) if is_task_id(id) else DeliveriesAnswer(None)
    if answer.deliveries is None:
        raise task_not_found(id)
    return json_answer(deliveries_view(answer))


@routes.post("/tasks/{id}/deliveries/retry", **documented({200: DeliveriesView}, (404, 409)))
async def redeliver(gateway: Here, caller: Operator, id: IdInPath, query: Whose) -> Response:
    """The end of the task's last run that ended is told again, under the same id, or at last. 409 if nothing was ever to be told."""
    tenant = caller.acting_for(query.tenant)
    answer = await gateway.dispatcher.redeliver(tenant, TaskId(id)) if is_task_id(id) else DeliveriesAnswer(None)
    if answer.deliveries is None:
        raise task_not_found(id)
    if not answer.deliveries:
        raise Problem(NO_CALLBACK, f"Task {id} has no callback_url, has not ended, or did so too long ago.")
    return json_answer(deliveries_view(answer))


@routes.get("/callbacks/endpoints", **documented({200: EndpointsView}))
async def list_endpoints(gateway: Here, caller: Reader, query: Whose) -> Response:
    """The endpoints that fail or are disabled; for admins with tenant=*, everybody's."""
    tenant = caller.acting_for(query.tenant)
    answer = await gateway.dispatcher.endpoints(None if tenant == ALL_TENANTS else tenant)
    return json_answer(EndpointsView([endpoint_view(each) for each in answer.endpoints]))


@routes.post(
    "/callbacks/endpoints/enable", **documented({200: EndpointView}, (400, 404, 413, 415), body=EndpointRequest)
)
async def enable_endpoint(request: Request, gateway: Here, caller: Operator, query: Whose) -> Response:
    """The endpoint is told again what it is owed, from now on. No error if it was not disabled."""
    wanted = await read_json(request, _ENDPOINT, gateway.settings)
    tenant = await _known(gateway, caller.acting_for(query.tenant))
    answer = await gateway.dispatcher.enable_endpoint(tenant, wanted.origin.rstrip("/").lower())
    return json_answer(endpoint_view(answer.endpoints[0]))


@routes.post("/callbacks/secret", **documented({201: SecretView}, (404,)))
async def rotate_secret(gateway: Here, caller: Operator, query: Whose) -> Response:
    """A new signing secret, shown this once. The one before signs as well until `previous_until`."""
    tenant = await _known(gateway, caller.acting_for(query.tenant))
    secret = secrets.token_bytes(SECRET_BYTES)
    answer = await gateway.dispatcher.put_secret(tenant, secret, True)
    if not answer.taken:
        raise Problem(TENANT_NOT_FOUND, f"There is no tenant {tenant[:200]!r}.")
    until = iso(answer.previous_until_ms) if answer.previous_until_ms else None
    return json_answer(SecretView(tenant, SECRET_PREFIX + base64.b64encode(secret).decode(), until), 201)


async def _known(gateway: Here, tenant: TenantId) -> TenantId:
    await gateway.catalog.run_once()
    if tenant not in gateway.catalog.tenants:
        raise Problem(TENANT_NOT_FOUND, f"There is no tenant {tenant[:200]!r}.")
    return tenant
