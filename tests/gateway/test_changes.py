"""What is done to tasks that are named: cancelled, paused, resumed, run again, deleted. By filters: `test_operations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taskservice.core.operations import OperationKind
from taskservice.core.types import OutcomeKind

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


async def test_a_waiting_task_is_cancelled(service: Service) -> None:
    """200 with the task."""
    await service.submit("t")
    response = await service.client().post("/v1/tasks/t/cancel")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")


async def test_a_running_task_is_being_cancelled_until_it_has_stopped(service: Service) -> None:
    """202 with the task, as often as it is asked; and whoever looks sees it."""
    client = service.client()
    await service.submit("t")
    await service.start("t")
    assert "cancelling" not in (await client.get("/v1/tasks/t")).json()
    for _ in range(2):
        response = await client.post("/v1/tasks/t/cancel")
        told = response.json()
        assert (response.status_code, told["state"], told["cancelling"]) == (202, "running", True)
    assert (await client.get("/v1/tasks/t")).json()["cancelling"] is True
    assert [one["cancelling"] for one in (await client.get("/v1/tasks")).json()["tasks"]] == [True]
    await service.end("t", OutcomeKind.CANCELLED)
    ended = (await client.get("/v1/tasks/t")).json()
    assert (ended["state"], "cancelling" in ended) == ("cancelled", False)
    assert (await client.get("/v1/tasks/t/result")).json()["code"] == "task_cancelled"
    assert (await client.post("/v1/tasks/t/cancel")).status_code == 200


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
    assert (response.status_code, body["cancelled"], body["cancelling"], body["refused"]) == (200, 2, 1, 1)
    assert [one["id"] for one in body["results"]] == ["c", "b", "none", "a"]
    assert [one["status"] for one in body["results"]] == ["cancelled", "cancelling", "refused", "cancelled"]
    assert [one.get("error", {}).get("code") for one in body["results"]] == [None, None, "task_not_found", None]


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
@pytest.mark.parametrize("kind", ["cancel", "pause", "delete"])
async def test_a_body_that_does_not_say_what_it_means_changes_nothing(
    service: Service, kind: str, body: bytes, status: int
) -> None:
    """Nothing that is misspelt, or empty, is taken for "all"."""
    await service.submit("a")
    response = await service.client().post(f"/v1/tasks/{kind}", content=body)
    assert response.status_code == status
    assert (await service.client().get("/v1/tasks/a")).json()["state"] == "queued"


async def test_each_kind_says_for_how_many_it_was_done(service: Service) -> None:
    """Under the name of what was done; twice is as good as once, but what is deleted is not there any more."""
    client = service.client()
    await service.submit("a")
    body = {"ids": ["a", "none"]}
    done = [
        ("pause", "paused", "paused"),
        ("pause", "paused", "paused"),
        ("resume", "resumed", "queued"),
        ("cancel", "cancelled", "cancelled"),
        ("retry", "retried", "queued"),
        ("retry", "retried", "queued"),
    ]
    for kind, participle, state in done:
        answer = (await client.post(f"/v1/tasks/{kind}", json=body)).json()
        assert (answer[participle], answer["refused"]) == (1, 1)
        assert [one["status"] for one in answer["results"]] == [participle, "refused"]
        assert (await client.get("/v1/tasks/a")).json()["state"] == state
    assert (await client.post("/v1/tasks/delete", json=body)).json()["deleted"] == 1
    assert (await client.post("/v1/tasks/delete", json=body)).json()["deleted"] == 0
    assert (await client.get("/v1/tasks/a")).status_code == 404


async def test_a_dead_letter_runs_again(service: Service) -> None:
    """200 with the task in its next run; one that has succeeded does not."""
    client = service.client()
    await service.submit("bad")
    await service.fail("bad")
    response = await client.post("/v1/tasks/bad/retry")
    assert (response.status_code, response.json()["state"], response.json()["run"]) == (200, "queued", 2)
    assert response.json()["error"] is None
    await client.post("/v1/tasks/bad/cancel")
    await service.submit("good")
    await service.succeed("good")
    response = await client.post("/v1/tasks/good/retry")
    assert (response.status_code, response.json()["code"], response.json()["state"]) == (409, "ended", "succeeded")
    assert (await client.post("/v1/tasks/none/retry")).status_code == 404


async def test_a_task_in_history_is_not_run_again_but_may_be_deleted(service: Service) -> None:
    """409 that says so."""
    client = service.client()
    await service.submit("a")
    await client.post("/v1/tasks/a/cancel")
    assert await service.archive() == 1
    response = await client.post("/v1/tasks/a/retry")
    assert (response.status_code, response.json()["code"], response.json()["state"]) == (409, "in_history", "cancelled")
    assert (await client.post("/v1/tasks/delete", json={"ids": ["a"]})).json()["deleted"] == 1
    assert (await client.get("/v1/tasks/a")).status_code == 404


async def test_a_pause_has_an_end_if_it_is_said(service: Service) -> None:
    """A time to come, as ISO 8601 or in seconds."""
    client = service.client()
    await service.submit("a")
    assert (await client.post("/v1/tasks/pause", json={"ids": ["a"], "until": "2031-01-01T00:00:00Z"})).is_success
    assert (await client.get("/v1/tasks/a")).json()["paused_until"] == "2031-01-01T00:00:00.000Z"
    await client.post("/v1/tasks/resume", json={"ids": ["a"]})
    assert (await client.get("/v1/tasks/a")).json()["paused_until"] is None
    for until in ("2020-01-01T00:00:00Z", 5, "tomorrow"):
        response = await client.post("/v1/tasks/pause", json={"ids": ["a"], "until": until})
        assert (response.status_code, response.json()["errors"][0]["path"]) == (422, "until")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("cancel", {"until": "2031-01-01T00:00:00Z"}),
        ("resume", {"until": None}),
        ("pause", {"running": "cancel"}),
        ("pause", {"running": "checkpoint"}),
        ("cancel", {"running": "finish"}),
    ],
)
async def test_what_a_change_does_not_know_is_refused(service: Service, kind: str, fields: dict) -> None:
    """422; what runs is always left alone."""
    response = await service.client().post(f"/v1/tasks/{kind}", json={"ids": ["a"], **fields})
    assert response.status_code == 422
    assert (await service.client().post("/v1/tasks/pause", json={"ids": [], "running": "finish"})).status_code == 200


async def test_a_running_task_is_left_alone(service: Service) -> None:
    """409 for each kind but `cancel`, and `resume` and `retry`, for which there is nothing to do."""
    client = service.client()
    await service.submit("t")
    await service.start("t")
    for kind in OperationKind:
        answer = (await client.post(f"/v1/tasks/{kind}", json={"ids": ["t"]})).json()
        assert answer["refused"] == (kind in (OperationKind.PAUSE, OperationKind.DELETE))
    assert (await client.get("/v1/tasks/t")).json()["state"] == "running"


async def test_an_operation_that_is_still_to_come_is_named(service: Service) -> None:
    """409 until it is done."""
    client = service.client()
    await service.submit("a")
    service.dispatcher.inner._closing = True
    operation = (await client.post("/v1/tasks/pause", json={"function": "media.echo"})).json()["operation"]
    answer = (await client.post("/v1/tasks/resume", json={"ids": ["a"]})).json()
    assert answer["results"][0]["error"]["code"] == "operation_ahead"
    assert operation in answer["results"][0]["error"]["detail"]
