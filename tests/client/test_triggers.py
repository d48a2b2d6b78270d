"""Triggers from Python, against a real HTTP server."""

from __future__ import annotations

from taskservice.client import Client

PLACED = {"id": "placed", "function": "a.f", "filter": {"type": "order.placed"}}


def test_triggers_and_events_travel_as_they_were_said(server):
    for status in (201, 200):
        server.answer(PLACED, status)
    with Client(server.url, "tsk_secret", timeout_s=5) as client:
        assert client.create_trigger("a.f", {"type": "order.placed"}, {"n": "$.data.n"}, id="placed") == PLACED
        client.send_events({"id": "1", "source": "/shop", "type": "order.placed"})
    made, sent = server.asked
    assert (made.path, made.json) == ("/v1/triggers", {**PLACED, "payload": {"n": "$.data.n"}})
    assert (sent.path, sent.json[0]["specversion"]) == ("/v1/events", "1.0")
