"""Bodies that nobody sends by accident: a clear refusal, never a 500, and nothing accepted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


def task(payload: bytes) -> bytes:
    """A task for a function that takes anything."""
    return b'{"function":"media.echo","id":"t","payload":' + payload + b"}"


def field(name: str, value: object) -> bytes:
    """A task with that field."""
    return json.dumps({"function": "media.echo", "id": "t", name: value}).encode()


BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "space": (b" \n", 400),
    "not JSON": (b"function=media.echo", 400),
    "two values": (task(b"{}") + b" {}", 400),
    "cut short": (b'{"function":"media.echo"', 400),
    "trailing comma": (b'{"function":"media.echo",}', 400),
    "single quotes": (b"{'function':'media.echo'}", 400),
    "comment": (b'{"function":"media.echo"/**/}', 400),
    "byte order mark": (b"\xef\xbb\xbf" + task(b"{}"), 400),
    "UTF-16": (task(b"{}").decode().encode("utf-16"), 400),
    "zero byte": (task(b'"\x00"'), 400),
    "gzip": (b"\x1f\x8b\x08\x00\x00", 400),
    "null": (b"null", 422),
    "array": (b"[]", 422),
    "string": (b'"media.echo"', 422),
    "no function": (b"{}", 422),
    "function null": (b'{"function":null}', 422),
    "function number": (b'{"function":1}', 422),
    "function empty": (b'{"function":""}', 422),
    "function too long": (b'{"function":"' + b"x" * 201 + b'"}', 422),
    "function unknown": (b'{"function":"__class__"}', 422),
    "function with newline": (b'{"function":"media.echo\\n"}', 422),
    "unknown field": (field("prioritiy", "high"), 422),
    "field of a later version": (field("depends_on", ["another"]), 422),
    "tenant": (field("tenant", "rival"), 422),
    "id empty": (field("id", ""), 422),
    "id too long": (field("id", "x" * 201), 422),
    "id with slash": (field("id", "../../etc/passwd"), 422),
    "id with zero": (field("id", "a\0b"), 422),
    "id not ASCII": (field("id", "ä"), 422),
    "id ends in newline": (field("id", "a\n"), 422),
    "id number": (field("id", 5), 422),
    "priority unknown": (field("priority", "urgent"), 422),
    "priority number": (field("priority", 1), 422),
    "delay negative": (field("delay", -1), 422),
    "delay in words": (field("delay", "soon"), 422),
    "delay boolean": (field("delay", True), 422),
    "delay of ages": (field("delay", 1e300), 422),
    "delay beyond a float": (b'{"function":"media.echo","delay":1e999}', 422),
    "delay of 400 digits": (b'{"function":"media.echo","delay":' + b"9" * 400 + b"}", 422),
    "delay above the limit": (field("delay", 400_000_000), 422),
    "delay and run_at": (b'{"function":"media.echo","delay":1,"run_at":2000000000}', 422),
    "run_at without zone": (field("run_at", "2031-01-01T00:00:00"), 422),
    "run_at in words": (field("run_at", "tomorrow"), 422),
    "run_at before 1970": (field("run_at", "1969-12-31T23:59:59Z"), 422),
    "run_at in milliseconds": (field("run_at", 1_900_000_000_000), 422),
    "run_at negative": (field("run_at", -1), 422),
    "run_at at the edge of the calendar": (field("run_at", "0001-01-01T00:00:00+14:00"), 422),
    "max_attempts zero": (field("max_attempts", 0), 422),
    "max_attempts fraction": (field("max_attempts", 1.5), 422),
    "max_attempts boolean": (field("max_attempts", True), 422),
    "max_attempts huge": (field("max_attempts", 10**30), 422),
    "timeout zero": (field("timeout", 0), 422),
    "timeout too short": (field("timeout", 0.0001), 422),
    "tags array": (field("tags", ["a"]), 422),
    "tag number": (field("tags", {"a": 1}), 422),
    "tag without name": (field("tags", {"": "x"}), 422),
    "tag name with equals": (field("tags", {"a=b": "x"}), 422),
    "tag with newline": (field("tags", {"a": "x\ny"}), 422),
    "key twice": (b'{"function":"media.echo","id":"a","id":"b"}', 422),
    "key twice, once escaped": (b'{"function":"media.echo","id":"a","\\u0069d":"b"}', 422),
    "payload twice": (b'{"function":"media.echo","payload":{},"payload":{"a":1}}', 422),
    "payload twice, first unreadable": (b'{"function":"media.echo","payload":"\xff","payload":1}', 400),
    "payload key twice": (task(b'{"a":1,"a":2}'), 422),
    "payload key twice deep down": (task(b'[{"b":[{"a":1,"a":2}]}]'), 422),
    "payload key twice behind escaped colons": (task(b'{"a":"\\u003a","a":"\\u003A"}'), 422),
    "tag twice": (b'{"function":"media.echo","tags":{"a":"x","a":"y"}}', 422),
    "NaN": (task(b"NaN"), 400),
    "Infinity": (task(b"-Infinity"), 400),
    "number beyond a float": (task(b"1e999"), 422),
    "5000 digits": (task(b"9" * 5_000), 422),
    "leading zero": (task(b"01"), 400),
    "half a surrogate pair": (task(b'"\\ud800"'), 400),
    "the other half": (task(b'"\\udc00x"'), 400),
    "payload not UTF-8": (task(b'"\xff"'), 400),
    "overlong UTF-8": (task(b'"\xc0\xaf"'), 400),
    "surrogate in UTF-8": (task(b'"\xed\xa0\x80"'), 400),
    "a little too deep": (task(b"[" * 9 + b"]" * 9), 422),
    "objects too deep": (task(b'{"a":' * 9 + b"1" + b"}" * 9), 422),
    "much too deep": (task(b"[" * 4_000 + b"]" * 4_000), 400),
    "deep and not closed": (task(b"[" * 9_000), 400),
    "deep objects": (task(b'{"a":' * 1_500), 400),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES.keys())
async def test_a_hostile_task_is_refused(service: Service, body: bytes, status: int) -> None:
    """400 if it is not JSON, 422 if it is not a task; both say why."""
    response = await service.client().post("/v1/tasks", content=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]
    assert not await service.tasks()


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES.keys())
async def test_a_hostile_item_is_refused_or_its_batch(service: Service, body: bytes, status: int) -> None:
    """Inside of a batch as well: a batch that is not JSON falls whole, any other keeps its good item."""
    good = b'{"function":"media.echo","id":"good"}'
    response = await service.client().post("/v1/tasks/batch", content=b'{"tasks":[' + good + b"," + body + b"]}")
    if response.status_code == 200:
        assert [one["status"] for one in response.json()["results"]] == ["accepted", "refused"]
        assert response.json()["results"][1]["error"]["status"] == status
    else:
        assert (response.status_code, status) == (400, 400)
    assert set(await service.tasks()) <= {"good"}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES.keys())
async def test_a_hostile_line_is_refused(service: Service, body: bytes, status: int) -> None:
    """In NDJSON no line can harm another."""
    good = b'{"function":"media.echo","id":"good"}'
    lines = body.replace(b"\n", b" ") + b"\n" + good
    response = await service.client().post(
        "/v1/tasks/batch", content=lines, headers={"content-type": "application/x-ndjson"}
    )
    assert response.status_code == 200
    results = response.json()["results"]
    assert results[-1] == {"id": "good", "status": "accepted"}
    assert [one["error"]["status"] for one in results[:-1]] == ([status] if body.strip() else [])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (field("prioritiy", "high"), "prioritiy"),
        (field("priority", "urgent"), "$.priority"),
        (field("tags", {"a": 1}), "$.tags"),
        (field("run_at", "tomorrow"), "$.run_at"),
        (field("delay", "soon"), "$.delay"),
        (task(b'{"a":1,"a":2}'), "'a'"),
    ],
)
async def test_a_refusal_names_the_field(service: Service, body: bytes, named: str) -> None:
    """In its detail and in its errors."""
    problem = (await service.client().post("/v1/tasks", content=body)).json()
    assert named in problem["detail"]
    assert any(named in error["path"] + error["message"] for error in problem["errors"])


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**70), 10**30, 0.1, -0.0, 1e300])
async def test_unusual_numbers_come_back_as_they_were_sent(service: Service, number: float) -> None:
    """Nothing is rounded on the way."""
    response = await service.client().post("/v1/tasks", content=task(json.dumps({"n": number}).encode()))
    assert (response.status_code, json.loads(response.text)["payload"]["n"]) == (202, number)


@pytest.mark.parametrize("text", ["a:b", "\\u003a", "\\\\u003a", '\\":\\"', "\\u0000", "\\ud83d\\ude00", "\u2028"])
async def test_unusual_text_is_no_duplicate_key(service: Service, text: str) -> None:
    """Colons inside of texts, escaped or not, confuse nobody."""
    raw = '{"k:' + text + '":"' + text + '","tail":":"}'
    response = await service.client().post("/v1/tasks", content=task(raw.encode()))
    assert (response.status_code, response.json().get("payload")) == (202, json.loads(raw))
