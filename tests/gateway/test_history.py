"""Tasks in history are seen as all others are."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from taskservice.core.past import DAY_MS

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

WEEK = 7


async def test_a_task_in_history_is_shown_as_before(service: Service) -> None:
    await service.submit("a", payload={"n": [1, "ü"]}, tags={"k": "v"}, priority="high")
    await service.succeed("a", result=b'{"made":3}')
    client = service.client()
    before = [(await client.get(path)).json() for path in ("/v1/tasks/a", "/v1/tasks/a/result", "/v1/tasks")]
    assert await service.archive() == 1
    assert await service.tasks() == {}
    for path, body in zip(("/v1/tasks/a", "/v1/tasks/a/result", "/v1/tasks"), before, strict=True):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, body)
    waited = await client.get("/v1/tasks/a", params={"wait": 20})
    assert waited.json()["state"] == "succeeded"


async def test_each_tenant_sees_its_own_history(service: Service) -> None:
    await service.submit("a")
    await service.succeed("a")
    await service.archive()
    rival = service.client("rival")
    assert (await rival.get("/v1/tasks/a")).status_code == 404
    assert (await rival.get("/v1/tasks")).json()["tasks"] == []
    admin = service.client("admin")
    assert len((await admin.get("/v1/tasks", params={"tenant": "*"})).json()["tasks"]) == 1


async def test_what_failed_or_was_cancelled_says_so_from_history(service: Service) -> None:
    await service.submit("a")
    await service.fail("a")
    await service.submit("b")
    await service.client().post("/v1/tasks/b/cancel")
    service.now_ms[0] += 30 * DAY_MS
    assert (await service.archiver.run_once()).archived == 2
    client = service.client()
    failed = await client.get("/v1/tasks/a/result")
    assert failed.status_code == 404, "a dead letter's time is over when it leaves, if the window is shorter than that"
    assert (await client.get("/v1/tasks/b")).status_code == 404


async def test_a_cancelled_task_in_history_can_be_cancelled_again(service: Service) -> None:
    client = service.client()
    await service.submit("a")
    await service.submit("b")
    await client.post("/v1/tasks/b/cancel")
    await service.succeed("a")
    assert await service.archive() == 2
    again = await client.post("/v1/tasks/b/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    ended = await client.post("/v1/tasks/a/cancel")
    assert (ended.status_code, ended.json()["code"], ended.json()["state"]) == (409, "ended", "succeeded")
    both = (await client.post("/v1/tasks/cancel", json={"ids": ["a", "b"]})).json()
    assert (both["cancelled"], both["refused"]) == (1, 1)
    assert (await client.get("/v1/tasks/b/result")).json()["code"] == "task_cancelled"


async def test_an_id_in_history_is_known_for_the_window_and_new_after_it(service: Service) -> None:
    client, body = service.client(), {"id": "a", "function": "media.echo", "payload": {"n": 1}}
    await service.submit("a", payload={"n": 1})
    await service.succeed("a")
    await service.archive()
    same = await client.post("/v1/tasks", json=body)
    assert (same.status_code, same.json()["duplicate"], same.json()["payload"]) == (200, True, {"n": 1})
    other = await client.post("/v1/tasks", json={**body, "payload": {"n": 2}})
    assert (other.status_code, other.json()["code"], other.json()["state"]) == (409, "conflict", "succeeded")
    rejected = await client.post("/v1/tasks", json={**body, "on_conflict": "reject"})
    assert (rejected.status_code, rejected.json()["code"]) == (409, "duplicate")
    batch = (await client.post("/v1/tasks/batch", json={"tasks": [body, {**body, "id": "b"}]})).json()
    assert (batch["duplicates"], batch["accepted"]) == (1, 1)
    service.now_ms[0] += WEEK * DAY_MS
    assert (await service.archiver.run_once()).forgotten == 1
    assert (await client.post("/v1/tasks", json={**body, "payload": {"n": 2}})).status_code == 202


async def test_history_that_cannot_be_read_is_said_and_takes_nothing_else_along(service: Service) -> None:
    await service.submit("a")
    await service.succeed("a")
    await service.archive()
    await service.submit("b")
    (key,) = [info.key for info in service.objects.list("history/")]
    data = service.objects.get(key)
    service.objects.delete([key])
    assert (await service.client().get("/v1/tasks/a")).status_code == 404
    service.objects.put_if_absent(key, bytes(len(data)))
    damaged = await service.client().get("/v1/tasks/a")
    assert damaged.status_code == 500
    assert (await service.client().get("/v1/tasks/b")).status_code == 200


@pytest.mark.parametrize("seed", range(6))
async def test_pages_never_miss_or_repeat_a_task_while_tasks_leave(service: Service, seed: int) -> None:
    """Against a plain list of what was there when the listing began."""
    rng, client = Random(seed), service.client("admin")
    there: list[dict] = []
    for n in range(25):
        id, tag = f"t{n}", rng.choice(["x", "y"])
        await service.submit(id, priority=rng.choice(["high", "low"]), tags={"k": tag})
        if rng.random() < 0.7:
            await client.post(f"/v1/tasks/{id}/cancel")
        if rng.random() < 0.3:
            service.now_ms[0] += rng.choice([1, DAY_MS // 2])
            await service.archiver.run_once()
        there.insert(0, (await client.get(f"/v1/tasks/{id}")).json())
    for wish in (
        {},
        {"tag": "k=x"},
        {"state": "cancelled"},
        {"priority": "high", "created_after": there[-5]["created_at"]},
    ):
        seen, cursor = [], None
        while True:
            page = (
                await client.get("/v1/tasks", params={**wish, "limit": rng.randrange(1, 6), **cursor_of(cursor)})
            ).json()
            seen += page["tasks"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            service.now_ms[0] += DAY_MS // 8
            await service.archiver.run_once()
            await service.submit(f"later-{len(seen)}-{rng.random()}", tags={"k": "x"})
        expected = [task["id"] for task in there if passes(task, wish)]
        assert [task["id"] for task in seen if not task["id"].startswith("later")] == expected
        assert len({task["id"] for task in seen}) == len(seen)
    assert list(service.objects.list("history/"))


def cursor_of(cursor: str | None) -> dict[str, str]:
    return {} if cursor is None else {"cursor": cursor}


def passes(task: dict, wish: dict[str, str]) -> bool:
    return (
        ("tag" not in wish or task["tags"] == {"k": "x"})
        and ("state" not in wish or task["state"] == wish["state"])
        and ("priority" not in wish or task["priority"] == wish["priority"])
        and ("created_after" not in wish or task["created_at"] >= wish["created_after"])
    )
