"""GET /v1/dead-letters and POST /v1/dead-letters/retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


async def several(service: Service) -> None:
    """Two dead letters, of two functions; one task that was cancelled, one that waits."""
    await service.submit("dead")
    await service.fail("dead")
    await service.submit("small", function="media.thumbnail", payload={"url": "u"})
    await service.fail("small")
    await service.submit("gone")
    await service.client().post("/v1/tasks/gone/cancel")
    await service.submit("waits", delay="1h")


async def test_only_dead_letters_are_listed(service: Service) -> None:
    await several(service)
    page = (await service.client().get("/v1/dead-letters?limit=1")).json()
    assert [(task["id"], task["error"]["reason"]) for task in page["tasks"]] == [("small", "non_retryable")]
    rest = (await service.client().get("/v1/dead-letters", params={"cursor": page["next_cursor"]})).json()
    assert [task["id"] for task in rest["tasks"]] == ["dead"]
    assert (await service.client("rival").get("/v1/dead-letters")).json()["tasks"] == []
    assert (await service.client().get("/v1/dead-letters?state=failed&function=media.echo")).json()["tasks"]
    refused = await service.client().get("/v1/dead-letters?state=queued")
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "state")


@pytest.mark.parametrize(
    ("body", "again"),
    [
        ({}, ["dead", "small"]),
        ({"function": "media.echo"}, ["dead"]),
        ({"state": ["failed"], "created_before": 1}, []),
        ({"ids": ["small"]}, ["small"]),
    ],
)
async def test_dead_letters_run_again(service: Service, body: dict[str, object], again: list[str]) -> None:
    await several(service)
    answer = await service.client().post("/v1/dead-letters/retry", json=body)
    assert answer.status_code in {200, 202}, answer.text
    if operation := answer.json().get("operation"):
        while not (await service.client().get(f"/v1/operations/{operation}")).json()["done"]:
            pass
    assert [id for id, task in sorted((await service.tasks()).items()) if task.run == 2] == again


async def test_others_than_dead_letters_cannot_be_meant(service: Service) -> None:
    refused = await service.client().post("/v1/dead-letters/retry", json={"state": "cancelled"})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "state")
    assert (await service.client("read").post("/v1/dead-letters/retry", json={})).status_code == 403
