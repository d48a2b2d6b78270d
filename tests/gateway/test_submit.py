"""POST /v1/tasks: what becomes of one task."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from taskservice.core.effects import ItemAnswer, ItemStatus, Refusal
from taskservice.core.events import Ticked
from taskservice.core.specs import Rate, Tenant
from taskservice.core.types import FunctionName, TaskId, TenantId
from taskservice.gateway.problems import REFUSALS

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

TASK = {"id": "t-1", "function": "media.thumbnail", "payload": {"url": "http://a/b", "sizes": [1, 2]}}


async def test_an_accepted_task_is_answered_with_202_and_the_task(service: Service) -> None:
    """The answer shows the task as it was taken."""
    body = TASK | {"priority": "high", "tags": {"team": "blue"}, "max_attempts": 2, "timeout": "90s"}
    response = await service.client().post("/v1/tasks", json=body)
    assert response.status_code == 202
    assert response.json() == {
        "id": "t-1",
        "function": "media.thumbnail",
        "tenant": "acme",
        "state": "queued",
        "priority": "high",
        "tags": {"team": "blue"},
        "created_at": "2030-03-17T17:46:40.000Z",
        "due_at": "2030-03-17T17:46:40.000Z",
        "started_at": None,
        "ended_at": None,
        "expires_at": None,
        "deadline_at": None,
        "deadline_missed": False,
        "off_peak": False,
        "off_peak_until": None,
        "paused_until": None,
        "run": 1,
        "attempt": 0,
        "max_attempts": 2,
        "crashes": 0,
        "memory_bytes": None,
        "preempted": 0,
        "version": None,
        "duration_ms": None,
        "error": None,
        "payload": {"sizes": [1, 2], "url": "http://a/b"},
        "duplicate": False,
    }
    assert (await service.tasks())["t-1"].timeout_ms == 90_000


async def test_the_payload_is_handed_over_as_canonical_json(service: Service) -> None:
    """Sorted keys and no spaces, so that the dispatcher can compare bytes."""
    text = '{"function":"media.thumbnail","id":"t-1","payload": { "url" : "\\u0041", "sizes":[ 1 ] }}'
    await service.client().post("/v1/tasks", content=text)
    assert (await service.tasks())["t-1"].payload == b'{"sizes":[1],"url":"A"}'


async def test_a_task_without_id_gets_a_uuid_of_version_7(service: Service) -> None:
    """The id is made by the gateway."""
    response = await service.client().post("/v1/tasks", json={"function": "media.echo"})
    assert uuid.UUID(response.json()["id"]).version == 7
    assert response.json()["payload"] == {}


async def test_the_same_task_again_is_a_duplicate_even_if_it_is_written_differently(service: Service) -> None:
    """200 and `duplicate: true`."""
    client = service.client()
    await client.post("/v1/tasks", json=TASK)
    text = '{"payload":{"sizes":[1, 2],"url":"http:\\/\\/a/b"},"function":"media.thumbnail","id":"t-1"}'
    response = await client.post("/v1/tasks", content=text, headers={"content-type": "application/json; charset=utf-8"})
    assert (response.status_code, response.json()["duplicate"]) == (200, True)
    assert len(await service.tasks()) == 1


async def test_the_same_id_with_another_payload_is_a_conflict(service: Service) -> None:
    """409, and the state of the task that is in the way."""
    client = service.client()
    await client.post("/v1/tasks", json=TASK)
    response = await client.post("/v1/tasks", json=TASK | {"payload": {"url": "other"}})
    assert response.status_code == 409
    assert (response.json()["code"], response.json()["state"]) == ("conflict", "queued")


@pytest.mark.parametrize(
    ("in_body", "in_query", "status"),
    [
        (None, None, 200),
        ("return", None, 200),
        ("reject", None, 409),
        (None, "return", 200),
        (None, "reject", 409),
        ("return", "reject", 200),
        ("rerun", None, 200),
        (None, "rerun", 200),
        ("again", None, 422),
        (None, "again", 422),
    ],
)
async def test_on_conflict_says_what_a_known_id_means(
    service: Service, in_body: str | None, in_query: str | None, status: int
) -> None:
    """In the body or as a parameter; the body comes first."""
    client = service.client()
    await client.post("/v1/tasks", json=TASK)
    params = {} if in_query is None else {"on_conflict": in_query}
    response = await client.post("/v1/tasks", json=TASK | {"on_conflict": in_body}, params=params)
    assert response.status_code == status
    if status == 409:
        assert response.json()["code"] == "duplicate"


@pytest.mark.parametrize("in_history", [False, True])
async def test_what_has_ended_is_submitted_again_as_its_next_run(service: Service, in_history: bool) -> None:
    """202, as a new one is; in a batch it is accepted. Of what has not ended it is 200, and twice in a batch a duplicate."""
    client = service.client()
    assert (await client.post("/v1/tasks", json=TASK)).status_code == 202
    await service.succeed("t-1", b'{"x":1}')
    if in_history:
        assert await service.archive() == 1
    first = await client.post("/v1/tasks", json=TASK | {"on_conflict": "rerun"})
    assert (first.status_code, first.json()["state"], first.json()["run"]) == (202, "queued", 2)
    assert (await client.get("/v1/tasks/t-1")).json()["payload"] == TASK["payload"]
    again = await client.post("/v1/tasks", json=TASK, params={"on_conflict": "rerun"})
    assert (again.status_code, again.json()["duplicate"], again.json()["run"]) == (200, True, 2)
    await client.post("/v1/tasks/t-1/cancel")
    if in_history:
        assert await service.archive() == 1
    batch = (await client.post("/v1/tasks/batch", json={"tasks": [TASK, TASK], "on_conflict": "rerun"})).json()
    assert [each["status"] for each in batch["results"]] == ["accepted", "duplicate"]
    assert (await service.tasks())["t-1"].run == 3


@pytest.mark.parametrize("in_history", [False, True])
async def test_another_payload_is_a_conflict_for_a_next_run_too(service: Service, in_history: bool) -> None:
    await service.submit("a")
    await service.succeed("a")
    if in_history:
        assert await service.archive() == 1
    body = {"id": "a", "function": "media.echo", "payload": {"x": "other"}, "on_conflict": "rerun"}
    response = await service.client().post("/v1/tasks", json=body)
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("in_history", [False, True])
async def test_a_next_run_asks_for_room_and_comes_no_faster_than_a_new_task(service: Service, in_history: bool) -> None:
    """429 with Retry-After; the object of a large payload that was not taken goes."""
    client, body = (
        service.client(),
        {"id": "a", "function": "media.echo", "payload": {"x": "y" * 150}, "on_conflict": "rerun"},
    )
    await client.post("/v1/tasks", json=body)
    await service.succeed("a")
    if in_history:
        assert await service.archive() == 1
    for limits, code, wait_s in (
        ({"queued_max": 0}, "queued_max", "1"),
        ({"submit_rate": Rate(0.1, 1)}, "submit_rate", "10"),
    ):
        await service.dispatcher.inner.put_tenant(Tenant(TenantId("acme"), **limits))
        if code == "submit_rate":
            service.now_ms[0] += 60_000
            await service.submit("b")
        full = await client.post("/v1/tasks", json=body)
        assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (429, code, wait_s)
    service.now_ms[0] += 10_000
    assert (await client.post("/v1/tasks", json=body)).status_code == 202
    await service.app.state.gateway.values.removed()
    assert (await client.get("/v1/tasks/a")).json()["payload"] == {"x": "y" * 150}


@pytest.mark.parametrize(
    ("fields", "due_ms"),
    [
        ({"delay": 2}, 1_900_000_002_000),
        ({"delay": 0.5}, 1_900_000_000_500),
        ({"delay": "5m"}, 1_900_000_300_000),
        ({"delay": None, "run_at": None}, 1_900_000_000_000),
        ({"run_at": "2031-01-01T00:00:00Z"}, 1_924_992_000_000),
        ({"run_at": "2031-01-01T02:00:00+02:00"}, 1_924_992_000_000),
        ({"run_at": 1_924_992_000}, 1_924_992_000_000),
        ({"run_at": 1_924_992_000.25}, 1_924_992_000_250),
    ],
)
async def test_when_a_task_may_run(service: Service, fields: dict[str, object], due_ms: int) -> None:
    """After a delay, or at a time; null is the same as absent."""
    await service.client().post("/v1/tasks", json=TASK | fields)
    assert (await service.tasks())["t-1"].due_ms == due_ms


async def test_a_payload_is_checked_against_the_functions_schema(service: Service) -> None:
    """422 with every error and where it is."""
    payload = {"sizes": [1, "two"], "colour": "red"}
    response = await service.client().post("/v1/tasks", json=TASK | {"payload": payload})
    body = response.json()
    assert (response.status_code, body["code"]) == (422, "payload_invalid")
    assert {error["path"] for error in body["errors"]} == {"$.payload", "$.payload.sizes[1]"}
    assert any("url" in error["message"] for error in body["errors"])
    assert not await service.tasks()


async def test_no_more_than_the_allowed_number_of_errors_is_told(service: Service) -> None:
    """And each is cut to a readable length."""
    payload = {"url": "u", "sizes": ["x"] * 40}
    errors = (await service.client().post("/v1/tasks", json=TASK | {"payload": payload})).json()["errors"]
    assert len(errors) == service.settings.errors_max


async def test_an_unknown_function_is_refused_with_the_one_that_was_meant(service: Service) -> None:
    """422, and the functions there are."""
    response = await service.client().post("/v1/tasks", json=TASK | {"function": "media.thumbnial"})
    body = response.json()
    assert (response.status_code, body["code"]) == (422, "unknown_function")
    assert "Did you mean 'media.thumbnail'?" in body["detail"]
    assert "media.echo" in body["detail"]


async def test_a_function_deployed_a_moment_ago_is_known(service: Service) -> None:
    """The gateway asks before it says no."""
    known = await service.function("media.echo")
    await service.dispatcher.inner.register([replace(known, name=FunctionName("media.new"))])
    assert (await service.client().post("/v1/tasks", json={"function": "media.new"})).status_code == 202


async def test_a_full_queue_asks_to_come_back(service: Service) -> None:
    """429 with Retry-After, the limit's name and its value."""
    await service.dispatcher.inner.put_tenant(Tenant(TenantId("acme"), queued_max=0))
    response = await service.client().post("/v1/tasks", json=TASK)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    body = response.json()
    assert (body["code"], body["limit"], body["value"]) == ("queued_max", "queued_max", 0)


@pytest.mark.parametrize("refusal", list(Refusal))
async def test_each_refusal_of_the_core_is_a_problem_of_its_own(service: Service, refusal: Refusal) -> None:
    """With the refusal's status, a title, and the core's message."""
    service.dispatcher.refusal = ItemAnswer(TaskId(""), ItemStatus.REFUSED, None, refusal, "Because.", 3)
    response = await service.client().post("/v1/tasks/batch", json={"tasks": [TASK]})
    error, kind = response.json()["results"][0]["error"], REFUSALS[refusal]
    told = [error.get(name) for name in ("status", "code", "title", "detail", "limit", "value")]
    assert told == [kind.status, kind.code, kind.title, "Because.", kind.limit, 3]
    assert ("retry_after_s" in error) == (kind.status == 429)


def test_every_refusal_of_the_core_is_mapped() -> None:
    """A new one without a status is a mistake; no two share a code."""
    assert set(REFUSALS) == set(Refusal)
    assert len({kind.code for kind in REFUSALS.values()}) == len(Refusal)


@pytest.mark.parametrize("ttl", [2, "2s", 2.0])
async def test_a_task_may_have_a_time_to_live(service: Service, ttl: object) -> None:
    """Counted from now; once it is over, the task has no result, and says so."""
    client = service.client()
    response = await client.post("/v1/tasks", json={"function": "media.echo", "id": "t", "ttl": ttl})
    assert response.json()["expires_at"] == "2030-03-17T17:46:42.000Z"
    waiting = asyncio.create_task(client.get("/v1/tasks/t/result?wait=20"))
    await service.dispatcher.waiting.wait()
    service.now_ms[0] += 2_000
    service.dispatcher.inner.emit(Ticked())
    result = await waiting
    assert (result.status_code, result.json()["code"], result.json()["state"]) == (409, "task_expired", "expired")


@pytest.mark.parametrize(
    "fields", [{"ttl": 0}, {"ttl": "soon"}, {"ttl": -1}, {"ttl": 10**9}, {"ttl": "1s", "delay": 1}]
)
async def test_a_time_to_live_that_cannot_be_is_refused(service: Service, fields: dict) -> None:
    """422; also if the task would not be due in time."""
    response = await service.client().post("/v1/tasks", json={"function": "media.echo", **fields})
    assert response.status_code == 422
    if "delay" in fields:
        body = response.json()
        assert (body["code"], body["limit"], body["value"]) == ("expires_undue", "ttl_ms", 1_000)
    assert await service.tasks() == {}
