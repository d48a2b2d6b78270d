"""The scheduler asked and told from Python, by both clients, against a real HTTP server."""

from __future__ import annotations

import asyncio

import pytest

from taskservice.client import AsyncClient, Client
from taskservice.errors import AuthError, NotFoundError

CALLS = [
    (("why", "a/b"), {}, "GET", "/v1/tasks/a%2Fb/why", None),
    (("timeline", "t1"), {}, "GET", "/v1/tasks/t1/timeline", None),
    (("usage",), {}, "GET", "/v1/usage", None),
    (("usage",), {"tenant": "acme"}, "GET", "/v1/usage?tenant=acme", None),
    (("function", "a.f"), {}, "GET", "/v1/functions/a.f", None),
    (("change_function", "a.f"), {"rate": "5/s", "max_running": None}, "PATCH", "/v1/functions/a.f",
     {"rate": "5/s", "max_running": None}),
    (("pause_function", "a.f"), {}, "PATCH", "/v1/functions/a.f", {"paused": True}),
    (("resume_function", "a.f"), {}, "PATCH", "/v1/functions/a.f", {"paused": False}),
    (("downstream", "stripe"), {}, "GET", "/v1/downstreams/stripe", None),
    (("change_downstream", "stripe"), {"frozen": 9}, "PATCH", "/v1/downstreams/stripe", {"frozen": 9}),
    (("change_class", "low"), {"weight": 3.0}, "PATCH", "/v1/classes/low", {"weight": 3.0}),
    (("tenant", "acme"), {}, "GET", "/v1/tenants/acme", None),
    (("create_tenant", "acme"), {"weight": 2.0, "rate": None}, "POST", "/v1/tenants", {"id": "acme", "weight": 2.0}),
    (("change_tenant", "acme"), {"quota": {"maximum": {"cpus": 4}}, "rate": None}, "PATCH", "/v1/tenants/acme",
     {"quota": {"maximum": {"cpus": 4}}, "rate": None}),
    (("deliveries", "a/b"), {}, "GET", "/v1/tasks/a%2Fb/deliveries", None),
    (("redeliver", "t1"), {}, "POST", "/v1/tasks/t1/deliveries/retry", None),
    (("enable_callback_endpoint", "https://a.example"), {}, "POST", "/v1/callbacks/endpoints/enable",
     {"origin": "https://a.example"}),
    (("enable_callback_endpoint", "https://a.example"), {"tenant": "acme"}, "POST",
     "/v1/callbacks/endpoints/enable?tenant=acme", {"origin": "https://a.example"}),
    (("rotate_callback_secret",), {"tenant": "acme"}, "POST", "/v1/callbacks/secret?tenant=acme", None),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("call", "options", "method", "path", "body"), CALLS)
def test_what_is_asked_travels_as_it_was_said(server, kind, call, options, method, path, body):
    """Null, which takes a setting back, included."""
    server.answer({"name": "it"})
    name, *rest = call
    assert ask(server, kind, name, *rest, **options) == {"name": "it"}
    asked = server.asked[0]
    assert (asked.method, asked.path) == (method, path)
    assert (asked.json if asked.body else None) == body


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", ["downstreams", "classes", "tenants"])
def test_lists_are_lists(server, kind, name):
    server.answer({name: [{"name": "one"}]})
    assert ask(server, kind, name) == [{"name": "one"}]
    assert server.asked[0].path == f"/v1/{name}"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_endpoints_of_callbacks_are_a_list(server, kind):
    server.answer({"endpoints": [{"origin": "https://a.example"}]})
    assert ask(server, kind, "callback_endpoints", tenant="*") == [{"origin": "https://a.example"}]
    assert server.asked[0].path == "/v1/callbacks/endpoints?tenant=%2A"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_setting_that_there_is_not_is_refused_before_it_is_sent(server, kind):
    for name in ("change_function", "change_downstream", "change_class", "change_tenant", "create_tenant"):
        with pytest.raises(TypeError, match="there is no setting wieght"):
            ask(server, kind, name, "x", wieght=1)
    assert server.asked == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_refusals_are_errors(server, kind):
    server.problem(404, "task_not_found")
    server.problem(403, "missing_scope")
    with pytest.raises(NotFoundError):
        ask(server, kind, "why", "none")
    with pytest.raises(AuthError):
        ask(server, kind, "change_class", "low", weight=2.0)


def test_a_task_says_why_it_waits_and_what_it_went_through(server):
    server.answer({"id": "t1", "function": "a.f", "state": "queued"})
    server.answer({"gate": "turn"})
    server.answer({"stages": []})
    with Client(server.url, "tsk_secret", timeout_s=5) as client:
        task = client.get("t1")
        assert task.why() == {"gate": "turn"}
        assert task.timeline() == {"stages": []}


def ask(server, kind, name, *arguments, **options):
    """The answer of that method, of either client."""
    if kind == "sync":
        with Client(server.url, "tsk_secret", timeout_s=5) as client:
            return getattr(client, name)(*arguments, **options)

    async def run():
        async with AsyncClient(server.url, "tsk_secret", timeout_s=5) as client:
            return await getattr(client, name)(*arguments, **options)

    return asyncio.run(run())
