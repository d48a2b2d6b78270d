"""Large payloads and results: objects behind the API, of which its users see nothing but that they work."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest

from helpers.large import values_of
from helpers.unreliable_objects import UnreliableObjects
from taskservice.core.effects import ItemAnswer, ItemStatus, Refusal
from taskservice.core.specs import Tenant
from taskservice.core.types import TaskId, TenantId
from taskservice.core.values import MARK, ValueRef, keys_of, ref_of, referring
from taskservice.errors import BackOffError
from taskservice.gateway.app import create_app
from taskservice.gateway.history import NoHistory
from taskservice.gateway.values import GatewayValues

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

LARGE = {"x": "y" * 150}


def task(task_id: str = "a", payload: object = LARGE, **fields: object) -> dict[str, object]:
    return {"id": task_id, "function": "media.echo", "payload": payload, **fields}


def values(service: Service) -> GatewayValues:
    found: GatewayValues = service.app.state.gateway.values
    return found


async def key_of(service: Service, task_id: str = "a") -> str:
    """Of the task's payload."""
    return keys_of((await service.tasks())[task_id].payload)[0]


async def written(service: Service, text: bytes) -> bytes:
    """A reference to the text, as a lease's supervisor makes it."""
    return referring(values_of(service.objects).write(text))


async def test_a_large_payload_is_an_object_and_comes_back_as_it_was(service: Service) -> None:
    client = service.client()
    response = await client.post("/v1/tasks", json=task())
    assert (response.status_code, response.json()["payload"]) == (202, LARGE)
    assert service.objects.get(await key_of(service)) == msgspec.json.encode(LARGE)
    assert (await client.get("/v1/tasks/a")).json()["payload"] == LARGE
    assert (await client.post("/v1/tasks/a/cancel")).json()["payload"] == LARGE
    assert "payload" not in (await client.get("/v1/tasks")).json()["tasks"][0]


async def test_a_small_payload_is_not(service: Service) -> None:
    await service.submit("a", payload={"x": "y" * 90})
    assert service.objects.keys() == []


async def test_a_large_result_comes_back_by_every_door(service: Service) -> None:
    await service.submit("a")
    result = msgspec.json.encode(["z" * 1_000])
    await service.succeed("a", await written(service, result))
    client = service.client()
    assert (await client.get("/v1/tasks/a/result")).content == result
    for path in ("/v1/tasks/a", "/v1/tasks/a?wait=5"):
        assert (await client.get(path)).json()["result"] == ["z" * 1_000]
    again = await client.post("/v1/tasks", json={"id": "a", "function": "media.echo"})
    assert (again.status_code, again.json()["result"]) == (200, ["z" * 1_000])


async def test_a_very_large_result_is_passed_on_part_by_part(service: Service) -> None:
    """Each part is read on its own: none is larger than a MiB."""
    await service.submit("a")
    result = b'"' + b"z" * (3 << 20) + b'"'
    await service.succeed("a", await written(service, result))
    before = service.objects.done["get"]
    response = await service.client().get("/v1/tasks/a/result")
    assert response.content == result
    assert response.headers["content-length"] == str(len(result))
    assert service.objects.done["get"] - before == 4


async def test_the_same_task_again_leaves_one_object(service: Service) -> None:
    """The second one was written before anybody could know, and is removed."""
    client = service.client()
    await client.post("/v1/tasks", json=task())
    again = await client.post("/v1/tasks", json=task())
    assert (again.status_code, again.json()["duplicate"], again.json()["payload"]) == (200, True, LARGE)
    rejected = await client.post("/v1/tasks?on_conflict=reject", json=task())
    assert rejected.json()["code"] == "duplicate"
    conflict = await client.post("/v1/tasks", json=task(payload={"x": "z" * 150}))
    assert conflict.json()["code"] == "conflict"
    await values(service).removed()
    assert service.objects.keys() == [await key_of(service)]


async def test_a_submit_that_reached_the_dispatcher_twice_keeps_its_object(service: Service) -> None:
    """A line that broke after the first time makes a task the duplicate of itself."""

    class Twice:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        async def submit(self, *args: object) -> object:
            await service.dispatcher.submit(*args)
            return await service.dispatcher.submit(*args)

    app = create_app(Twice(service.dispatcher), service.settings, service.logs, values_of(service.objects), NoHistory())
    async with app.router.lifespan_context(app):
        service.app, old = app, service.app
        answer = await service.client().post("/v1/tasks", json=task())
        service.app = old
    assert (answer.status_code, answer.json()["duplicate"]) == (200, True)
    assert service.objects.keys() == [await key_of(service)]


async def test_a_refused_task_leaves_no_object(service: Service) -> None:
    service.dispatcher.refusal = ItemAnswer(TaskId("?"), ItemStatus.REFUSED, refusal=Refusal.QUEUED_MAX, message="full")
    assert (await service.client().post("/v1/tasks", json=task())).status_code == 429
    batch = await service.client().post("/v1/tasks/batch", json={"tasks": [task("a"), task("b")]})
    assert batch.json()["refused"] == 2
    await values(service).removed()
    assert service.objects.done["put"] == 3
    assert service.objects.keys() == []


async def test_an_invalid_payload_is_not_even_written(service: Service) -> None:
    response = await service.client().post("/v1/tasks", json=task(function="media.thumbnail"))
    assert response.json()["code"] == "payload_invalid"
    assert service.objects.done["put"] == 0


async def test_an_unknown_outcome_keeps_the_object(service: Service) -> None:
    """The task may be accepted all the same; if it is not, the sweeper finds what nobody refers to."""
    client = service.client()
    await client.get("/v1/tasks")
    service.dispatcher.failure = BackOffError("the journal is slow", code="journal_slow")
    assert (await client.post("/v1/tasks", json=task())).status_code == 503
    await values(service).removed()
    assert len(service.objects.keys()) == 1


async def test_a_store_that_is_away_is_a_503_and_what_is_small_goes_on(service: Service) -> None:
    client = service.client()
    service.objects.away = 1
    response = await client.post("/v1/tasks", json=task())
    assert (response.status_code, response.json()["code"]) == (503, "values_away")
    assert response.headers["retry-after"] == "2"
    service.objects.refusing = {"put"}
    batch = (await client.post("/v1/tasks/batch", json={"tasks": [task("a"), task("b", {}), task("c")]})).json()
    assert [one["status"] for one in batch["results"]] == ["refused", "accepted", "refused"]
    error = batch["results"][0]["error"]
    assert (error["status"], error["code"], error["retry_after_s"]) == (503, "values_away", 2.0)
    assert list(await service.tasks()) == ["b"]


async def test_a_value_that_cannot_be_fetched_now_is_a_503(service: Service) -> None:
    client = service.client()
    await client.post("/v1/tasks", json=task())
    await service.succeed("a", await written(service, b'"z"'))
    service.objects.refusing = {"get"}
    for path in ("/v1/tasks/a", "/v1/tasks/a/result"):
        response = await client.get(path)
        assert (response.status_code, response.json()["code"]) == (503, "values_away")
    assert (await client.get("/v1/tasks")).status_code == 200


@pytest.mark.parametrize("found", [None, b'"y"', b'"z"  '])
async def test_a_value_that_is_gone_or_another_is_told_as_lost(service: Service, found: bytes | None) -> None:
    client = service.client()
    await client.post("/v1/tasks", json=task())
    result = await written(service, b'"z"')
    await service.succeed("a", result)
    for key in (await key_of(service), *keys_of(result)):
        if found is None:
            service.objects.delete([key])
        else:
            service.objects.replace(key, found)
    response = await client.get("/v1/tasks/a/result")
    assert (response.status_code, response.json()["code"]) == (410, "value_lost")
    assert keys_of(result)[0] in response.json()["detail"]
    shown = (await client.get("/v1/tasks/a")).json()
    assert shown["state"] == "succeeded"
    assert set(shown["lost"]) == {"payload", "result"}
    assert not {"payload", "result"} & set(shown)


async def test_a_very_large_result_that_is_damaged_never_comes_whole(service: Service) -> None:
    await service.submit("a")
    text = b'"' + b"z" * (3 << 20) + b'"'
    result = await written(service, text)
    await service.succeed("a", result)
    service.objects.replace(keys_of(result)[0], text.replace(b"z", b"y"))
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        with pytest.raises(Exception, match="does not hold"):
            await client.get("/v1/tasks/a/result", headers={"authorization": "Bearer tsk_user"})


async def test_a_batch_is_written_side_by_side_and_answered_in_order(service: Service) -> None:
    """All five writes are there at the same time, or none would go on."""
    together = threading.Barrier(5)

    class Together(UnreliableObjects):
        def put_if_absent(self, key: str, data: bytes) -> bytes | None:
            together.wait(10)
            return super().put_if_absent(key, data)

    objects = Together()
    values(service)._store = values_of(objects)
    tasks = [task(f"t{i}", {"x": str(i) * 150}) for i in range(5)]
    response = (await service.client().post("/v1/tasks/batch", json={"tasks": tasks})).json()
    assert [(one["id"], one["status"]) for one in response["results"]] == [(f"t{i}", "accepted") for i in range(5)]
    for i in range(5):
        assert (await service.client().get(f"/v1/tasks/t{i}")).json()["payload"] == {"x": str(i) * 150}


async def test_a_store_that_hangs_holds_up_nobody_but_those_who_need_it(service: Service) -> None:
    """They are told within the bound; and when too much is on its way, at once."""
    may_go_on = threading.Event()

    class Hanging(UnreliableObjects):
        def put_if_absent(self, key: str, data: bytes) -> bytes | None:
            may_go_on.wait()
            return super().put_if_absent(key, data)

    values(service)._store = values_of(Hanging())
    values(service)._settings = replace(service.settings, value_timeout_s=0.2)
    client = service.client()
    try:
        slow = [asyncio.create_task(client.post("/v1/tasks", json=task(f"t{i}"))) for i in range(10)]
        assert (await client.post("/v1/tasks", json=task("small", {}))).status_code == 202
        answers = await asyncio.gather(*slow)
        assert {answer.json()["code"] for answer in answers} == {"values_away"}
        assert list(await service.tasks()) == ["small"]
    finally:
        may_go_on.set()


async def test_no_more_than_the_bound_is_in_hand(service: Service) -> None:
    """A thousand bytes here: the seventh of these payloads has to come back."""
    may_go_on = threading.Event()

    class Hanging(UnreliableObjects):
        def put_if_absent(self, key: str, data: bytes) -> bytes | None:
            may_go_on.wait()
            return super().put_if_absent(key, data)

    values(service)._store = values_of(Hanging())
    client = service.client()
    slow = [asyncio.create_task(client.post("/v1/tasks", json=task(f"t{i}"))) for i in range(8)]
    done, _ = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
    assert {answer.result().status_code for answer in done} == {503}
    may_go_on.set()
    statuses = [answer.status_code for answer in await asyncio.gather(*slow)]
    assert sorted(statuses) == [202] * 6 + [503] * 2


# Who means harm


async def test_json_that_pretends_to_be_a_reference_is_json(service: Service) -> None:
    """Whatever a client sends is encoded anew as JSON, which begins with no such byte, and control characters are escaped."""
    client = service.client()
    await client.post("/v1/tasks", json=task("victim"))
    key = await key_of(service, "victim")
    reference = referring(ref_of((await service.tasks())["victim"].payload) or ValueRef("", 0, b""))
    pretences = [
        {"key": key, "size_bytes": 162, "sha256": "00" * 32},
        {"\x01": key},
        {reference.decode("latin-1"): 1},
        [key, 162, reference.decode("latin-1")],
    ]
    for number, pretence in enumerate(pretences):
        response = await client.post("/v1/tasks", json=task(f"t{number}", {"p": [pretence]}))
        if response.status_code == 202:
            assert response.json()["payload"] == {"p": [pretence]}
            shown = (await client.get(f"/v1/tasks/t{number}")).json()
            assert shown["payload"] == {"p": [pretence]}
    for raw in (reference, b"\x01{}", MARK):
        body = b'{"id":"raw","function":"media.echo","payload":' + raw + b"}"
        assert (await client.post("/v1/tasks", content=body)).status_code in (400, 422)
        line = await client.post("/v1/tasks/batch", content=body, headers={"content-type": "application/x-ndjson"})
        assert line.json()["refused"] == 1
    for stored in (await service.tasks()).values():
        assert stored.id == "victim" or not set(keys_of(stored.payload)) & {key}


async def test_another_tenants_value_cannot_be_reached_by_knowing_its_key(service: Service) -> None:
    """Keys come from the table alone: neither paths nor payloads nor parameters lead to an object."""
    await service.client().post("/v1/tasks", json=task("secret"))
    key = await key_of(service, "secret")
    rival = service.client("rival")
    for path in (f"/v1/tasks/{key}", "/v1/tasks/secret", f"/v1/tasks/{key.replace('/', '%2F')}/result"):
        assert (await rival.get(path)).status_code == 404
    await rival.post("/v1/tasks", json=task("mine", {"key": key}))
    assert (await rival.get("/v1/tasks/mine")).json()["payload"] == {"key": key}


async def test_two_tenants_with_the_same_payload_share_nothing(service: Service) -> None:
    """Or one could learn what the other has, or lose its own when the other's is removed."""
    await service.client().post("/v1/tasks", json=task())
    await service.client("rival").post("/v1/tasks", json=task("b"))
    keys = [await key_of(service, "a"), await key_of(service, "b")]
    assert sorted(keys) == service.objects.keys()
    assert len(set(keys)) == 2
    digests = {hashlib.sha256(service.objects.get(key)).hexdigest() for key in keys}
    assert len(digests) == 1
    assert not any(digest in key for key in keys for digest in digests)


async def test_a_full_queue_costs_no_object_for_long(service: Service) -> None:
    await service.dispatcher.inner.put_tenant(Tenant(TenantId("acme"), queued_max=1))
    client = service.client()
    for number in range(4):
        await client.post("/v1/tasks", json=task(f"t{number}"))
    await values(service).removed()
    assert service.objects.keys() == [await key_of(service, "t0")]


async def test_large_values_of_a_task_in_history_are_shown_whole(service: Service) -> None:
    client = service.client()
    await client.post("/v1/tasks", json=task())
    result = msgspec.json.encode(["z" * 300])
    await service.succeed("a", await written(service, result))
    paths = ("/v1/tasks/a", "/v1/tasks/a/result", "/v1/tasks")
    before = [(await client.get(path)).json() for path in paths]
    assert (before[0]["payload"], before[0]["result"]) == (LARGE, ["z" * 300])
    assert await service.archive() == 1
    assert await service.tasks() == {}
    assert [(await client.get(path)).json() for path in paths] == before


async def test_a_large_payload_in_history_is_known_by_what_it_says(service: Service) -> None:
    """The object of a second submit is left to the sweeper: whether it is the task's only the file can say."""
    client = service.client()
    await client.post("/v1/tasks", json=task())
    await service.succeed("a")
    kept = await key_of(service)
    await service.archive()
    again = await client.post("/v1/tasks", json=task())
    assert (again.status_code, again.json()["duplicate"], again.json()["payload"]) == (200, True, LARGE)
    other = await client.post("/v1/tasks", json=task(payload={"x": "z" * 150}))
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    await values(service).removed()
    assert kept in service.objects.keys("value/")
    assert await service.dispatcher.inner.references(service.objects.keys("value/")) == (kept,)
