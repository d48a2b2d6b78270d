"""How a request goes out over httpx and how what came back is heard, for both clients."""

from __future__ import annotations

from typing import Any, TypedDict

import httpx

from taskservice.client.discovery import HOW_TO_START, Place
from taskservice.client.steps import Reply, Request, Send, Silence

CONNECT_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 100


def client_options(place: Place) -> dict[str, Any]:
    """How either httpx client is made."""
    return {
        "base_url": place.url,
        "headers": {"authorization": f"Bearer {place.api_key}"} if place.api_key else {},
        "limits": httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
        "follow_redirects": False,  # the key is for this place alone
    }


class Outgoing(TypedDict):
    """The arguments of httpx's `request`."""

    method: str
    url: str
    params: tuple[tuple[str, str | int | float | bool | None], ...]
    content: bytes | None
    headers: dict[str, str]
    timeout: httpx.Timeout


def outgoing(step: Send) -> Outgoing:
    request: Request = step.request
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params,
        "content": request.body,
        "headers": {**dict(request.headers), **({} if request.body is None else {"content-type": request.body_type})},
        "timeout": httpx.Timeout(step.timeout_s, connect=min(CONNECT_TIMEOUT_S, step.timeout_s)),
    }


def reply_of(response: httpx.Response) -> Reply:
    return Reply(
        response.status_code, response.content, {name.lower(): text for name, text in response.headers.items()}
    )


def silence_of(error: httpx.TransportError, place: Place) -> Silence:
    """What it means that no answer came."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Silence(f"No service answers at {place.url} ({error}). {HOW_TO_START}", connected=False)
    if isinstance(error, httpx.TimeoutException):
        advice = "Try again; `taskservice doctor` on its machine says what is wrong."
        return Silence(f"{place.url} did not answer in time. {advice}", connected=True)
    return Silence(f"The connection to {place.url} broke ({type(error).__name__}).", connected=True)
