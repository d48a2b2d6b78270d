"""What can be asked about triggers and said of events, as requests. Ids are made here, so asking twice makes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from taskservice.client.requests import payload_of, to_json
from taskservice.client.steps import Request
from taskservice.ids import uuid7

Filter = Mapping[str, str | Mapping[str, str]]
"""By the name of an attribute: its text, or `{"prefix": ...}`, `{"suffix": ...}`."""


def create(
    function: str, filter: Filter, payload: Mapping[str, Any] | None, id: str | None, priority: str | None
) -> Request:
    body: dict[str, Any] = {"id": uuid7() if id is None else id, "function": function, "filter": filter}
    if payload is not None:
        body["payload"] = payload_of(payload)
    if priority is not None:
        body["priority"] = priority
    return Request("POST", "/v1/triggers", body=to_json(body))


def find(id: str) -> Request:
    return Request("GET", _path(id))


def remove(id: str) -> Request:
    return Request("DELETE", _path(id))


def listing(tenant: str | None, cursor: str | None, limit: int) -> Request:
    """A page of at most `limit` triggers."""
    params = {"limit": str(limit), "tenant": tenant, "cursor": cursor}
    return Request("GET", "/v1/triggers", tuple((name, value) for name, value in params.items() if value is not None))


def send(events: Sequence[Mapping[str, Any]]) -> Request:
    """CloudEvents in batched mode; one without an id or a version gets them."""
    body = [{"specversion": "1.0", "id": uuid7(), **event} for event in events]
    return Request("POST", "/v1/events", body=to_json(body), body_type="application/cloudevents-batch+json")


def _path(id: str) -> str:
    return f"/v1/triggers/{quote(id, safe='')}"
