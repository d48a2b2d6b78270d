"""Who may do what: keys, scopes and tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.routing import APIRoute
from msgspec.structs import replace

from taskservice.core.operations import OperationKind
from taskservice.core.specs import ApiKey
from taskservice.core.types import TenantId
from taskservice.gateway.app import ROUTERS
from taskservice.gateway.keys import hash_secret, key_id, new_secret

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

SCOPE_OF = {
    ("POST", "/v1/tasks"): "submit",
    ("POST", "/v1/tasks/batch"): "submit",
    ("GET", "/v1/tasks"): "read",
    ("GET", "/v1/tasks/{id}"): "read",
    ("GET", "/v1/tasks/{id}/result"): "read",
    ("GET", "/v1/tasks/{id}/logs"): "read",
    ("GET", "/v1/functions"): "read",
    ("GET", "/v1/functions/{name}"): "read",
    ("GET", "/v1/cluster"): "read",
    ("GET", "/v1/dead-letters"): "read",
    ("POST", "/v1/dead-letters/retry"): "operate",
    ("GET", "/metrics"): "metrics",
    ("GET", "/v1/tasks/{id}/why"): "read",
    ("GET", "/v1/tasks/{id}/timeline"): "read",
    ("GET", "/v1/usage"): "read",
    ("GET", "/v1/tasks/{id}/deliveries"): "read",
    ("POST", "/v1/tasks/{id}/deliveries/retry"): "operate",
    ("GET", "/v1/callbacks/endpoints"): "read",
    ("POST", "/v1/callbacks/endpoints/enable"): "operate",
    ("POST", "/v1/callbacks/secret"): "operate",
    ("PATCH", "/v1/functions/{name}"): "admin",
    ("GET", "/v1/downstreams"): "read",
    ("GET", "/v1/downstreams/{name}"): "read",
    ("PATCH", "/v1/downstreams/{name}"): "admin",
    ("GET", "/v1/classes"): "read",
    ("GET", "/v1/classes/{priority}"): "read",
    ("PATCH", "/v1/classes/{priority}"): "admin",
    ("POST", "/v1/tasks/{id}/cancel"): "operate",
    ("POST", "/v1/tasks/{id}/retry"): "operate",
    **{("POST", f"/v1/tasks/{kind}"): "operate" for kind in OperationKind},
    ("GET", "/v1/operations/{id}"): "read",
    ("POST", "/v1/schedules"): "submit",
    ("GET", "/v1/schedules"): "read",
    ("GET", "/v1/schedules/{id}"): "read",
    ("PATCH", "/v1/schedules/{id}"): "operate",
    ("DELETE", "/v1/schedules/{id}"): "operate",
    ("POST", "/v1/events"): "submit",
    ("POST", "/v1/triggers"): "operate",
    ("GET", "/v1/triggers"): "read",
    ("GET", "/v1/triggers/{id}"): "read",
    ("DELETE", "/v1/triggers/{id}"): "operate",
    ("GET", "/v1/tenants"): "admin",
    ("POST", "/v1/tenants"): "admin",
    ("GET", "/v1/tenants/{id}"): "admin",
    ("PATCH", "/v1/tenants/{id}"): "admin",
    ("GET", "/v1/keys"): "admin",
    ("POST", "/v1/keys"): "admin",
    ("DELETE", "/v1/keys/{id}"): "admin",
    ("POST", "/v1/apps"): "admin",
    ("GET", "/v1/apps"): "admin",
    ("GET", "/v1/apps/{app}"): "admin",
    ("POST", "/v1/apps/{app}/promote"): "admin",
    ("POST", "/v1/apps/{app}/rollback"): "admin",
}
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
TASK_ROUTES = [
    ("GET", "/v1/tasks/mine"),
    ("GET", "/v1/tasks/mine/result"),
    ("GET", "/v1/tasks/mine/logs"),
    ("GET", "/v1/tasks/mine/why"),
    ("GET", "/v1/tasks/mine/timeline"),
    ("POST", "/v1/tasks/mine/cancel"),
    ("POST", "/v1/tasks/mine/retry"),
]


def test_every_route_is_in_the_table() -> None:
    """A route without a line in `SCOPE_OF` would go untested."""
    found = {
        (method, route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert found == SCOPE_OF.keys() | OPEN
    assert all(isinstance(route, APIRoute) for router in ROUTERS for route in router.routes)


async def test_every_route_is_documented_with_its_scope(service: Service) -> None:
    """The OpenAPI document says the same as the table."""
    paths = service.app.openapi()["paths"]
    told = {
        (method.upper(), path): operation.get("security")
        for path, item in paths.items()
        for method, operation in item.items()
    }
    assert told == {key: [{"HTTPBearer": [scope]}] for key, scope in SCOPE_OF.items()} | dict.fromkeys(OPEN)


@pytest.mark.parametrize(("method", "path"), sorted(SCOPE_OF))
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer tsk_unknown", "Basic dXNlcjpwdw==", "tsk_admin", "Bearer \xff"]
)
async def test_without_a_valid_key_nothing_answers(
    service: Service, method: str, path: str, header: str | None
) -> None:
    """401, and the dispatcher is asked for nothing but its catalog."""
    client = service.client(None)
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    response = await client.request(method, path, content=b"{}", headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json()["code"] == "invalid_key"
    assert set(service.dispatcher.calls) == {"catalog"}


@pytest.mark.parametrize(("method", "path"), sorted(SCOPE_OF))
@pytest.mark.parametrize("owner", ["submit", "read", "operate", "admin"])
async def test_a_key_does_what_its_scope_says_and_no_more(service: Service, method: str, path: str, owner: str) -> None:
    """403 that names the scope; admin includes all of them."""
    response = await service.client(owner).request(method, path, content=b"{}")
    if owner in ("admin", SCOPE_OF[method, path]):
        assert response.status_code not in {401, 403}
    else:
        assert (response.status_code, response.json()["code"]) == (403, "missing_scope")
        assert repr(SCOPE_OF[method, path]) in response.json()["detail"]
        assert set(service.dispatcher.calls) == {"catalog"}


@pytest.mark.parametrize(("method", "path"), sorted(OPEN))
async def test_health_wants_no_key(service: Service, method: str, path: str) -> None:
    """Load balancers have none."""
    assert (await service.client(None).request(method, path)).status_code == 200


@pytest.mark.parametrize(("method", "path"), TASK_ROUTES)
async def test_another_tenants_task_does_not_exist(service: Service, method: str, path: str) -> None:
    """404, with the same words as for a task that nobody has."""
    await service.submit("mine")
    rival = service.client("rival")
    foreign = await rival.request(method, path)
    nobodys = await rival.request(method, path.replace("mine", "none"))
    assert (foreign.status_code, nobodys.status_code) == (404, 404)
    assert foreign.text.replace("mine", "none") == nobodys.text


async def test_another_tenants_tasks_are_neither_listed_nor_counted_nor_cancelled(service: Service) -> None:
    """And the same id can be a task of each tenant."""
    await service.submit("mine")
    rival = service.client("rival")
    assert (await rival.get("/v1/tasks")).json()["tasks"] == []
    assert not any((await rival.get("/v1/cluster")).json()["counts"].values())
    cancelled = (await rival.post("/v1/tasks/cancel", json={"ids": ["mine"]})).json()
    assert (cancelled["cancelled"], cancelled["results"][0]["error"]["code"]) == (0, "task_not_found")
    await service.submit("mine", owner="rival", payload={"x": "theirs"})
    assert (await service.client().get("/v1/tasks/mine")).json()["payload"] == {}


@pytest.mark.parametrize(("method", "path"), [*TASK_ROUTES, ("GET", "/v1/tasks"), ("POST", "/v1/tasks/cancel")])
@pytest.mark.parametrize("tenant", ["acme", "rival", "*", ""])
async def test_only_admins_may_name_a_tenant(service: Service, method: str, path: str, tenant: str) -> None:
    """403, even for the own one."""
    response = await service.client().request(method, path, params={"tenant": tenant}, content=b"{}")
    assert (response.status_code, response.json()["code"]) == (403, "tenant_forbidden")


async def test_an_admin_sees_any_tenant_that_it_names(service: Service) -> None:
    """And without a name, its own."""
    await service.submit("theirs", owner="rival")
    admin = service.client("admin")
    assert (await admin.get("/v1/tasks/theirs")).status_code == 404
    assert (await admin.get("/v1/tasks/theirs?tenant=rival")).json()["tenant"] == "rival"
    assert (await admin.get("/v1/tasks")).json()["tasks"] == []
    for tenant in ("rival", "*"):
        listed = (await admin.get("/v1/tasks", params={"tenant": tenant})).json()["tasks"]
        assert [task["id"] for task in listed] == ["theirs"]
    assert (await admin.post("/v1/tasks/theirs/cancel?tenant=rival")).json()["state"] == "cancelled"


async def test_a_key_made_elsewhere_works_at_once(service: Service) -> None:
    """The gateway asks before it says no."""
    secret = new_secret()
    await service.dispatcher.inner.put_key(ApiKey(key_id(secret), TenantId("acme"), ("read",), hash_secret(secret)))
    assert (await service.client(secret=secret).get("/v1/functions")).status_code == 200


async def test_a_key_revoked_elsewhere_is_refused_as_soon_as_the_catalog_says_so(service: Service) -> None:
    """401; `run_once` is what the background loop does."""
    await service.dispatcher.inner.put_key(replace(await service.key("user"), revoked=True))
    await service.app.state.gateway.catalog.run_once()
    assert (await service.client().get("/v1/tasks")).status_code == 401


async def test_unknown_keys_make_at_most_one_question_a_second(service: Service) -> None:
    """However many come: a flood of them is no flood for the dispatcher."""
    before = service.dispatcher.calls["catalog"]
    for _ in range(20):
        await service.client(secret=new_secret()).get("/v1/tasks")
    assert service.dispatcher.calls["catalog"] == before + 1
    service.seconds[0] += 1.0
    for _ in range(20):
        await service.client(secret=new_secret()).get("/v1/tasks")
    assert service.dispatcher.calls["catalog"] == before + 2


@pytest.mark.parametrize("secret", ["tsk_" + "x" * 200, "nonsense", "key_0123456789abcdef"])
async def test_what_cannot_be_a_secret_is_refused_without_a_question(service: Service, secret: str) -> None:
    """Not even one a second."""
    before = service.dispatcher.calls["catalog"]
    assert (await service.client(secret=secret).get("/v1/tasks")).status_code == 401
    assert service.dispatcher.calls["catalog"] == before


def test_secrets_are_long_random_and_never_the_id() -> None:
    """256 bits behind a prefix that scanners of leaked secrets can look for."""
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == len({key_id(secret) for secret in secrets}) == 100
    for secret in secrets:
        assert secret.startswith("tsk_")
        assert len(secret) == 4 + 43
        assert len(hash_secret(secret)) == 32
        assert key_id(secret).startswith("key_")
        assert len(key_id(secret)) == 20
        assert key_id(secret)[4:] not in hash_secret(secret).hex()
