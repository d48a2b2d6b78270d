"""What operators change while the service runs: functions, downstreams, classes, tenants; durable, and by one rule: absent stays,
null is the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, Quota, Rate
from taskservice.core.types import FunctionName, Priority, TenantId

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

ECHO = FunctionName("media.echo")


async def test_a_function_is_paused_bounded_and_let_go_again(service: Service) -> None:
    """What a change does not name stays; null is what the function says itself."""
    admin = service.client("admin")
    path = "/v1/functions/media.echo"
    quota = {"reserved": {"cpus": 1}, "maximum": {"cpus": 4, "gpus": 1, "memory": "8GiB", "licence": 2}}
    body = {"paused": True, "rate": "30/m burst 5", "max_running": 9, "quota": quota}
    changed = (await admin.patch(path, json=body)).json()
    assert (changed["paused"], changed["rate"], changed["max_running"]) == (True, {"per_s": 0.5, "burst": 5}, 9)
    assert changed["quota"] == {
        "reserved": {"cpus": 1.0}, "maximum": {"cpus": 4.0, "gpus": 1.0, "memory": 8 << 30, "licence": 2.0},
    }  # fmt: skip
    assert changed["set_by_operator"] == ["paused", "rate", "max_running", "quota"]
    stored = Quota((("CPU", 1000),), (("CPU", 4000), ("GPU", 1000), ("licence", 2000), ("memory", 8 << 30)))
    assert (await service.catalog()).policies == (FunctionPolicy(ECHO, True, Rate(0.5, 5), 9, stored),)
    again = (await admin.patch(path, json={"rate": changed["rate"], "quota": changed["quota"]})).json()
    assert again == changed, "what is shown can be sent back"
    changed = (await admin.patch(path, json={"paused": None, "rate": None, "quota": None})).json()
    assert (changed["paused"], changed["rate"], changed["max_running"]) == (False, None, 9)
    assert changed["set_by_operator"] == ["max_running"]
    assert (await service.client().get(path)).json() == changed
    assert changed in (await service.client().get("/v1/functions")).json()["functions"]


async def test_a_downstream_is_bounded_and_frozen(service: Service) -> None:
    """Under its name, or under that of a function that has none."""
    admin = service.client("admin")
    assert (await admin.get("/v1/downstreams")).json() == {"downstreams": []}
    shown = (await admin.patch("/v1/downstreams/media.echo", json={"ceiling": 50, "frozen": 7})).json()
    assert (shown["ceiling"], shown["frozen"], shown["functions"]) == (50, 7, ["media.echo"])
    assert (await service.catalog()).policies == (DownstreamPolicy("media.echo", 50, 7),)
    await service.submit("mine")
    await service.start("mine")
    window = (await admin.get("/v1/downstreams/media.echo")).json()["window"]
    assert (window["limit"], window["ceiling"], window["in_flight"]) == (7, 50, 1)
    thawed = (await admin.patch("/v1/downstreams/media.echo", json={"frozen": None})).json()
    assert (thawed["ceiling"], thawed["frozen"]) == (50, None)
    assert [change["why"] for change in thawed["window"]["changes"]] == ["new", "frozen", "thawed"]
    assert [one["name"] for one in (await admin.get("/v1/downstreams")).json()["downstreams"]] == ["media.echo"]


async def test_a_class_has_another_weight_and_gets_its_own_back(service: Service) -> None:
    """By default each class weighs twice the one below."""
    admin = service.client("admin")
    listed = (await admin.get("/v1/classes")).json()["classes"]
    assert [(one["name"], one["weight"]) for one in listed] == [
        ("critical", 16.0), ("high", 8.0), ("normal", 4.0), ("low", 2.0), ("batch", 1.0),
    ]  # fmt: skip
    changed = (await admin.patch("/v1/classes/low", json={"weight": 3, "quota": {"maximum": {"cpus": 2}}})).json()
    assert (changed["weight"], changed["set_by_operator"]) == (3.0, ["weight", "quota"])
    assert (await service.catalog()).policies == (ClassPolicy(Priority.LOW, 3.0, Quota((), (("CPU", 2000),))),)
    changed = (await admin.patch("/v1/classes/low", json={"weight": None})).json()
    assert (changed["weight"], changed["quota"]["maximum"]) == (2.0, {"cpus": 2.0})


async def test_a_tenant_has_rates_and_a_quota(service: Service) -> None:
    """Made with them or given them later; null takes them away."""
    admin = service.client("admin")
    body = {"id": "newco", "rate": "100/s", "submit_rate": {"per_s": 5, "burst": 50}, "quota": {"maximum": {"cpus": 8}}}
    made = (await admin.post("/v1/tenants", json=body)).json()
    assert (made["rate"], made["submit_rate"]) == ({"per_s": 100.0, "burst": 100}, {"per_s": 5.0, "burst": 50})
    assert made["quota"]["maximum"] == {"cpus": 8.0}
    changed = (await admin.patch("/v1/tenants/newco", json={"rate": None, "weight": None})).json()
    assert changed == {**made, "rate": None, "weight": 1.0}
    stored = {tenant.id: tenant for tenant in (await service.catalog()).tenants}[TenantId("newco")]
    assert (stored.rate, stored.submit_rate) == (None, Rate(5.0, 50))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("functions/media.echo", {"rate": "fast"}),
        ("functions/media.echo", {"rate": "0/s"}),
        ("functions/media.echo", {"rate": "9/s burst 0"}),
        ("functions/media.echo", {"rate": {"per_s": 1e12}}),
        ("functions/media.echo", {"rate": {"burst": 5}}),
        ("functions/media.echo", {"rate": 5}),
        ("functions/media.echo", {"max_running": -1}),
        ("functions/media.echo", {"quota": {"maximum": {"cpus": -1}}}),
        ("functions/media.echo", {"quota": {"maximum": {"cpus": "NaN"}}}),
        ("functions/media.echo", {"quota": {"maximum": {"memory": "8 elephants"}}}),
        ("functions/media.echo", {"quota": {"reserved": {"cpus": 5}, "maximum": {"cpus": 4}}}),
        ("functions/media.echo", {"quota": {"maximum": {"": 4}}}),
        ("functions/media.echo", {"weight": 4}),
        ("functions/media.echo", {"paused": "yes"}),
        ("downstreams/media.echo", {"ceiling": 0}),
        ("downstreams/media.echo", {"frozen": -1}),
        ("classes/low", {"weight": 0}),
        ("tenants/acme", {"rate": "100"}),
    ],
)
async def test_a_setting_that_makes_no_sense_is_refused(service: Service, path: str, body: dict[str, object]) -> None:
    """422, and nothing is changed."""
    response = await service.client("admin").patch(f"/v1/{path}", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), response.text
    assert service.dispatcher.calls["put_policy"] == service.dispatcher.calls["put_tenant"] == 0


async def test_an_amount_that_is_no_number_is_named(service: Service) -> None:
    """In the words of whoever said it, not in those of Python."""
    body = {"quota": {"maximum": {"cpus": "many"}}}
    response = await service.client("admin").patch("/v1/functions/media.echo", json=body)
    assert response.json()["detail"] == "$.quota.maximum.cpus: 'many' is not a number"


@pytest.mark.parametrize("path", ["functions/none", "downstreams/none", "classes/none"])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_what_is_not_there_cannot_be_changed(service: Service, method: str, path: str) -> None:
    """404 that says what."""
    response = await service.client("admin").request(method, f"/v1/{path}", content=b"{}")
    assert response.status_code == 404
    assert response.json()["code"] == {"f": "function", "d": "downstream", "c": "class"}[path[0]] + "_not_found"


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"user": "ann"}, "ann"),
        ({"user": 5}, "5"),
        ({"user": 5.0}, "5"),
        ({"user": "5"}, "5"),
        ({"user": True}, "true"),
        ({"user": {"b": 1, "a": 2}}, '{"a":2,"b":1}'),
        ({"user": None}, None),
        ({}, "nobody"),
    ],
)
async def test_a_tasks_key_is_the_value_of_the_parameter_that_its_function_names(
    service: Service, payload: dict[str, object], key: str | None
) -> None:
    """Its default where it is not given; none for null."""
    await keyed(service)
    await service.submit("mine", payload=payload)
    assert (await service.client().get("/v1/tasks/mine")).json().get("key") == key


async def test_a_long_key_is_cut_and_stays_apart_from_others(service: Service) -> None:
    """By a digest; and a key that the caller says comes first."""
    await keyed(service)
    await service.submit("one", payload={"user": "x" * 150})
    await service.submit("two", payload={"user": "x" * 149 + "y"})
    await service.submit("said", payload={"user": "ann"}, key="mine")
    keys = {id: (await service.client().get(f"/v1/tasks/{id}")).json()["key"] for id in ("one", "two", "said")}
    assert keys["said"] == "mine"
    assert keys["one"] != keys["two"]
    assert all(len(key) <= 120 for key in keys.values())


async def keyed(service: Service) -> None:
    """The function counts its running tasks by `user`."""
    spec = await service.function("media.echo")
    schema = b'{"properties": {"user": {"default": "nobody"}}}'
    await service.dispatcher.inner.register([replace(spec, payload_schema=schema, key="user", key_max_running=2)])
    await service.app.state.gateway.catalog.run_once()
