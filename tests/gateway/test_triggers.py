"""Triggers and events over HTTP: the documented example, duplicates, modes, buckets, and what is refused."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from helpers.reading import text
from taskservice.core.limits import Limits
from taskservice.core.restore import restore

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
    "change",
    [
        {"filter": {"Type": "x"}}, {"filter": {"type": {}}}, {"payload": []}, {"payload": {"a": "$data"}},
        {"function": "no.such"},
    ],
)  # fmt: skip
async def test_what_is_no_trigger_is_refused(service: Service, change: dict) -> None:
    answer = await service.client().post("/v1/triggers", json={**ORDERS, **change})
    assert answer.status_code == 422, answer.text
