"""`Client` and `AsyncClient` against a real HTTP server, and where they find it."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from taskservice.client import AsyncClient, AsyncTaskHandle, Client, TaskHandle
from taskservice.client.discovery import discover
from taskservice.errors import RequestError, TaskFailed, UnreachableError

QUEUED = {"id": "t1", "function": "a.f", "state": "queued", "duplicate": False}


@pytest.fixture
def client(server):
    with Client(server.url, "tsk_secret", timeout_s=5) as client:
        yield client


def test_a_task_from_submit_to_result(server, client):
    server.answer(QUEUED, 202)
    server.problem(409, "not_ended")
    server.answer({"sum": 3})
    at = datetime(2030, 1, 31, 9, tzinfo=UTC)
    task = client.submit("a.f", {"n": 1}, id="t1", priority="high", delay="5m", tags={"a": "b"}, max_attempts=None, deadline=at, off_peak=True, callback_url="https://a.example/x", on_success="a.g", on_failure="a.h")  # fmt: skip
    assert (task.id, task.state, task.function, task.duplicate) == ("t1", "queued", "a.f", False)
    assert task.result(timeout=5) == {"sum": 3}
    assert task.state == "succeeded"
    submit, _, result = server.asked
    assert (submit.method, submit.path, submit.headers["authorization"]) == ("POST", "/v1/tasks", "Bearer tsk_secret")
    assert submit.headers["content-type"] == "application/json"
    assert submit.json == {
        "id": "t1", "function": "a.f", "payload": {"n": 1}, "priority": "high", "delay": "5m", "tags": {"a": "b"},
        "deadline": at.astimezone().isoformat(), "off_peak": True, "callback_url": "https://a.example/x",
        "on_success": "a.g", "on_failure": "a.h",
    }  # fmt: skip
    assert result.path.startswith("/v1/tasks/t1/result?wait=")


def test_a_failed_task_is_raised_and_its_handle_knows(server, client):
    server.answer(QUEUED, 202)
    server.problem(409, "task_failed", "Task t1 failed: boom", reason="handler_error", trace="Traceback")
    task = client.submit("a.f", {})
    with pytest.raises(TaskFailed, match="boom"):
        task.result()
    assert task.state == "failed"


def test_what_can_be_asked_of_a_task(server, client):
    server.answer({**QUEUED, "state": "running"})
    server.answer(text="hello\n")
    server.answer({**QUEUED, "state": "cancelled"})
    task = client.get("t1")
    assert task.logs() == "hello\n"
    assert task.cancel().state == "cancelled"
    paths = [(asked.method, asked.path) for asked in server.asked]
    assert paths == [("GET", "/v1/tasks/t1"), ("GET", "/v1/tasks/t1/logs"), ("POST", "/v1/tasks/t1/cancel")]


def test_a_strange_id_stays_one_part_of_the_path(server, client):
    server.answer(QUEUED)
    client.get("../keys?x=1")
    assert server.asked[0].path == "/v1/tasks/..%2Fkeys%3Fx%3D1"


def test_a_batch_travels_as_lines(server, client):
    results = [{"id": "x", "status": "accepted"}, {"id": None, "status": "refused", "error": {"status": 422}}]
    server.answer({"results": results, "accepted": 1, "duplicates": 0, "refused": 1})
    answer = client.submit_many([{"n": 1}, {"n": 2}], "a.f", priority="low")
    assert (answer.accepted, answer.refused) == (1, 1)
    with pytest.raises(RequestError, match="HTTP 422"):
        answer.raise_for_refused()
    asked = server.asked[0]
    assert (asked.path, asked.headers["content-type"]) == ("/v1/tasks/batch", "application/x-ndjson")
    assert [(line["payload"], line["priority"]) for line in asked.lines] == [({"n": 1}, "low"), ({"n": 2}, "low")]


def test_a_connection_that_breaks_is_survived(server, client):
    server.hang_up()
    server.problem(503, "not_ready", headers={"retry-after": "0"})
    server.answer({"functions": [{"name": "a.f"}]})
    assert client.functions() == [{"name": "a.f"}]
    assert len(server.asked) == 3


def test_listings_and_bulk(server, client):
    server.answer({"tasks": [QUEUED], "next_cursor": "c"})
    server.answer({"tasks": [QUEUED], "next_cursor": None})
    server.answer({"results": [{"id": "t1", "status": "cancelled"}], "cancelled": 1, "refused": 0})
    assert [task.id for task in client.list(state="queued")] == ["t1", "t1"]
    assert server.asked[1].path == "/v1/tasks?limit=200&state=queued&cursor=c"
    assert client.cancel_many(["t1"]).cancelled == 1
    assert server.asked[2].json == {"ids": ["t1"]}


def test_all_that_fit_are_cancelled_and_waited_for(server, client):
    begun = {"operation": "op-1", "matched": 2, "changed": 0, "done": False}
    server.answer(begun, 202)
    server.answer({**begun, "changed": 2, "done": True})
    assert client.cancel_all(state="queued", created_before=5)["changed"] == 2
    assert server.asked[0].json == {"state": ["queued"], "created_before": 5}
    assert server.asked[1].path == "/v1/operations/op-1"
    server.answer(begun, 202)
    assert client.cancel_all(function="a.f", timeout=0) == begun
    server.answer({**begun, "dry_run": True, "done": True})
    assert client.cancel_all(tag="a=b", state=["queued", "retrying"], dry_run=True)["matched"] == 2
    assert server.asked[3].json == {"state": ["queued", "retrying"], "tag": "a=b", "dry_run": True}
    with pytest.raises(TypeError, match="no filter colour"):
        client.cancel_all(colour="red")


def test_whatever_can_be_cancelled_can_be_paused_resumed_run_again_and_deleted(server, client):
    """By the same names, for named tasks and for all that fit."""
    for kind, participle in (
        ("pause", "paused"),
        ("resume", "resumed"),
        ("retry", "retried"),
        ("delete", "deleted"),
    ):
        server.answer({"results": [{"id": "t1", "status": participle}], participle: 1, "refused": 0})
        answer = getattr(client, f"{kind}_many")(["t1"])
        assert (getattr(answer, participle), answer.refused) == (1, 0)
        done = {"operation": "op-1", "matched": 2, "changed": 2, "running": 0, "done": True}
        server.answer(done, 202)
        assert getattr(client, f"{kind}_all")(function="a.f") == done
        named, matching = server.asked[-2:]
        assert (named.path, named.json) == (f"/v1/tasks/{kind}", {"ids": ["t1"]})
        assert (matching.path, matching.json) == (f"/v1/tasks/{kind}", {"function": "a.f"})


def test_a_pause_may_have_an_end(server, client):
    server.answer({"results": [], "paused": 0, "refused": 0})
    client.pause_many(["t1"], until=datetime(2031, 1, 1, tzinfo=UTC))
    assert server.asked[-1].json == {"ids": ["t1"], "until": "2031-01-01T00:00:00+00:00"}
    server.answer({"operation": None, "matched": 2, "changed": 0, "done": True})
    client.pause_all(until=5, state="queued", dry_run=True)
    assert server.asked[-1].json == {"state": ["queued"], "until": 5, "dry_run": True}


def test_a_task_runs_again(server, client):
    server.answer({**QUEUED, "state": "failed"})
    server.answer({**QUEUED, "run": 2})
    task = client.get("t1")
    assert task.retry().state == "queued"
    assert (server.asked[-1].method, server.asked[-1].path) == ("POST", "/v1/tasks/t1/retry")


def test_what_admins_do(server, client):
    server.answer({"id": "acme", "weight": 2.0}, 201)
    server.answer({"id": "key_1", "secret": "tsk_x"}, 201)
    server.answer({"id": "key_1", "revoked": True})
    assert client.create_tenant("acme", weight=2, queued_max=5)["weight"] == 2.0
    assert client.create_key(["submit", "read"], tenant="acme")["secret"] == "tsk_x"
    assert client.revoke_key("key_1")["revoked"]
    tenant, key, revoke = server.asked
    assert tenant.json == {"id": "acme", "weight": 2, "queued_max": 5}
    assert key.json == {"scopes": ["submit", "read"], "name": "", "tenant": "acme"}
    assert (revoke.method, revoke.path) == ("DELETE", "/v1/keys/key_1")


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_where_nothing_listens_the_error_says_how_to_start_a_service():
    client = Client(f"http://127.0.0.1:{closed_port()}", "k", refused_s=0.2)
    with client, pytest.raises(UnreachableError, match="taskservice up") as caught:
        client.status()
    assert caught.value.exit_code == 3


def test_asyncio_has_the_same(server):
    server.answer(QUEUED, 202)
    server.hang_up()
    server.answer({"sum": 3})
    server.answer({"tasks": [QUEUED], "next_cursor": None})

    async def use():
        async with AsyncClient(server.url, "tsk_secret") as client:
            task = await client.submit("a.f", {"n": 1})
            return await task.result(), task.state, [listed.id async for listed in client.list()]

    assert asyncio.run(use()) == ({"sum": 3}, "succeeded", ["t1"])


@pytest.mark.parametrize("in_asyncio", [False, True])
def test_map_over_http(server, in_asyncio):
    def accept(asked):
        results = [{"id": line["id"], "status": "accepted"} for line in asked.lines]
        return 200, {"content-type": "application/json"}, json.dumps({"results": results}).encode()

    server.answers.append(accept)
    for n in range(3):
        server.answer(2 * n)

    async def use():
        async with AsyncClient(server.url) as client:
            return [result async for result in client.map("a.f", ({"n": n} for n in range(3)))]

    if in_asyncio:
        assert asyncio.run(use()) == [0, 2, 4]
    else:
        with Client(server.url) as client:
            assert list(client.map("a.f", ({"n": n} for n in range(3)))) == [0, 2, 4]


@pytest.mark.parametrize(("one", "other"), [(Client, AsyncClient), (TaskHandle, AsyncTaskHandle)])
def test_both_clients_have_the_same_methods_with_the_same_parameters(one, other):
    def methods(cls):
        public = {name: value for name, value in vars(cls).items() if not name.startswith("_") and callable(value)}
        return {name: str(inspect.signature(value)).split(" -> ")[0] for name, value in public.items()}

    assert methods(one) == methods(other)
    assert methods(one)


def test_importing_the_client_imports_no_server():
    code = (
        "import sys, taskservice.client; print([m for m in sys.modules if m in {'ray', 'fastapi', 'pyarrow', 'boto3'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def write_client_file(tmp_path, text):
    home = tmp_path / "home"
    home.mkdir()
    (home / "client.json").write_text(text, encoding="utf-8")


OWN = '{"url": "http://127.0.0.1:8700/", "api_key": "own"}'


@pytest.mark.parametrize(
    ("url", "key", "environ", "found"),
    [
        (None, None, {}, ("http://127.0.0.1:8700", "own")),
        (None, "arg", {}, ("http://127.0.0.1:8700", "arg")),
        (None, None, {"TASKSERVICE_API_KEY": "env"}, ("http://127.0.0.1:8700", "env")),
        (None, None, {"TASKSERVICE_URL": "https://x", "TASKSERVICE_API_KEY": "env"}, ("https://x", "env")),
        ("http://arg/", "arg", {"TASKSERVICE_URL": "https://x"}, ("http://arg", "arg")),
        ("http://127.0.0.1:8700", None, {}, ("http://127.0.0.1:8700", "own")),
        ("http://elsewhere", None, {}, ("http://elsewhere", None)),
    ],
)
def test_arguments_win_over_the_environment_which_wins_over_the_own_service(tmp_path, url, key, environ, found):
    """And the own service's key is never sent elsewhere."""
    write_client_file(tmp_path, OWN)
    place = discover(url, key, {"TASKSERVICE_HOME": str(tmp_path / "home"), **environ})
    assert (place.url, place.api_key) == found


def test_without_any_service_the_error_says_how_to_start_one():
    with pytest.raises(UnreachableError, match=r"taskservice up --app MODULE:app.*TASKSERVICE_URL"):
        discover(None, None, os.environ)


@pytest.mark.parametrize("text", ["{", "[]", '{"url": "http://x"}', '{"url": "ftp://x", "api_key": "k"}'])
def test_a_damaged_client_file_is_named(tmp_path, text):
    write_client_file(tmp_path, text)
    with pytest.raises(RequestError, match=r"client\.json cannot be used"):
        discover(None, None, os.environ)


@pytest.mark.parametrize("url", ["127.0.0.1:8700", "ftp://x", "http://", "nonsense"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(RequestError, match="is not the URL of a service"):
        discover(url, "k", {})


def test_a_place_does_not_show_its_key():
    assert "tsk_secret" not in repr(discover("http://x", "tsk_secret", {}))
