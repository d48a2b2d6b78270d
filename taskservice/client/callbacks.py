"""What can be asked about callbacks, as requests."""

from __future__ import annotations

from urllib.parse import quote

from taskservice.client.requests import to_json
from taskservice.client.steps import Request


def deliveries(task_id: str) -> Request:
    return Request("GET", f"/v1/tasks/{quote(task_id, safe='')}/deliveries")


def redeliver(task_id: str) -> Request:
    return Request("POST", f"/v1/tasks/{quote(task_id, safe='')}/deliveries/retry")


def endpoints(tenant: str | None) -> Request:
    return Request("GET", "/v1/callbacks/endpoints", _whose(tenant))


def enable_endpoint(origin: str, tenant: str | None) -> Request:
    return Request("POST", "/v1/callbacks/endpoints/enable", _whose(tenant), body=to_json({"origin": origin}))


def rotate_secret(tenant: str | None) -> Request:
    return Request("POST", "/v1/callbacks/secret", _whose(tenant), repeatable=False)


def _whose(tenant: str | None) -> tuple[tuple[str, str], ...]:
    return () if tenant is None else (("tenant", tenant),)
