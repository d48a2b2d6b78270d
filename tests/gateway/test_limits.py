"""Limits hold at exactly their value, and a refusal names the limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
import pytest

from taskservice.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio


def named(response: httpx.Response) -> tuple[int, str, int]:
    """What a refusal says of the limit behind it."""
    body = response.json()
    return response.status_code, body["limit"], body["value"]


def payload_of(size_bytes: int) -> dict[str, str]:
    """A payload of that size in canonical JSON."""
    return {"x": "y" * (size_bytes - len('{"x":""}'))}


async def test_payload_bytes_max(service: Service) -> None:
    """200 bytes of canonical JSON are taken, 201 are not; how it was written does not matter."""
    client = service.client()
    text = '{"function":"media.echo","payload":{ "x" : "%s" }}' % ("\\u0079" * 192)
    assert (await client.post("/v1/tasks", content=text)).status_code == 202
    at_limit = await client.post("/v1/tasks", json={"function": "media.echo", "payload": payload_of(200)})
    above = await client.post("/v1/tasks", json={"function": "media.echo", "payload": payload_of(201)})
    assert at_limit.status_code == 202
    assert named(above) == (413, "payload_bytes_max", 200)


async def test_payload_depth_max(service: Service) -> None:
    """Eight levels are taken, nine are not; brackets inside of texts are no levels."""
    client = service.client()
    for depth, status in ((8, 202), (9, 422)):
        content = '{"function":"media.echo","payload":' + "[" * depth + "]" * depth + "}"
        assert (await client.post("/v1/tasks", content=content)).status_code == status
    flat = {"function": "media.echo", "payload": {"x": "[{" * 20, "y": [{}, {}, {}, {}, {}, {}, {}, {}, {}]}}
    assert (await client.post("/v1/tasks", json=flat)).status_code == 202


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks/batch"])
async def test_body_bytes_max(service: Service, path: str) -> None:
    """10,000 bytes are read, 10,001 are not."""
    client = service.client()
    content = '{"function":"media.echo"}' if path == "/v1/tasks" else '{"tasks":[]}'
    assert (await client.post(path, content=content.ljust(10_000))).status_code in {200, 202}
    assert named(await client.post(path, content=content.ljust(10_001))) == (413, "body_bytes_max", 10_000)


async def test_an_endless_body_is_not_read_to_its_end(service: Service) -> None:
    """Without a Content-Length, or with one that lies, what counts is what comes."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 4_000

    response = await service.client().post("/v1/tasks", content=endless())
    assert named(response) == (413, "body_bytes_max", 10_000)
    assert (sent, response.headers["connection"]) == (11, "close")  # four times the limit: what is sent is let out
    lying = await service.client().post("/v1/tasks", content=endless(), headers={"content-length": "10"})
    assert named(lying) == (413, "body_bytes_max", 10_000)
    for length in ("-1", "ten", "\u0661", "9" * 5_000):
        response = await service.client().post("/v1/tasks", content=b"{", headers={"content-length": length.encode()})
        assert response.status_code in {400, 413}


async def test_a_client_that_asks_first_sends_nothing_in_vain(service: Service) -> None:
    """`Expect: 100-continue` with a Content-Length that is too long is refused unread."""
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        sent += 1
        yield b" "

    headers = {"expect": "100-continue", "content-length": "10001"}
    response = await service.client().post("/v1/tasks", content=body(), headers=headers)
    assert named(response) == (413, "body_bytes_max", 10_000)
    assert sent == 0


def test_no_text_of_an_allowed_payload_is_above_the_text_limit() -> None:
    """Six bytes for each character, and the fields around it."""
    settings = GatewaySettings()
    fields = len('{"function":"","id":"","tags":{},"payload":}') + 1_000
    tags = settings.tags_max * (63 + 4 * settings.tag_value_chars_max) + 10 * settings.tags_max
    assert 6 * settings.payload_bytes_max + fields + tags < settings.task_text_bytes_max


@pytest.mark.parametrize("path", ["/v1/tasks/cancel", "/v1/tenants", "/v1/keys"])
async def test_request_bytes_max(service: Service, path: str) -> None:
    """Bodies that bring no tasks have a limit of their own."""
    response = await service.client("admin").post(path, content="{}".ljust(2_001))
    assert named(response) == (413, "request_bytes_max", 2_000)
    assert (await service.client("admin").post(path, content="{}".ljust(2_000))).status_code == 422


async def test_cancelled_ids_are_limited_like_a_batch(service: Service) -> None:
    """Five ids are taken, six are not."""
    client = service.client()
    assert (await client.post("/v1/tasks/cancel", json={"ids": ["a"] * 5})).status_code == 200
    response = await client.post("/v1/tasks/cancel", json={"ids": ["a"] * 6})
    assert named(response) == (413, "batch_tasks_max", 5)


async def test_tag_limits(service: Service) -> None:
    """Three tags, ten characters a value, 63 a name."""
    client = service.client()

    async def tagged(tags: dict[str, str]) -> httpx.Response:
        return await client.post("/v1/tasks", json={"function": "media.echo", "tags": tags})

    assert (await tagged({"a": "x", "b": "x", "c": "ä" * 10})).status_code == 202
    assert (await tagged({"n" * 63: ""})).status_code == 202
    assert named(await tagged({"a": "", "b": "", "c": "", "d": ""})) == (422, "tags_max", 3)
    assert named(await tagged({"a": "x" * 11})) == (422, "tag_value_chars_max", 10)
    assert (await tagged({"n" * 64: ""})).status_code == 422


async def test_delay_ms_max(service: Service) -> None:
    """Ten years are taken, a millisecond more is not."""
    client, limit_ms = service.client(), service.settings.delay_ms_max
    at_limit = await client.post("/v1/tasks", json={"function": "media.echo", "delay": limit_ms / 1000})
    above = await client.post("/v1/tasks", json={"function": "media.echo", "delay": (limit_ms + 1) / 1000})
    assert at_limit.status_code == 202
    assert named(above) == (422, "delay_ms_max", limit_ms)


async def test_list_limit_max(service: Service) -> None:
    """Ten tasks make a page at most."""
    client = service.client()
    assert (await client.get("/v1/tasks?limit=10")).status_code == 200
    assert named(await client.get("/v1/tasks?limit=11")) == (422, "list_limit_max", 10)


@pytest.mark.parametrize(
    "kind", ["text/html", "application/x-www-form-urlencoded", "application/vnd.apache.arrow.stream"]
)
@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks/batch", "/v1/tasks/cancel", "/v1/tenants", "/v1/keys"])
async def test_other_types_of_body_are_refused(service: Service, path: str, kind: str) -> None:
    """415 that says what is taken."""
    response = await service.client("admin").post(path, content=b"{}", headers={"content-type": kind})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert "application/json" in response.json()["detail"]
