"""Tenants and keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from taskservice.core.specs import Tenant
from taskservice.core.types import TenantId
from taskservice.gateway.keys import hash_secret

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


async def test_a_tenant_is_made_shown_and_changed(service: Service) -> None:
    """What a change does not name stays; null takes a limit away."""
    admin = service.client("admin")
    made = await admin.post("/v1/tenants", json={"id": "newco", "weight": 2.5, "queued_max": 10, "running_max": 3})
    expected = {
        "id": "newco", "weight": 2.5, "queued_max": 10, "running_max": 3, "rate": None, "submit_rate": None,
        "quota": {"reserved": {}, "maximum": {}},
    }  # fmt: skip
    assert (made.status_code, made.json()) == (201, expected)
    assert (await admin.get("/v1/tenants/newco")).json() == expected
    changed = await admin.patch("/v1/tenants/newco", json={"weight": 1, "queued_max": None})
    assert (changed.status_code, changed.json()) == (200, expected | {"weight": 1.0, "queued_max": None})
    assert Tenant(TenantId("newco"), 1.0, None, 3) in (await service.catalog()).tenants
    listed = (await admin.get("/v1/tenants")).json()["tenants"]
    assert [tenant["id"] for tenant in listed] == ["acme", "default", "newco", "rival"]


async def test_a_tenant_is_not_made_twice(service: Service) -> None:
    """409: its limits would be lost."""
    response = await service.client("admin").post("/v1/tenants", json={"id": "acme"})
    assert (response.status_code, response.json()["code"]) == (409, "tenant_exists")
    assert service.dispatcher.calls["put_tenant"] == 0


async def test_a_second_tenant_is_refused_where_two_cannot_be_kept_apart(service: Service) -> None:
    """With the setting that allows it named, as a problem document. What there is goes on."""
    gateway = service.app.state.gateway
    told = "It runs as user 1000. Set tenant_users: shared."
    service.app.state.gateway = replace(gateway, settings=replace(gateway.settings, tenant_alone=told))
    admin = service.client("admin")
    refused = await admin.post("/v1/tenants", json={"id": "newco"})
    assert refused.status_code == 409
    assert [refused.json()[name] for name in ("code", "limit", "detail")] == ["tenants_not_apart", "tenant_users", told]
    assert service.dispatcher.calls["put_tenant"] == 0
    assert (await admin.patch("/v1/tenants/acme", json={"weight": 2})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_an_unknown_tenant_is_a_404(service: Service, method: str) -> None:
    """It is not made by being changed."""
    response = await service.client("admin").request(method, "/v1/tenants/none", content=b"{}")
    assert (response.status_code, response.json()["code"]) == (404, "tenant_not_found")
    assert service.dispatcher.calls["put_tenant"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": ""},
        {"id": "*"},
        {"id": "Upper"},
        {"id": "a/b"},
        {"id": "a\n"},
        {"id": "x" * 64},
        {"id": "a", "weight": 0},
        {"id": "a", "weight": -1},
        {"id": "a", "weight": 1e9},
        {"id": "a", "weight": "1"},
        {"id": "a", "queued_max": -1},
        {"id": "a", "running_max": 1.5},
        {"id": "a", "wieght": 1},
    ],
)
async def test_a_tenant_that_makes_no_sense_is_refused(service: Service, body: dict[str, object]) -> None:
    """422."""
    response = await service.client("admin").post("/v1/tenants", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert service.dispatcher.calls["put_tenant"] == 0


async def test_a_key_is_made_works_and_is_revoked(service: Service) -> None:
    """Its secret is shown once and kept nowhere."""
    admin = service.client("admin")
    made = await admin.post("/v1/keys", json={"tenant": "rival", "scopes": ["read", "submit", "read"], "name": "ci"})
    body = made.json()
    secret = body.pop("secret")
    expected = {
        "id": body["id"],
        "tenant": "rival",
        "scopes": ["read", "submit"],
        "name": "ci",
        "created_at": "2030-03-17T17:46:40.000Z",
        "revoked": False,
    }
    assert (made.status_code, body) == (201, expected)
    stored = await service.key("ci")
    assert stored.secret_sha256 == hash_secret(secret)
    assert secret not in repr(stored)
    listing = await admin.get("/v1/keys")
    assert secret not in listing.text
    assert expected in listing.json()["keys"]

    assert (await service.client(secret=secret).get("/v1/tasks")).status_code == 200
    revoked = await admin.delete(f"/v1/keys/{body['id']}")
    assert (revoked.status_code, revoked.json()) == (200, expected | {"revoked": True})
    assert (await service.client(secret=secret).get("/v1/tasks")).status_code == 401
    assert (await admin.delete(f"/v1/keys/{body['id']}")).json() == expected | {"revoked": True}


async def test_a_key_is_of_the_admins_tenant_unless_another_is_named(service: Service) -> None:
    """And never of one that is not there."""
    admin = service.client("admin")
    assert (await admin.post("/v1/keys", json={"scopes": ["read"]})).json()["tenant"] == "acme"
    response = await admin.post("/v1/keys", json={"scopes": ["read"], "tenant": "none"})
    assert (response.status_code, response.json()["code"]) == (422, "unknown_tenant")


@pytest.mark.parametrize(
    "body",
    [{}, {"scopes": []}, {"scopes": ["root"]}, {"scopes": "read"}, {"scopes": ["read"], "name": "x" * 201},
     {"scopes": ["read"], "secret": "tsk_mine"}, {"scopes": ["read"] * 17}],
)  # fmt: skip
async def test_a_key_that_makes_no_sense_is_refused(service: Service, body: dict[str, object]) -> None:
    """422."""
    response = await service.client("admin").post("/v1/keys", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert service.dispatcher.calls["put_key"] == 0


async def test_a_key_cannot_revoke_itself(service: Service) -> None:
    """Or the last admin could lock everybody out."""
    own = await service.key("admin")
    response = await service.client("admin").delete(f"/v1/keys/{own.id}")
    assert (response.status_code, response.json()["code"]) == (409, "key_in_use")
    assert not (await service.key("admin")).revoked


async def test_an_unknown_key_is_a_404(service: Service) -> None:
    """Nothing is revoked."""
    response = await service.client("admin").delete("/v1/keys/key_none")
    assert (response.status_code, response.json()["code"]) == (404, "key_not_found")
