"""Cancelling tasks that have not started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


async def test_a_waiting_task_is_cancelled(service: Service) -> None:
    """200 with the task."""
    await service.submit("t")
    response = await service.client().post("/v1/tasks/t/cancel")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")


async def test_a_running_task_is_not_cancelled(service: Service) -> None:
    """409 with its state."""
    await service.submit("t")
    await service.start("t")
    response = await service.client().post("/v1/tasks/t/cancel")
    assert (response.status_code, response.json()["code"], response.json()["state"]) == (409, "running", "running")


async def test_a_task_that_has_ended_is_not_cancelled(service: Service) -> None:
    """409 with its state."""
    await service.submit("t")
    await service.succeed("t")
    response = await service.client().post("/v1/tasks/t/cancel")
    assert (response.status_code, response.json()["code"], response.json()["state"]) == (409, "ended", "succeeded")


@pytest.mark.parametrize("task_id", ["none", "%00", "a%20b"])
async def test_a_task_that_is_not_there_is_a_404(service: Service, task_id: str) -> None:
    """The same for ids that no task can have."""
    response = await service.client().post(f"/v1/tasks/{task_id}/cancel")
    assert (response.status_code, response.json()["code"]) == (404, "task_not_found")


async def test_many_are_cancelled_each_for_itself(service: Service) -> None:
    """In the order given, with counts."""
    await service.submit("b")
    await service.start("b")
    await service.submit("a")
    await service.submit("c")
    response = await service.client().post("/v1/tasks/cancel", json={"ids": ["c", "b", "none", "a"]})
    body = response.json()
    assert (response.status_code, body["cancelled"], body["refused"]) == (200, 2, 2)
    assert [one["id"] for one in body["results"]] == ["c", "b", "none", "a"]
    assert [one.get("error", {}).get("code") for one in body["results"]] == [None, "running", "task_not_found", None]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"ids":"a"}', 422),
        (b'{"ids":[1]}', 422),
        (b'{"ids":["' + b"x" * 201 + b'"]}', 422),
        (b'{"ids":["a"],"ids":["b"]}', 422),
        (b'{"ids":["a"],"state":"queued"}', 422),
        (b'{"ids":["a"],"dry_run":true}', 422),
        (b'{"dry_run":true}', 422),
        (b'{"state":[]}', 422),
        (b'{"state":null,"function":null}', 422),
        (b'{"state":"waiting"}', 422),
        (b'{"state":["queued","running"]}', 422),
        (b'{"tag":"job"}', 422),
        (b'{"created_after":"yesterday"}', 422),
        (b'{"funktion":"media.echo"}', 422),
        (b'{"tenant":"rival"}', 403),
        (b'{"ids":["\xff"]}', 400),
        (b'{"ids":' + b"[" * 1_900, 422),
    ],
)
async def test_a_body_that_does_not_say_what_it_means_cancels_nothing(
    service: Service, body: bytes, status: int
) -> None:
    """Nothing that is misspelt, or empty, is taken for "all"."""
    await service.submit("a")
    response = await service.client().post("/v1/tasks/cancel", content=body)
    assert response.status_code == status
    assert (await service.client().get("/v1/tasks/a")).json()["state"] == "queued"
