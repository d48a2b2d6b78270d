"""Schedules from Python, by both clients, against a real HTTP server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from taskservice.client import AsyncClient, Client
from taskservice.errors import ConflictError, NotFoundError, RequestError

NIGHTLY = {"id": "nightly", "next_at": []}


@pytest.fixture
def client(server):
    with Client(server.url, "tsk_secret", timeout_s=5) as client:
        yield client


def test_a_schedule_travels_as_it_was_said(server, client):
    server.answer(NIGHTLY, 201)
    made = client.create_schedule(
        "a.f", {"n": 1}, id="nightly", cron="30 2 * * *", zone="Europe/Berlin", overlap="skip", catch_up=None,
        jitter=timedelta(minutes=1), starts_at=datetime(2030, 1, 1, tzinfo=UTC), tags={"a": "b"},
        ttl="2h", deadline=timedelta(hours=1), off_peak=True,
    )  # fmt: skip
    asked = server.asked[0]
    assert (made, asked.method, asked.path) == (NIGHTLY, "POST", "/v1/schedules")
    said = asked.json
    assert datetime.fromisoformat(said.pop("starts_at")) == datetime(2030, 1, 1, tzinfo=UTC)
    assert said == {
        "id": "nightly", "function": "a.f", "payload": {"n": 1}, "cron": "30 2 * * *", "zone": "Europe/Berlin",
        "overlap": "skip", "jitter": 60.0, "tags": {"a": "b"},
        "ttl": "2h", "deadline": 3_600.0, "off_peak": True,
    }  # fmt: skip


def test_a_schedule_without_an_id_has_one_before_it_is_sent(server, client):
    """So it is there once, though it is sent again after an answer was lost."""
    server.hang_up()
    server.answer(NIGHTLY, 201)
    client.create_schedule("a.f", {}, interval="5m")
    first, second = server.asked
    assert first.json == second.json
    assert len(first.json["id"]) == 36


def test_a_change_sends_what_is_taken_back_as_null(server, client):
    server.answer(NIGHTLY)
    client.change_schedule("nightly", interval=timedelta(hours=1), ends_at=None, payload={"n": 2}, function="a.g")
    asked = server.asked[0]
    assert (asked.method, asked.path) == ("PATCH", "/v1/schedules/nightly")
    assert asked.json == {"interval": 3_600.0, "ends_at": None, "payload": {"n": 2}, "function": "a.g"}


def test_what_else_can_be_asked_about_schedules(server, client):
    for _ in range(5):
        server.answer(NIGHTLY)
    client.get_schedule("a/b")
    client.get_schedule("nightly", next=9)
    client.pause_schedule("nightly")
    client.resume_schedule("nightly")
    client.remove_schedule("nightly")
    assert [(asked.method, asked.path, asked.body) for asked in server.asked] == [
        ("GET", "/v1/schedules/a%2Fb", b""),
        ("GET", "/v1/schedules/nightly?next=9", b""),
        ("PATCH", "/v1/schedules/nightly", b'{"paused":true}'),
        ("PATCH", "/v1/schedules/nightly", b'{"paused":false}'),
        ("DELETE", "/v1/schedules/nightly", b""),
    ]


def test_schedules_are_fetched_page_by_page(server, client):
    server.answer({"schedules": [NIGHTLY, {"id": "b"}], "next_cursor": "c"})
    server.answer({"schedules": [{"id": "c"}], "next_cursor": None})
    assert [one["id"] for one in client.schedules(tenant="*")] == ["nightly", "b", "c"]
    assert [asked.path for asked in server.asked] == [
        "/v1/schedules?limit=200&tenant=%2A",
        "/v1/schedules?limit=200&tenant=%2A&cursor=c",
    ]


def test_refusals_are_errors_of_their_kinds(server, client):
    server.problem(404, "schedule_not_found")
    server.problem(409, "schedule_exists")
    server.problem(422, "cron_invalid", "cron '61 * * * *': bad minute", errors=[{"path": "$.cron", "message": "m"}])
    with pytest.raises(NotFoundError):
        client.get_schedule("none")
    with pytest.raises(ConflictError):
        client.create_schedule("a.f", {}, id="nightly", interval=5)
    with pytest.raises(RequestError, match="bad minute"):
        client.create_schedule("a.f", {}, cron="61 * * * *")


def test_what_no_schedule_has_is_not_sent(server, client):
    with pytest.raises(TypeError, match="no delay"):
        client.create_schedule("a.f", {}, delay="5m")
    with pytest.raises(TypeError, match="no run_at"):
        client.change_schedule("nightly", run_at=1)
    with pytest.raises(RequestError, match="payload"):
        client.create_schedule("a.f", [1], interval=5)
    with pytest.raises(RequestError, match="payload"):
        client.change_schedule("nightly", payload=None)
    assert not server.asked


def test_the_async_client_asks_the_same(server):
    async def test():
        async with AsyncClient(server.url, "tsk_secret", timeout_s=5) as client:
            for _ in range(6):
                server.answer(NIGHTLY)
            server.answer({"schedules": [NIGHTLY], "next_cursor": None})
            await client.create_schedule("a.f", {}, id="nightly", interval=5)
            await client.get_schedule("nightly")
            await client.change_schedule("nightly", overlap="skip")
            await client.pause_schedule("nightly")
            await client.resume_schedule("nightly")
            await client.remove_schedule("nightly")
            assert [one async for one in client.schedules()] == [NIGHTLY]

    asyncio.run(test())
    assert [asked.method for asked in server.asked] == ["POST", "GET", "PATCH", "PATCH", "PATCH", "DELETE", "GET"]
