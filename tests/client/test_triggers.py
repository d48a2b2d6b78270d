"""Triggers from Python, by both clients, against a real HTTP server."""

from __future__ import annotations

import asyncio

import pytest

from taskservice.client import AsyncClient, Client
from taskservice.errors import ConflictError, NotFoundError

PLACED = {"id": "placed", "function": "a.f", "filter": {"type": "order.placed"}}
CAME = {"events": [{"id": "1", "source": "/shop", "matched": 0, "tasks": [], "duplicates": [], "refused": []}]}
EVENT = {"id": "1", "source": "/shop", "type": "order.placed"}


@pytest.fixture
def client(server):
    with Client(server.url, "tsk_secret", timeout_s=5) as client:
        yield client


def test_triggers_and_events_travel_as_they_were_said(server, client):
    server.answer(PLACED, 201)
    server.answer(CAME)
    assert (
        client.create_trigger("a.f", {"type": "order.placed"}, {"n": "$.data.n"}, id="placed", priority="low") == PLACED
    )
    assert client.send_events(EVENT, {**EVENT, "id": "2", "specversion": "1.0"}) == CAME
    made, sent = server.asked
    assert (made.path, made.json) == ("/v1/triggers", {**PLACED, "payload": {"n": "$.data.n"}, "priority": "low"})
    assert (sent.path, sent.headers["content-type"]) == ("/v1/events", "application/cloudevents-batch+json")
    assert sent.json == [{"specversion": "1.0", **EVENT}, {"specversion": "1.0", **EVENT, "id": "2"}]


def test_what_is_made_without_an_id_has_one_before_it_is_sent(server, client):
    """So it is there once, though it is sent again after an answer was lost."""
    for answer, ask in (
        (PLACED, lambda: client.create_trigger("a.f", {})),
        (CAME, lambda: client.send_events({"source": "/shop", "type": "order.placed"})),
    ):
        before = len(server.asked)
        server.hang_up()
        server.answer(answer)
        ask()
        first, second = server.asked[before:]
        assert first.json == second.json
        said = first.json if isinstance(first.json, dict) else first.json[0]
        assert len(said["id"]) == 36


def test_events_for_which_there_is_no_room_are_sent_again(server, client):
    """After the time that the service asks for."""
    server.problem(429, "queued_max", "The queue is full.", headers={"retry-after": "0"})
    server.answer(CAME)
    assert client.send_events(EVENT) == CAME
    first, second = server.asked
    assert first.json == second.json


def test_all_pages_are_listed_and_one_is_shown_and_removed(server, client):
    server.answer({"triggers": [PLACED], "next_cursor": "more"})
    server.answer({"triggers": [{**PLACED, "id": "b"}], "next_cursor": None})
    server.answer(PLACED)
    server.answer(PLACED)
    assert [each["id"] for each in client.triggers(tenant="*")] == ["placed", "b"]
    assert client.get_trigger("placed") == client.remove_trigger("placed") == PLACED
    assert [asked.method for asked in server.asked] == ["GET", "GET", "GET", "DELETE"]
    assert "cursor=more" in server.asked[1].path
    assert all("tenant=%2A" in asked.path or "tenant=*" in asked.path for asked in server.asked[:2])


def test_what_is_refused_is_raised(server, client):
    server.problem(409, "trigger_exists", "There is another trigger 'placed'.")
    server.problem(404, "trigger_not_found", "There is no trigger 'x/y'.")
    with pytest.raises(ConflictError):
        client.create_trigger("a.f", {}, id="placed")
    with pytest.raises(NotFoundError):
        client.remove_trigger("x/y")
    assert server.asked[1].path == "/v1/triggers/x%2Fy"


def test_the_asynchronous_client_does_the_same(server):
    async def use() -> list[object]:
        async with AsyncClient(server.url, "tsk_secret", timeout_s=5) as client:
            made = await client.create_trigger("a.f", {"type": "order.placed"}, id="placed")
            listed = [each async for each in client.triggers()]
            return [made, *listed, await client.get_trigger("placed"), await client.send_events(EVENT),
                    await client.remove_trigger("placed")]  # fmt: skip

    for answer in (PLACED, {"triggers": [PLACED], "next_cursor": None}, PLACED, CAME, PLACED):
        server.answer(answer)
    assert asyncio.run(use()) == [PLACED, PLACED, PLACED, CAME, PLACED]
    assert server.asked[0].json == PLACED
