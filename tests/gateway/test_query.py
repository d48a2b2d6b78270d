"""Looking at tasks: one, its result, its log, and listings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


async def test_a_succeeded_task_is_shown_with_its_result(service: Service) -> None:
    """Payload and result are the JSON that they were."""
    await service.submit("t", payload={"x": 1})
    await service.succeed("t", b'{"y":[1,null]}')
    body = (await service.client().get("/v1/tasks/t")).json()
    assert (body["state"], body["payload"], body["result"]) == ("succeeded", {"x": 1}, {"y": [1, None]})
    assert (body["duration_ms"], body["ended_at"]) == (1.5, "2030-03-17T17:46:40.001Z")
    assert "duplicate" not in body


async def test_a_task_that_has_no_result_is_shown_without(service: Service) -> None:
    """A result that is null is something else."""
    await service.submit("t")
    assert "result" not in (await service.client().get("/v1/tasks/t")).json()
    await service.succeed("t", b"null")
    assert (await service.client().get("/v1/tasks/t")).json()["result"] is None


async def test_a_failed_task_says_why(service: Service) -> None:
    """Reason, message and traceback."""
    await service.submit("t")
    await service.fail("t")
    body = (await service.client().get("/v1/tasks/t")).json()
    assert body["state"] == "failed"
    assert body["error"] == {
        "reason": "non_retryable",
        "message": "ZeroDivisionError: division by zero",
        "detail": "Traceback ...",
    }


async def test_wait_answers_as_soon_as_the_task_has_ended(service: Service) -> None:
    """Both for the task and for its result."""
    await service.submit("t")
    await service.start("t")
    answers = []
    for path in ("/v1/tasks/t", "/v1/tasks/t/result"):
        service.dispatcher.waiting.clear()
        answers.append(asyncio.create_task(service.client().get(path, params={"wait": 20})))
        await service.dispatcher.waiting.wait()
    assert not any(answer.done() for answer in answers)
    await service.succeed("t", b'"done"')
    task, result = await asyncio.gather(*answers)
    assert (task.json()["state"], task.json()["result"], result.json()) == ("succeeded", "done", "done")


@pytest.mark.parametrize("wait", ["0", "0.001"])
async def test_a_wait_that_ends_too_early_shows_the_task_as_it_is(service: Service, wait: str) -> None:
    """200 for the task, 409 for the result."""
    await service.submit("t")
    client = service.client()
    assert (await client.get(f"/v1/tasks/t?wait={wait}")).json()["state"] == "queued"
    response = await client.get(f"/v1/tasks/t/result?wait={wait}")
    assert (response.status_code, response.json()["code"], response.json()["state"]) == (409, "not_ended", "queued")


async def test_a_longer_wait_than_allowed_is_cut_not_refused(service: Service) -> None:
    """The dispatcher is asked for no more than `wait_s_max`."""
    await service.submit("t")
    await service.succeed("t")
    assert (await service.client().get("/v1/tasks/t?wait=86400")).status_code == 200
    assert service.dispatcher.waits_s == [service.settings.wait_s_max]


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon", ""])
async def test_a_wait_that_is_no_time_is_refused(service: Service, wait: str) -> None:
    """422 that names the parameter."""
    response = await service.client().get("/v1/tasks/t", params={"wait": wait})
    assert (response.status_code, response.json()["errors"][0]["path"]) == (422, "wait")


async def test_a_client_that_hangs_up_leaves_no_wait_behind(service: Service) -> None:
    """The dispatcher's wait is cancelled when the connection goes."""
    await service.submit("t")
    hung_up = asyncio.Event()
    messages: list[MutableMapping[str, object]] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> MutableMapping[str, object]:
        if messages:
            return messages.pop()
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, object]) -> None:
        assert message.get("status") in (None, 499)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/v1/tasks/t",
        "raw_path": b"/v1/tasks/t", "query_string": b"wait=25", "root_path": "", "server": ("gateway", 80),
        "headers": [(b"authorization", b"Bearer tsk_user")], "client": ("client", 1), "state": {},
    }  # fmt: skip
    request = asyncio.create_task(service.app(scope, receive, send))
    await service.dispatcher.waiting.wait()
    assert service.dispatcher.inner.waits == 1
    hung_up.set()
    await asyncio.wait_for(request, 5)
    assert service.dispatcher.inner.waits == 0


@pytest.mark.parametrize("result", [b'{"a":1}', b"null", b"[]", b'"text"', b"0"])
async def test_the_result_is_the_json_that_the_handler_returned(service: Service, result: bytes) -> None:
    """Byte for byte."""
    await service.submit("t")
    await service.succeed("t", result)
    response = await service.client().get("/v1/tasks/t/result")
    assert (response.status_code, response.content) == (200, result)


async def test_a_failed_or_cancelled_task_has_no_result(service: Service) -> None:
    """409 that says which, and for a failure why."""
    await service.submit("bad")
    await service.fail("bad")
    await service.submit("off")
    await service.client().post("/v1/tasks/off/cancel")
    failed = await service.client().get("/v1/tasks/bad/result")
    body = failed.json()
    assert (failed.status_code, body["code"], body["state"]) == (409, "task_failed", "failed")
    assert (body["reason"], body["trace"]) == ("non_retryable", "Traceback ...")
    assert "division by zero" in body["detail"]
    cancelled = await service.client().get("/v1/tasks/off/result")
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, "task_cancelled")


@pytest.mark.parametrize(
    "path", ["/v1/tasks/none", "/v1/tasks/none/result?wait=5", "/v1/tasks/none/logs", "/v1/tasks/%00"]
)
async def test_a_task_that_is_not_there_is_a_404(service: Service, path: str) -> None:
    """At once, also if one would have waited."""
    response = await service.client().get(path)
    assert (response.status_code, response.json()["code"]) == (404, "task_not_found")


async def test_pages_go_through_all_tasks_newest_first(service: Service) -> None:
    """Each once; the last page has no cursor, and payloads are left out."""
    for number in range(9):
        await service.submit(f"t-{number}")
    client, seen, cursor = service.client(), [], None
    sizes = []
    while True:
        page = (await client.get("/v1/tasks", params={"cursor": cursor} if cursor else {})).json()
        seen += [task["id"] for task in page["tasks"]]
        sizes.append(len(page["tasks"]))
        assert all("payload" not in task for task in page["tasks"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"t-{number}" for number in reversed(range(9))]
    assert sizes == [4, 4, 1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["c", "b", "a"]),
        ("state=scheduled", ["c"]),
        ("state=scheduled&state=queued", ["c", "b", "a"]),
        ("state=failed", []),
        ("function=media.thumbnail", ["b"]),
        ("priority=high", ["a"]),
        ("tag=team=blue", ["a", "b"][::-1]),
        ("tag=team=green", []),
        ("tag=note=a=b", ["c"]),
        ("created_after=1900000000.001", ["c", "b"]),
        ("created_before=2030-03-17T17:46:40.001Z", ["a"]),
        ("created_after=2030-03-17T18:46:40.001%2B01:00&created_before=1900000000.002", ["b"]),
        ("limit=1", ["c"]),
    ],
)
async def test_filters(service: Service, query: str, expected: list[str]) -> None:
    """All given ones must hold."""
    await service.submit("a", priority="high", tags={"team": "blue"})
    await service.submit("b", function="media.thumbnail", payload={"url": "u"}, tags={"team": "blue"})
    await service.submit("c", delay=5, tags={"note": "a=b"})
    tasks = (await service.client().get(f"/v1/tasks?{query}")).json()["tasks"]
    assert [task["id"] for task in tasks] == expected


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("state=lost", "state"),
        ("state=", "state"),
        ("priority=urgent", "priority"),
        ("tag=team", "tag"),
        ("tag==blue", "tag"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2030-01-01T00:00:00", "created_before"),
        ("created_before=1900000000000", "created_before"),
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("stat=queued", "stat"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused_by_name(service: Service, query: str, named: str) -> None:
    """Above all a misspelt one: without it, everything would be listed."""
    response = await service.client().get(f"/v1/tasks?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["errors"][0]["path"].partition(".")[0] == named
    assert service.dispatcher.calls["list_tasks"] == 0


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "ä", "YmVmb3JlOg", "YmVmb3JlOi0x", "b2xkOjE", "9" * 5_000, "%00"])
async def test_a_made_up_cursor_is_refused(service: Service, cursor: str) -> None:
    """422; numbers below zero or beyond a table's are none of ours."""
    response = await service.client().get("/v1/tasks", params={"cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")


async def test_a_tenant_that_nobody_has_has_no_tasks(service: Service) -> None:
    """An admin may ask for it."""
    await service.submit("t")
    response = await service.client("admin").get("/v1/tasks?tenant=nobody")
    assert response.json() == {"tasks": [], "next_cursor": None}
