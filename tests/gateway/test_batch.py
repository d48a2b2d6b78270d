"""POST /v1/tasks/batch: each item for itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from taskservice.core.specs import Tenant
from taskservice.core.types import TenantId

if TYPE_CHECKING:
    import httpx

    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

NDJSON = {"content-type": "application/x-ndjson"}


def echo(task_id: str, **fields: object) -> dict[str, object]:
    """A good task."""
    return {"id": task_id, "function": "media.echo", **fields}


def statuses(response: httpx.Response) -> list[tuple[str | None, str]]:
    """(id, status) of each result, after a look at the counts."""
    body = response.json()
    found = [(one["id"], one["status"]) for one in body["results"]]
    told = {"accepted": body["accepted"], "duplicate": body["duplicates"], "refused": body["refused"]}
    assert told == {status: [one[1] for one in found].count(status) for status in told}
    return found


async def test_each_item_has_its_result_at_its_place(service: Service) -> None:
    """Accepted, duplicate, refused here and refused by the dispatcher, in the order given."""
    client = service.client()
    await client.post("/v1/tasks", json=echo("old"))
    tasks = [echo("a"), echo("old"), echo("bad", function="nope"), echo("old", payload={"x": 1}), echo("a")]
    response = await client.post("/v1/tasks/batch", json={"tasks": tasks})
    assert response.status_code == 200
    assert statuses(response) == [
        ("a", "accepted"),
        ("old", "duplicate"),
        ("bad", "refused"),
        ("old", "refused"),
        ("a", "duplicate"),
    ]
    errors = [one.get("error", {}).get("code") for one in response.json()["results"]]
    assert errors == [None, None, "unknown_function", "conflict", None]


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (17, "invalid_request"),
        (None, "invalid_request"),
        ([], "invalid_request"),
        ({}, "invalid_request"),
        ({"id": "bad", "function": "media.thumbnail", "payload": {}}, "payload_invalid"),
        ({"id": "bad", "function": "media.echo", "on_conflict": "reject"}, "invalid_request"),
        ({"id": "bad", "function": "media.echo", "payload": {"x": "y" * 200}}, "too_large"),
    ],
)
async def test_one_bad_item_refuses_itself_alone(service: Service, item: object, code: str) -> None:
    """Its neighbours are accepted."""
    response = await service.client().post("/v1/tasks/batch", json={"tasks": [echo("a"), item, echo("b")]})
    expected_id = item.get("id") if isinstance(item, dict) else None
    assert statuses(response) == [("a", "accepted"), (expected_id, "refused"), ("b", "accepted")]
    assert response.json()["results"][1]["error"]["code"] == code


@pytest.mark.parametrize(
    "item", [b'{"function":"media.echo","id":"\xff"}', b'{"id":"x","id":"y","function":"media.echo"}']
)
async def test_an_item_that_cannot_be_read_refuses_itself_alone(service: Service, item: bytes) -> None:
    """Broken UTF-8 and a key that is there twice."""
    body = b'{"tasks":[{"function":"media.echo","id":"a"},' + item + b"]}"
    response = await service.client().post("/v1/tasks/batch", content=body)
    assert [status for _, status in statuses(response)] == ["accepted", "refused"]


async def test_reject_refuses_duplicates(service: Service) -> None:
    """For the whole batch, in the body or, for NDJSON, as a parameter."""
    client = service.client()
    await client.post("/v1/tasks", json=echo("a"))
    in_body = await client.post("/v1/tasks/batch", json={"tasks": [echo("a")], "on_conflict": "reject"})
    assert statuses(in_body) == [("a", "refused")]
    line = json.dumps(echo("a"))
    response = await client.post("/v1/tasks/batch?on_conflict=reject", content=line, headers=NDJSON)
    assert statuses(response) == [("a", "refused")]


async def test_a_bad_line_in_the_middle_is_refused_by_its_number(service: Service) -> None:
    """Blank lines are passed over but counted, a carriage return is no matter."""
    lines = [json.dumps(echo("a")), "", '{"id":"broken", "function', json.dumps(echo("b")) + "\r"]
    response = await service.client().post("/v1/tasks/batch", content="\n".join(lines), headers=NDJSON)
    assert statuses(response) == [("a", "accepted"), (None, "refused"), ("b", "accepted")]
    error = response.json()["results"][1]["error"]
    assert (error["line"], error["code"], error["status"]) == (3, "malformed_json", 400)
    assert error["detail"].startswith("Line 3: ")


@pytest.mark.parametrize("body", ["", "\n", " \n\t\n"])
async def test_ndjson_without_tasks_is_an_empty_batch(service: Service, body: str) -> None:
    """Nothing to do is no mistake, and the dispatcher is not asked."""
    response = await service.client().post("/v1/tasks/batch", content=body, headers=NDJSON)
    assert (response.status_code, statuses(response)) == (200, [])
    assert service.dispatcher.calls["submit"] == 0


@pytest.mark.parametrize("kind", ["json", "ndjson"])
@pytest.mark.parametrize(("count", "status"), [(5, 200), (6, 413)])
async def test_a_batch_of_the_greatest_size_is_taken_and_one_more_is_not(
    service: Service, kind: str, count: int, status: int
) -> None:
    """413 with the limit's name and value; nothing of it is accepted."""
    tasks = [echo(f"t-{number}") for number in range(count)]
    if kind == "json":
        response = await service.client().post("/v1/tasks/batch", json={"tasks": tasks})
    else:
        body = "\n".join(map(json.dumps, tasks)) + "\n"
        response = await service.client().post("/v1/tasks/batch", content=body, headers=NDJSON)
    assert response.status_code == status
    assert len(await service.tasks()) == (count if status == 200 else 0)
    if status == 413:
        assert (response.json()["limit"], response.json()["value"]) == ("batch_tasks_max", 5)


async def test_a_flood_of_tiny_items_is_refused(service: Service) -> None:
    """Before it becomes a list."""
    body = '{"tasks":[' + ",".join("1" * 2_000) + "]}"
    response = await service.client().post("/v1/tasks/batch", content=body)
    assert (response.status_code, response.json()["limit"]) == (413, "batch_tasks_max")


async def test_few_tasks_with_many_commas_are_taken(service: Service) -> None:
    """What is counted are tasks."""
    body = json.dumps({"tasks": [echo(f"t-{number}", payload={"x": [1] * 90}) for number in range(5)]})
    commas = "," * 200
    tagged = body.replace('"t-0"', f'"t-0", "tags": {{"a": "{commas}"}}')
    assert tagged.count(",") > 100 * service.settings.batch_tasks_max
    response = await service.client().post("/v1/tasks/batch", content=tagged)
    assert [status for _, status in statuses(response)] == ["refused"] + ["accepted"] * 4  # a tag too long


async def test_a_full_queue_refuses_what_does_not_fit(service: Service) -> None:
    """Those that fit are accepted; the others say how long to wait."""
    await service.dispatcher.inner.put_tenant(Tenant(TenantId("acme"), queued_max=1))
    response = await service.client().post("/v1/tasks/batch", json={"tasks": [echo("a"), echo("b")]})
    assert statuses(response) == [("a", "accepted"), ("b", "refused")]
    error = response.json()["results"][1]["error"]
    assert (error["status"], error["limit"], error["value"], error["retry_after_s"]) == (429, "queued_max", 1, 1)
    assert list(await service.tasks()) == ["a"]
