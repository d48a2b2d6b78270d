"""One callback over HTTP: bounded in time and in what is read, and never to an address that it must not go to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from helpers.posting import posting
from helpers.scripted_server import Scripted, scripted_server
from shells.test_dispatcher import run
from taskservice.actors.callback_http import ANSWER_BYTES_MAX, Answered


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


def test_who_never_answers_is_given_so_long_and_no_longer() -> None:
    async def test() -> None:
        closing = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await closing.wait()
            writer.close()

        listener = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        async with posting(0.05) as http:
            assert await http.post(url, {}, b"{}") == Answered(0, "no answer within 0.05 s (callback_timeout_s)")
        closing.set()
        listener.close()

    run(test)


def test_who_answers_without_end_is_not_listened_to(server: Scripted) -> None:
    async def test() -> None:
        server.answer(text="x" * (50 * ANSWER_BYTES_MAX), status=200)
        async with posting() as http:
            assert await http.post(server.url, {}, b"{}") == Answered(200)

    run(test)


def test_who_asks_for_a_pause_is_heard(server: Scripted) -> None:
    async def test() -> None:
        server.answer({}, 503, {"retry-after": "120"})
        server.answer({}, 503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
        async with posting() as http:
            assert (await http.post(server.url, {}, b"{}")).retry_after_s == 120
            assert (await http.post(server.url, {}, b"{}")).retry_after_s == 0

    run(test)


def resolving(*answers: Sequence[str]):
    """Names stand for these addresses, one answer after the other, whatever is asked."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0)

    return resolve


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://127.0.0.1:{port}/", None),
        ("http://localhost:{port}/", None),
        ("http://[::1]:{port}/", None),
        ("http://169.254.169.254/latest/meta-data/", None),
        ("http://2130706433:{port}/", None),
        ("http://harmless.example:{port}/", ["127.0.0.1"]),
        ("http://harmless.example:{port}/", ["::1"]),
        ("http://harmless.example:{port}/", ["::ffff:127.0.0.1"]),
        ("http://harmless.example:{port}/", ["169.254.169.254"]),
        ("http://harmless.example:{port}/", ["fe80::1%lo"]),
        ("http://harmless.example:{port}/", ["8.8.8.8", "127.0.0.1"]),
    ],
)
def test_nobody_is_connected_to_who_is_private(server: Scripted, url: str, addresses: list[str] | None) -> None:
    """Whatever the URL says; the address counts."""

    async def test() -> None:
        options = {} if addresses is None else {"resolve": resolving(addresses)}
        async with posting(private_networks=False, **options) as http:
            answered = await http.post(url.format(port=server.url.rpartition(":")[2]), {}, b"{}")
        assert answered.status == 0
        assert "callback_private_networks is false" in answered.message or "link-local" in answered.message
        assert server.asked == []

    run(test)


def test_a_name_that_stands_for_another_address_by_then_is_refused(server: Scripted) -> None:
    """DNS rebinding: what was public when it was looked at first is loopback when it is connected to."""

    async def test() -> None:
        url = f"http://rebind.example:{server.url.rpartition(':')[2]}/"
        async with posting(0.2, private_networks=False, resolve=resolving(["192.0.2.1"], ["127.0.0.1"])) as http:
            assert "no address of a single machine" in (await http.post(url, {}, b"{}")).message
            assert "127.0.0.1 is private" in (await http.post(url, {}, b"{}")).message
        assert server.asked == []

    run(test)


def test_connected_is_to_the_address_that_was_judged(server: Scripted) -> None:
    """The name is resolved once for each connection, and not again on the way."""

    async def test() -> None:
        server.answer({}, 200)
        url = f"http://once.example:{server.url.rpartition(':')[2]}/"
        async with posting(resolve=resolving(["127.0.0.1"])) as http:
            assert (await http.post(url, {}, b"{}")).status == 200
        assert server.asked[0].headers["host"].startswith("once.example:")

    run(test)


def test_a_redirect_is_not_followed(server: Scripted) -> None:
    async def test() -> None:
        with scripted_server() as inner:
            server.answer({}, 307, {"location": f"{inner.url}/admin"})
            async with posting() as http:
                assert (await http.post(server.url, {}, b"{}")).status == 307
            assert inner.asked == []

    run(test)


def test_a_proxy_of_the_environment_is_not_used(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        with scripted_server() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            server.answer({}, 200)
            async with posting() as http:
                assert (await http.post(server.url, {}, b"{}")).status == 200
            assert proxy.asked == []

    run(test)


def test_a_name_that_cannot_be_resolved_is_said(server: Scripted) -> None:
    async def test() -> None:
        async def resolve(host: str, port: int) -> Sequence[str]:
            raise OSError("no such name")

        async with posting(resolve=resolve) as http:
            answered = await http.post("http://nowhere.example/", {}, b"{}")
        assert answered == Answered(
            0, "the connection failed: the name nowhere.example cannot be resolved: no such name"
        )

    run(test)
