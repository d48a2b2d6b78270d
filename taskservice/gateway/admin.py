"""/v1/tenants and /v1/keys: for admins."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET, UnsetType

from taskservice.core.specs import ApiKey, Tenant
from taskservice.core.types import TenantId
from taskservice.gateway.access import Admin, Gateway, Here
from taskservice.gateway.answers import (
    KeysView,
    KeyView,
    TenantsView,
    TenantView,
    json_answer,
    key_view,
    tenant_view,
)
from taskservice.gateway.body import read_json
from taskservice.gateway.keys import hash_secret, key_id, new_secret
from taskservice.gateway.openapi import documented
from taskservice.gateway.policies import changed, said_of
from taskservice.gateway.problems import (
    KEY_IN_USE,
    KEY_NOT_FOUND,
    TENANT_EXISTS,
    TENANT_NOT_FOUND,
    TENANTS_NOT_APART,
    UNKNOWN_TENANT,
    Problem,
)
from taskservice.gateway.requests import KeyRequest, TenantPatch, TenantRequest

routes = APIRouter(prefix="/v1", tags=["admin"])

_TENANT = msgspec.json.Decoder(TenantRequest)
_TENANT_PATCH = msgspec.json.Decoder(TenantPatch)
_KEY = msgspec.json.Decoder(KeyRequest)


@routes.get("/tenants", **documented({200: TenantsView}))
async def list_tenants(gateway: Here, caller: Admin) -> Response:
    """All tenants, by name."""
    await gateway.catalog.run_once()
    tenants = gateway.catalog.tenants
    return json_answer(TenantsView([tenant_view(tenants[name]) for name in sorted(tenants)]))


@routes.post("/tenants", **documented({201: TenantView}, (400, 409, 413, 415), body=TenantRequest))
async def create_tenant(request: Request, gateway: Here, caller: Admin) -> Response:
    """The tenant is known. 409 if it was known before: change it with PATCH; or if tenants cannot be kept apart here."""
    wanted = await read_json(request, _TENANT, gateway.settings)
    await gateway.catalog.run_once()
    if wanted.id in gateway.catalog.tenants:
        raise Problem(TENANT_EXISTS, f"There is a tenant {wanted.id!r}; change it with PATCH /v1/tenants/{wanted.id}.")
    if gateway.settings.tenant_alone:
        raise Problem(TENANTS_NOT_APART, gateway.settings.tenant_alone)
    default = Tenant(TenantId(wanted.id))
    said = {name: value for name, value in said_of(wanted, "tenant").items() if name != "id"}
    return await _put_tenant(gateway, changed(default, default, said), 201)


@routes.get("/tenants/{id}", **documented({200: TenantView}, (404,)))
async def get_tenant(gateway: Here, caller: Admin, id: str) -> Response:
    """One tenant."""
    return json_answer(tenant_view(await _tenant(gateway, id)))


@routes.patch("/tenants/{id}", **documented({200: TenantView}, (400, 404, 413, 415), body=TenantPatch))
async def change_tenant(request: Request, gateway: Here, caller: Admin, id: str) -> Response:
    """The tenant has the values given; those not given stay."""
    patch = await read_json(request, _TENANT_PATCH, gateway.settings)
    said = said_of(patch, "tenant")
    async with gateway.catalog.changing:
        before = await _tenant(gateway, id)
        return await _put_tenant(gateway, changed(before, Tenant(before.id), said), 200)


async def _tenant(gateway: Gateway, tenant_id: str) -> Tenant:
    await gateway.catalog.run_once()
    tenant = gateway.catalog.tenants.get(TenantId(tenant_id))
    if tenant is None:
        raise Problem(TENANT_NOT_FOUND, f"There is no tenant {tenant_id[:200]!r}.")
    return tenant


async def _put_tenant(gateway: Gateway, tenant: Tenant, status: int) -> Response:
    await gateway.dispatcher.put_tenant(tenant)
    await gateway.catalog.run_once()
    return json_answer(tenant_view(tenant), status)


@routes.get("/keys", **documented({200: KeysView}))
async def list_keys(gateway: Here, caller: Admin) -> Response:
    """All keys, the oldest first, without their secrets."""
    await gateway.catalog.run_once()
    keys = sorted(gateway.catalog.keys.values(), key=lambda key: (key.created_ms, key.id))
    return json_answer(KeysView([key_view(key) for key in keys]))


@routes.post("/keys", **documented({201: KeyView}, (400, 413, 415), body=KeyRequest))
async def create_key(request: Request, gateway: Here, caller: Admin) -> Response:
    """A new key; this answer is the only one that ever holds its secret."""
    wanted = await read_json(request, _KEY, gateway.settings)
    await gateway.catalog.run_once()
    tenant = caller.key.tenant if wanted.tenant is None else TenantId(wanted.tenant)
    if tenant not in gateway.catalog.tenants:
        raise Problem(UNKNOWN_TENANT, f"There is no tenant {tenant!r}; make it with POST /v1/tenants.")
    secret = new_secret()
    scopes = tuple(dict.fromkeys(wanted.scopes))
    key = ApiKey(key_id(secret), tenant, scopes, hash_secret(secret), wanted.name, gateway.now_ms())
    return await _put_key(gateway, key, 201, secret)


@routes.delete("/keys/{id}", **documented({200: KeyView}, (404, 409)))
async def revoke_key(gateway: Here, caller: Admin, id: str) -> Response:
    """The key is refused from now on, by other gateways a moment later."""
    await gateway.catalog.run_once()
    key = gateway.catalog.keys.get(id)
    if key is None:
        raise Problem(KEY_NOT_FOUND, f"There is no key {id[:200]!r}.")
    if key.id == caller.key.id:
        raise Problem(KEY_IN_USE, "Revoke it with another admin key, so that one is left.")
    return await _put_key(gateway, msgspec.structs.replace(key, revoked=True), 200)


async def _put_key(gateway: Gateway, key: ApiKey, status: int, secret: str | UnsetType = UNSET) -> Response:
    await gateway.dispatcher.put_key(key)
    await gateway.catalog.run_once()
    return json_answer(key_view(key, secret), status)
