"""What can be asked about apps and their versions, as requests."""

from __future__ import annotations

from urllib.parse import quote

from taskservice.client.requests import to_json
from taskservice.client.steps import Request

ARCHIVE = "application/zstd"
LOAD_S = 120.0
"""How long the service may take to look into an app, beyond what any request may take."""


def deploy(archive: bytes, app: str, canary: float | None) -> Request:
    """Asking twice deploys once: the same code is the same version."""
    params = (("app", app), *(() if canary is None else (("canary", repr(canary)),)))
    return Request("POST", "/v1/apps", params, body=archive, body_type=ARCHIVE, wait_s=LOAD_S)


def listing() -> Request:
    return Request("GET", "/v1/apps")


def find(app: str) -> Request:
    return Request("GET", _path(app))


def promote(app: str) -> Request:
    return Request("POST", f"{_path(app)}/promote", repeatable=False)


def roll_back(app: str, version: str | None) -> Request:
    body = {} if version is None else {"version": version}
    return Request("POST", f"{_path(app)}/rollback", body=to_json(body), repeatable=version is not None)


def _path(app: str) -> str:
    return f"/v1/apps/{quote(app, safe='')}"
