"""Functions, the cluster, health, headers, the OpenAPI document, and what happens when something breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import httpx
import jsonschema_rs
import msgspec
import pytest
from msgspec.structs import replace

from helpers.large import values_of
from taskservice.actors.ports import DispatcherPort
from taskservice.core.types import TaskState
from taskservice.errors import BackOffError, ServiceBug
from taskservice.gateway.app import create_app
from taskservice.gateway.history import NoHistory

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

ANYTHING = {"id": "t", "function": "media.echo"}


async def test_functions_are_shown_with_schema_and_limits_but_not_their_code(service: Service) -> None:
    """By name."""
    body = (await service.client().get("/v1/functions")).json()
    assert [one["name"] for one in body["functions"]] == ["media.echo", "media.thumbnail"]
    response = await service.client().get("/v1/functions/media.thumbnail")
    shown = response.json()
    assert shown == body["functions"][1]
    assert (shown["doc"], shown["payload_schema"]["required"]) == ("Makes it small.", ["url"])
    assert (shown["timeout_s"], shown["retry"]["max_s"], shown["resources"]["cpus"]) == (600.0, 300.0, 1.0)
    assert "/srv" not in response.text


async def test_an_unknown_function_is_a_404(service: Service) -> None:
    """Here it is the resource itself."""
    response = await service.client().get("/v1/functions/none")
    assert (response.status_code, response.json()["code"]) == (404, "function_not_found")


async def test_the_cluster_shows_the_machines_to_admins_only(service: Service) -> None:
    """Others see the counts of their own tenant."""
    await service.submit("b")
    await service.start("b")
    await service.submit("a")
    await service.submit("c", owner="rival")
    mine = (await service.client().get("/v1/cluster")).json()
    assert mine == {
        "epoch": 1,
        "counts": dict.fromkeys(TaskState, 0) | {"queued": 1, "running": 1},
        "functions": {"media.echo": {"queued": 1, "running": 1}},
        "runners": [],
        "deadlines": {},
        "machines": [],
        "places": [],
    }
    everything = (await service.client("admin").get("/v1/cluster")).json()
    assert (everything["counts"]["queued"], everything["counts"]["running"]) == (2, 1)
    runner = {"id": "runner-0", "node": "node-1", "cpus": 1.0, "cpus_used": 1.0, "leases": 1, "draining": True}
    assert everything["runners"] == [runner]


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v1/tasks/", "/docs", "/redoc", "/v1/tasks/a/b", "//v1/tasks"]
)
async def test_what_is_not_there_is_a_problem_document(service: Service, path: str) -> None:
    """404 without a redirect."""
    response = await service.client().get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_a_method_that_is_not_offered_is_a_problem_document(service: Service) -> None:
    """405 that says which are."""
    response = await service.client().put("/v1/tasks/t/cancel")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/tasks", "/healthz", "/v1/nothing", "/openapi.json"])
async def test_every_answer_is_neither_guessed_at_nor_cached(service: Service, path: str) -> None:
    """Errors as well; and no other site may read them."""
    response = await httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app), base_url="http://gateway", headers={"origin": "http://evil"}
    ).get(path)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert not any(name.startswith("access-control") for name in response.headers)


async def test_a_dispatcher_that_cannot_answer_is_a_503(service: Service) -> None:
    """With Retry-After, rounded up to whole seconds, and the dispatcher's words."""
    service.dispatcher.failure = BackOffError("The shard is starting.", retry_after_s=2.2, code="starting")
    for request in (("POST", "/v1/tasks"), ("GET", "/v1/tasks/t"), ("GET", "/v1/tasks"), ("GET", "/v1/cluster")):
        response = await service.client().request(*request, json=ANYTHING)
        assert (response.status_code, response.headers["retry-after"]) == (503, "3")
        assert (response.json()["code"], response.json()["detail"]) == ("starting", "The shard is starting.")


async def test_a_dispatcher_may_also_ask_for_patience(service: Service) -> None:
    """429, as it says."""
    service.dispatcher.failure = BackOffError("Too fast.", retry_after_s=0.1, code="slow_down", status=429)
    response = await service.client().post("/v1/tasks", json=ANYTHING)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")


async def test_nobody_is_told_that_a_key_is_invalid_while_nobody_can_know(service: Service) -> None:
    """503, not 401: the client would throw its key away."""
    service.dispatcher.failure = BackOffError("The shard is starting.")
    response = await service.client(secret="tsk_never_seen").get("/v1/tasks")
    assert (response.status_code, response.json()["code"]) == (503, "service_unavailable")


@pytest.mark.parametrize("failure", [RuntimeError("the secret is 42"), ServiceBug("Impossible.", code="impossible")])
async def test_a_bug_is_a_500_that_tells_nothing_of_the_inside(service: Service, failure: Exception) -> None:
    """But what the service says of itself."""
    service.dispatcher.failure = failure
    response = await service.client().post("/v1/tasks", json=ANYTHING)
    assert response.status_code == 500
    assert "42" not in response.text
    assert "Traceback" not in response.text
    assert (response.headers["x-content-type-options"], response.headers["cache-control"]) == ("nosniff", "no-store")
    assert response.json()["code"] == ("impossible" if isinstance(failure, ServiceBug) else "internal_error")


async def test_a_schema_that_cannot_be_used_is_ours_to_repair(service: Service) -> None:
    """500, and a schema that refers elsewhere is not fetched."""
    echo = await service.function("media.echo")
    for schema in (b'{"type":"nonsense"}', b"not json", b'{"$ref":"http://example.invalid/schema.json"}'):
        await service.dispatcher.inner.register([replace(echo, payload_schema=schema)])
        await service.app.state.gateway.catalog.run_once()
        response = await service.client().post("/v1/tasks", json=ANYTHING)
        assert (response.status_code, response.json()["code"]) == (500, "bad_schema")


async def test_a_function_deployed_again_is_checked_by_its_new_schema(service: Service) -> None:
    """The old validator is not kept."""
    client = service.client()
    assert (await client.post("/v1/tasks", json=ANYTHING)).status_code == 202
    echo = await service.function("media.echo")
    await service.dispatcher.inner.register([replace(echo, payload_schema=b'{"type":"array"}')])
    await service.app.state.gateway.catalog.run_once()
    assert (await client.post("/v1/tasks", json=ANYTHING)).json()["code"] == "payload_invalid"


async def test_a_gateway_starts_before_its_dispatcher_does(service: Service) -> None:
    """It answers, but is not ready until it has heard of its catalog."""
    service.dispatcher.failure = BackOffError("The shard is starting.", retry_after_s=60)
    port = cast(DispatcherPort, service.dispatcher)
    values = values_of(service.objects)
    app = create_app(port, service.settings, service.logs, values, NoHistory(), clock_s=lambda: service.seconds[0])
    async with app.router.lifespan_context(app):
        service.app, old_app = app, service.app
        client = service.client()
        assert (await client.get("/healthz")).status_code == 200
        readyz = await client.get("/readyz")
        assert (readyz.status_code, readyz.json()["code"], readyz.headers["retry-after"]) == (503, "not_ready", "1")
        assert (await client.get("/v1/tasks")).status_code == 503
        service.dispatcher.failure = None
        assert (await client.get("/v1/tasks")).status_code == 503  # asked less than a second ago
        service.seconds[0] += 1.0
        assert (await client.get("/v1/tasks")).status_code == 200
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        service.app = old_app


async def test_not_ready_while_the_dispatcher_does_not_answer(service: Service) -> None:
    """It was ready before, and is again."""
    catalog, client = service.app.state.gateway.catalog, service.client()
    assert (await client.get("/readyz")).status_code == 200
    service.dispatcher.failure = BackOffError("gone")
    with pytest.raises(BackOffError):
        await catalog.run_once()
    assert (await client.get("/readyz")).status_code == 503
    service.dispatcher.failure = None
    assert await catalog.run_once() == 0
    assert (await client.get("/readyz")).status_code == 200


async def test_the_openapi_document_is_complete(service: Service) -> None:
    """Every reference leads somewhere, and every route says what it takes and answers."""
    document = (await service.client(None).get("/openapi.json")).json()
    assert document == msgspec.json.decode(msgspec.json.encode(service.app.openapi()))
    text = msgspec.json.encode(document).decode()
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(schemas)
    for schema in schemas.values():
        jsonschema_rs.validator_for({**schema, "components": document["components"]})
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"]
            assert ("requestBody" in operation) == (
                method in ("post", "patch")
                and not path.endswith(
                    ("{id}/cancel", "{id}/retry", "/deliveries/retry", "/callbacks/secret", "/promote")
                )
            )
            for status, response in operation["responses"].items():
                kinds = set(response["content"])
                assert (kinds == {"application/problem+json"}) == (int(status) >= 400)


@pytest.mark.parametrize(
    ("model", "body", "valid"),
    [
        ("SubmitRequest", ANYTHING | {"delay": "5m", "tags": {"a": "b"}, "on_conflict": "reject"}, True),
        ("SubmitRequest", ANYTHING | {"payload": {}, "priority": None, "run_at": 5}, True),
        ("SubmitRequest", ANYTHING | {"prioritiy": "high"}, False),
        ("SubmitRequest", ANYTHING | {"id": "a b"}, False),
        ("SubmitRequest", ANYTHING | {"on_conflict": "again"}, False),
        ("BatchRequest", {"tasks": [{}]}, True),
        ("TenantRequest", {"id": "Upper"}, False),
        ("KeyRequest", {"scopes": ["read"]}, True),
        ("KeyRequest", {"scopes": ["root"]}, False),
    ],
)
async def test_the_document_describes_what_is_accepted(
    service: Service, model: str, body: dict[str, object], valid: bool
) -> None:
    """The structs and their schemas agree."""
    document = service.app.openapi()
    schema = {"$ref": f"#/components/schemas/{model}", "components": document["components"]}
    assert jsonschema_rs.validator_for(schema).is_valid(body) == valid
