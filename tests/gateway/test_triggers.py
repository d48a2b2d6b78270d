"""Triggers and events over HTTP: the documented example, duplicates, modes, buckets, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from helpers.reading import text
from taskservice.core.limits import Limits
from taskservice.core.restore import restore
from taskservice.core.specs import Rate, Tenant
from taskservice.core.types import TenantId
from taskservice.errors import BackOffError
from taskservice.gateway import events, triggers

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed", "data": {"n": 1}}
ORDERS = {"id": "orders", "function": "media.echo", "filter": {"type": "order.placed"}}
RECORD = {
    "eventName": "s3:ObjectCreated:Put",
    "eventTime": "2030-01-01T00:00:00Z",
    "s3": {"bucket": {"name": "b"}, "object": {"key": "in/a+b.png", "sequencer": "01"}},
}


async def test_the_documented_example_is_true(service: Service) -> None:
    """The first block is the trigger, the second the event, the third the answer; sent twice it makes one task."""
    trigger, event, answer = map(json.loads, re.findall(r"```json\n(.*?)```", text("docs/triggers.md"), re.DOTALL))
    client = service.client()
    assert (await client.post("/v1/triggers", json=trigger)).status_code == 201
    assert (await client.post("/v1/triggers", json=trigger)).status_code == 200
    first = await client.post("/v1/events", json=event, headers=STRUCTURED)
    assert first.json() == answer
    second = (await client.post("/v1/events", json=event, headers=STRUCTURED)).json()["events"][0]
    assert (second["tasks"], second["duplicates"]) == ([], answer["events"][0]["tasks"])
    (task,) = (await service.tasks()).values()
    assert json.loads(task.payload) == {"url": "http://x/7.png", "sizes": [64]}


async def test_each_mode_brings_the_same_event(service: Service) -> None:
    """Binary, structured and batched: one task, twice known."""
    client = service.client()
    await client.post("/v1/triggers", json=ORDERS)
    binary = {f"ce-{name}": value for name, value in EVENT.items() if name != "data"}
    answers = [
        await client.post("/v1/events", json=EVENT["data"], headers=binary),
        await client.post("/v1/events", json=EVENT, headers=STRUCTURED),
        await client.post("/v1/events", json=[EVENT], headers=BATCHED),
    ]
    assert [len(each.json()["events"][0]["duplicates"]) for each in answers] == [0, 1, 1]
    assert len(await service.tasks()) == 1


async def test_others_events_match_nothing_and_others_triggers_are_not_there(service: Service) -> None:
    await service.client().post("/v1/triggers", json=ORDERS)
    rival = service.client("rival")
    assert (await rival.post("/v1/events", json=EVENT, headers=STRUCTURED)).json()["events"][0]["matched"] == 0
    assert (await rival.get("/v1/triggers")).json()["triggers"] == []
    for method in ("GET", "DELETE"):
        assert (await rival.request(method, "/v1/triggers/orders")).status_code == 404
    assert (await service.client().delete("/v1/triggers/orders")).json()["filter"] == ORDERS["filter"]


ROUTES = [
    ("GET", "/v1/triggers"), ("GET", "/v1/triggers/{id}"), ("DELETE", "/v1/triggers/{id}"), ("POST", "/v1/triggers"),
    ("POST", "/v1/events"),
]  # fmt: skip


def test_every_route_is_tried_by_another_tenant() -> None:
    """One that is added has to be in `ROUTES`, and so in the test below."""
    found = {
        (method, each.path) for part in (triggers, events) for each in part.routes.routes for method in each.methods
    }
    assert found == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_on_each_route_another_tenants_trigger_does_not_exist(service: Service, method: str, path: str) -> None:
    """What is answered is what is answered where there is none; and it stays as it is."""
    rival, body = service.client("rival"), ORDERS if path == "/v1/triggers" else EVENT
    kind = {"content-type": "application/json"}
    before = await rival.request(method, path.replace("{id}", "orders"), json=body, headers=kind)
    if method == "POST":
        await rival.delete("/v1/triggers/orders")
    await service.client().post("/v1/triggers", json={**ORDERS, "payload": {"secret": "$.data.n"}})
    after = await rival.request(method, path.replace("{id}", "orders"), json=body, headers=kind)
    shown = after.json() | {"created_at": before.json().get("created_at")} if method == "POST" else after.json()
    assert (after.status_code, {**before.json(), **shown}) == (before.status_code, before.json() | shown)
    assert "secret" not in after.text
    kept = (await service.client().get("/v1/triggers/orders")).json()
    assert (kept["tenant"], kept["payload"]) == ("acme", {"secret": "$.data.n"})
    assert not any(task.tenant == "acme" for task in (await service.tasks()).values())


@pytest.mark.parametrize(("method", "path"), ROUTES[:3])
async def test_only_admins_may_name_a_tenant(service: Service, method: str, path: str) -> None:
    await service.client().post("/v1/triggers", json=ORDERS)
    path = path.replace("{id}", "orders")
    refused = await service.client("rival").request(method, path, params={"tenant": "acme"})
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_forbidden")
    assert (await service.client("admin").request(method, path, params={"tenant": "acme"})).status_code == 200


async def test_pages_follow_each_other(service: Service) -> None:
    client = service.client()
    for name in "cab":
        await client.post("/v1/triggers", json={**ORDERS, "id": name})
    first = (await client.get("/v1/triggers", params={"limit": 2})).json()
    second = (await client.get("/v1/triggers", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [each["id"] for each in first["triggers"] + second["triggers"]] == ["a", "b", "c"]
    assert second["next_cursor"] is None
    for params in ({"cursor": "x"}, {"cursor": "Zm9v"}, {"limit": 0}, {"limit": 99}):
        assert 400 <= (await client.get("/v1/triggers", params=params)).status_code < 500


async def test_an_event_is_known_by_its_source_and_id(service: Service) -> None:
    """Whatever else it brings the second time; and each of the two alone makes another event."""
    client = service.client()
    await client.post("/v1/triggers", json=ORDERS)
    came = [
        (await client.post("/v1/events", json={**EVENT, **change}, headers=STRUCTURED)).json()["events"][0]
        for change in ({}, {"data": {"n": 2}}, {"id": "2"}, {"source": "/other"})
    ]
    assert [(len(each["tasks"]), len(each["duplicates"]), each["refused"]) for each in came] == [
        (1, 0, []), (0, 1, []), (1, 0, []), (1, 0, []),
    ]  # fmt: skip
    assert came[1]["duplicates"] == came[0]["tasks"]
    twice = (await client.post("/v1/events", json=[{**EVENT, "id": "3"}] * 2, headers=BATCHED)).json()["events"]
    assert twice[1]["duplicates"] == twice[0]["tasks"]
    assert len(await service.tasks()) == 4


async def test_a_full_queue_asks_the_sender_to_come_back_and_only_what_is_missing_is_made(service: Service) -> None:
    """429 with Retry-After, the limit and its value, as any submit."""
    await service.dispatcher.inner.put_tenant(Tenant(TenantId("acme"), queued_max=1))
    client = service.client()
    await client.post("/v1/triggers", json=ORDERS)
    sent = [{**EVENT, "id": name} for name in "ab"]
    full = await client.post("/v1/events", json=sent, headers=BATCHED)
    assert (full.status_code, full.headers["retry-after"]) == (429, "1")
    assert (full.json()["limit"], full.json()["value"]) == ("queued_max", 1)
    assert len(await service.tasks()) == 1
    await service.dispatcher.inner.put_tenant(Tenant(TenantId("acme"), queued_max=2))
    first, second = (await client.post("/v1/events", json=sent, headers=BATCHED)).json()["events"]
    assert (len(first["duplicates"]), len(second["tasks"])) == (1, 1)


async def test_events_come_as_fast_as_may_be_submitted_and_no_faster(service: Service) -> None:
    """429 with the time until the next may come."""
    await service.dispatcher.inner.put_tenant(Tenant(TenantId("acme"), submit_rate=Rate(0.1, 1)))
    service.now_ms[0] += 60_000
    client = service.client()
    await client.post("/v1/triggers", json=ORDERS)
    assert (await client.post("/v1/events", json=EVENT, headers=STRUCTURED)).status_code == 200
    fast = await client.post("/v1/events", json={**EVENT, "id": "2"}, headers=STRUCTURED)
    assert (fast.status_code, fast.json()["code"]) == (429, "submit_rate")
    assert int(fast.headers["retry-after"]) == 10
    assert (await client.post("/v1/events", json=EVENT, headers=STRUCTURED)).status_code == 200, "it is known"
    service.now_ms[0] += 10_000
    assert (await client.post("/v1/events", json={**EVENT, "id": "2"}, headers=STRUCTURED)).status_code == 200


def within(service: Service, **limits: int) -> None:
    """The gateway has these limits."""
    gateway = service.app.state.gateway
    service.app.state.gateway = replace(gateway, settings=replace(gateway.settings, **limits))


async def test_a_payload_is_as_long_as_any_may_be(service: Service) -> None:
    """Longer ones are refused where they are made, and neither shut out others nor leave an object behind."""
    within(service, request_bytes_max=10_000, payload_bytes_max=5_000, inline_bytes_max=300)
    client = service.client()
    await client.post("/v1/triggers", json=ORDERS)
    await client.post("/v1/triggers", json={**ORDERS, "id": "twice", "payload": {"a": "$.data", "b": "$.data"}})
    await client.post("/v1/triggers", json={**ORDERS, "id": "vast", "payload": {"a": ["$.data"] * 20}})
    sent = {**EVENT, "data": {"n": "x" * 4_000}}
    (came,) = (await client.post("/v1/events", json=sent, headers=STRUCTURED)).json()["events"]
    assert [each["trigger"] for each in came["tasks"]] == ["orders"]
    assert [(each["trigger"], each["error"]["limit"]) for each in came["refused"]] == [
        ("twice", "payload_bytes_max"), ("vast", "payload_bytes_max"),
    ]  # fmt: skip
    (again,) = (await client.post("/v1/events", json=sent, headers=STRUCTURED)).json()["events"]
    assert again["duplicates"] == came["tasks"]
    await service.app.state.gateway.values.removed()
    assert len(service.objects.keys()) == 1


async def test_a_request_brings_and_makes_only_so_much(service: Service) -> None:
    client = service.client()
    for name in "abc":
        await client.post("/v1/triggers", json={**ORDERS, "id": name})
    many = await client.post("/v1/events", json=[{**EVENT, "id": name} for name in "xy"], headers=BATCHED)
    assert (many.status_code, many.json()["limit"]) == (413, "batch_tasks_max")
    long = await client.post("/v1/events", json={**EVENT, "data": "x" * 3_000}, headers=STRUCTURED)
    assert (long.status_code, long.json()["limit"]) == (413, "request_bytes_max")
    within(service, event_batch_max=1, body_bytes_max=5)
    large = await client.post("/v1/events", json=EVENT, headers=STRUCTURED)
    assert (large.status_code, large.json()["limit"]) == (413, "body_bytes_max")
    two = await client.post("/v1/events", json=[EVENT, EVENT], headers=BATCHED)
    assert (two.status_code, two.json()["limit"]) == (413, "event_batch_max")
    assert await service.tasks() == {}


async def test_while_the_dispatcher_is_away_the_sender_is_asked_to_come_back(service: Service) -> None:
    await service.client().post("/v1/triggers", json=ORDERS)
    service.dispatcher.failure = BackOffError("It starts again.", retry_after_s=2, code="unavailable")
    away = await service.client().post("/v1/events", json=EVENT, headers=STRUCTURED)
    assert (away.status_code, away.headers["retry-after"]) == (503, "2")


async def test_one_trigger_refuses_and_another_does_not(service: Service) -> None:
    client = service.client()
    await client.post("/v1/triggers", json=ORDERS)
    await client.post("/v1/triggers", json={**ORDERS, "id": "bad", "payload": {"x": "$.data.none"}})
    (came,) = (await client.post("/v1/events", json=EVENT, headers=STRUCTURED)).json()["events"]
    assert [each["trigger"] for each in came["tasks"]] == ["orders"]
    assert "$.data.none" in came["refused"][0]["error"]["detail"]


async def test_a_record_of_a_bucket_is_an_event(service: Service) -> None:
    wanted = {"type": "com.amazonaws.s3.ObjectCreated:Put", "subject": {"prefix": "in/", "suffix": ".png"}}
    template = {"bucket": "$.data.s3.bucket.name", "key": "$.subject"}
    client = service.client()
    await client.post("/v1/triggers", json={**ORDERS, "filter": wanted, "payload": template})
    answer = await client.post("/v1/events", json={"Records": [RECORD]})
    assert len(answer.json()["events"][0]["tasks"]) == 1
    (task,) = (await service.tasks()).values()
    assert json.loads(task.payload) == {"bucket": "b", "key": "in/a b.png"}


async def test_records_that_differ_are_events_of_their_own(service: Service) -> None:
    """And those that are sent again are not."""
    client, created = service.client(), RECORD["s3"]
    await client.post("/v1/triggers", json={**ORDERS, "filter": {"source": {"prefix": "aws:s3."}}, "payload": {}})
    others = [
        RECORD,
        {**RECORD, "eventName": "s3:ObjectRemoved:Delete"},
        {**RECORD, "responseElements": {"x-amz-request-id": "R", "x-amz-id-2": None}},
        {**RECORD, "s3": {**created, "bucket": {"name": "c"}}},
    ]
    for made in (4, 4):
        answer = await client.post("/v1/events", json={"EventName": "x", "Key": "y", "Records": others})
        assert answer.status_code == 200, answer.text
        assert len(await service.tasks()) == made


async def test_a_trigger_is_in_the_table_and_one_too_many_is_refused(service: Service) -> None:
    state = service.dispatcher.inner._shard.state
    state.limits = Limits(triggers_max=1)
    client = service.client()
    await client.post("/v1/triggers", json=ORDERS)
    full = await client.post("/v1/triggers", json={**ORDERS, "id": "more"})
    assert (full.status_code, full.json()["limit"], full.json()["value"]) == (409, "triggers_max", 1)
    assert restore(state.table, state.limits).triggers == state.triggers
    assert [each.id for each in state.triggers.of(None)] == ["orders"]


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"{", b'{"specversion":"1.0"}', b'"x"', b"\xff", b'{"Records":5}', b'{"Records":[{}]}', b"NaN",
        json.dumps({**EVENT, "time": "soon"}).encode(), json.dumps({**EVENT, "specversion": "9"}).encode(),
        json.dumps({**EVENT, "source": 5}).encode(), json.dumps({**EVENT, "type": "x" * 5_000}).encode(),
        json.dumps({**EVENT, "specversion": []}).encode(), json.dumps({**EVENT, "data_base64": 5, "data": None}).encode(),
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
)  # fmt: skip
async def test_what_is_no_event_is_refused(service: Service, body: bytes) -> None:
    answer = await service.client().post("/v1/events", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]
    assert await service.tasks() == {}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"ce-id": ""}, b"{}"), ({"ce-source": ""}, b"{}"), ({"ce-type": ""}, b"{}"), ({"ce-specversion": "9"}, b"{}"),
        ({"ce-time": "soon"}, b"{}"), ({"ce-subject": ""}, b"{}"), ({"ce-subject": "x" * 5_000}, b"{}"),
        ({"ce-" + "a" * 100: "x" * 5_000}, b"{}"), ({}, b"{"), ({}, b"\xff"), ({}, b'{"a":' * 100 + b"1" + b"}" * 100),
    ],
)  # fmt: skip
async def test_headers_that_are_no_event_are_refused(service: Service, headers: dict, body: bytes) -> None:
    said = {
        "ce-id": "1",
        "ce-source": "/s",
        "ce-type": "t",
        "ce-specversion": "1.0",
        "content-type": "application/json",
    }
    answer = await service.client().post("/v1/events", content=body, headers=said | headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_other_media_types_are_not_read(service: Service) -> None:
    answer = await service.client().post("/v1/events", content=b"<a/>", headers={"content-type": "application/xml"})
    assert answer.status_code == 415
    assert "application/cloudevents+json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "change",
    [
        {"filter": {"Type": "x"}}, {"filter": {"type": {}}}, {"payload": []}, {"payload": {"a": "$data"}},
        {"function": "no.such"}, {"id": "a b"}, {"id": ""}, {"filter": {"data": "x"}}, {"filter": {"type": None}}, {"filter": []},
        {"priority": "urgent"}, {"more": 1}, {"filter": {f"a{n}": "x" for n in range(21)}},
    ],
)  # fmt: skip
async def test_what_is_no_trigger_is_refused(service: Service, change: dict) -> None:
    answer = await service.client().post("/v1/triggers", json={**ORDERS, **change})
    assert answer.status_code == 422, answer.text
