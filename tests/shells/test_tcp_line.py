"""Calls between machines: who has no token gets nowhere, costs nothing and is named once; who has it finds the callee again."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from taskservice.actors import tcp_line
from taskservice.actors.line import Line, LineServer, Method
from taskservice.actors.tcp_line import Address, Gate, TcpLine, new_token
from taskservice.errors import BackOffError

METHODS = {"add": Method(tuple[int, int], int), "name": Method(tuple[()], str), "wait": Method(tuple[()], None)}
HOST = "127.0.0.1"
TOKEN = b"t" * tcp_line.TOKEN_BYTES


class Callee:
    def __init__(self, name: str = "") -> None:
        self.calls = 0
        self._name = name

    async def add(self, a: int, b: int) -> int:
        self.calls += 1
        return a + b

    async def name(self) -> str:
        return self._name

    async def wait(self) -> None:
        await asyncio.Event().wait()


class Serving:
    """A callee behind a gate."""

    def __init__(self, callee: Callee, token: bytes = TOKEN, timeout_s: float = 5.0) -> None:
        self.server = LineServer({name: getattr(callee, name) for name in METHODS}, METHODS)
        self.gate = Gate(self.server, token, timeout_s)


@asynccontextmanager
async def serving(callee: Callee, token: bytes = TOKEN, timeout_s: float = 5.0) -> AsyncIterator[tuple[Gate, Address]]:
    here = Serving(callee, token, timeout_s)
    address = await here.gate.open(HOST)
    yield here.gate, address
    await here.server.stop()


class Directory:
    """Says where the callee is, and counts how often it is asked."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses: Iterable[Address] = iter(addresses)
        self.asked = 0

    async def __call__(self) -> Address:
        self.asked += 1
        for address in self.addresses:
            return address
        raise BackOffError("nobody knows")


def run(test: Callable[[], Awaitable[None]], new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(bounded())


async def stopped(callee: Serving, *lines: Line) -> None:
    """The callee has ended in the midst of a call of each line, which is told so."""
    pending = [asyncio.create_task(line.call("wait", timeout_s=5)) for line in lines]
    for line in lines:
        await line.call("name", timeout_s=5)
    await callee.server.stop()
    for call in pending:
        with pytest.raises(BackOffError, match="connection was lost"):
            await call


async def strange(address: Address, said: bytes) -> tuple[bytes, bool]:
    """What somebody hears who says this, and whether he is hung up on."""
    reader, writer = await asyncio.open_connection(*address)
    nonce = await reader.readexactly(tcp_line.NONCE_BYTES)
    writer.write(said)
    heard = b""
    with suppress(ConnectionError):
        heard = await reader.read()
    writer.close()
    assert len(nonce) == tcp_line.NONCE_BYTES
    return heard, reader.at_eof() or reader.exception() is not None


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_with_the_token_calls_are_answered(
    new_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with serving(Callee()) as (gate, address):
            line = TcpLine(Directory(address), TOKEN, METHODS)
            assert [await line.call("add", n, 1, timeout_s=5) for n in range(3)] == [1, 2, 3]
            assert not gate.unproven
            line.close()

    run(test, new_loop)
    assert not warnings(caplog)


def test_a_wrong_token_is_refused_before_any_call_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        callee = Callee()
        async with serving(callee) as (gate, address):
            for _ in range(3):
                stranger = TcpLine(Directory(address), new_token(), METHODS)
                with pytest.raises(BackOffError, match="hung up"):
                    await stranger.call("add", 1, 2, timeout_s=5)
            assert callee.calls == 0
            assert not gate.unproven

    run(test)
    (said,) = warnings(caplog)
    assert "does not have the service's token" in said
    assert TOKEN.hex() not in said


def test_what_is_longer_than_a_proof_is_refused_without_being_kept(caplog: pytest.LogCaptureFixture) -> None:
    """A frame of a gigabyte, announced before anything is proved, is 65 bytes at most to us."""

    async def test() -> None:
        callee = Callee()
        async with serving(callee) as (gate, address):
            heard, hung_up = await strange(address, (1 << 30).to_bytes(4, "little") + b"x" * 100_000)
            assert (heard, hung_up) == (b"", True)
            assert not gate.unproven

    run(test)
    assert "more than a proof" in warnings(caplog)[0]


def test_who_proves_nothing_in_time_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving(Callee(), timeout_s=0.05) as (gate, address):
            heard, hung_up = await strange(address, b"half a proof")
            assert (heard, hung_up) == (b"", True)
            assert not gate.unproven

    run(test)
    assert "not proved in time" in warnings(caplog)[0]


def test_so_many_may_be_unproven_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving(Callee()) as (gate, address):
            open_ = [await asyncio.open_connection(*address) for _ in range(tcp_line.UNPROVEN_MAX)]
            for reader, _ in open_:
                await reader.readexactly(tcp_line.NONCE_BYTES)
            reader, writer = await asyncio.open_connection(*address)
            with suppress(ConnectionError):
                assert await reader.read() == b""
            assert len(gate.unproven) == tcp_line.UNPROVEN_MAX
            for _, other in [*open_, (reader, writer)]:
                other.close()

    run(test)
    assert "too many" in warnings(caplog)[0]


def test_a_caller_says_nothing_to_who_has_taken_the_port_of_its_callee() -> None:
    async def test() -> None:
        heard: list[bytes] = []
        over = asyncio.Event()

        async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"n" * tcp_line.NONCE_BYTES)
            heard.append(await reader.readexactly(tcp_line.NONCE_BYTES + tcp_line.PROOF_BYTES))
            writer.write(b"p" * tcp_line.PROOF_BYTES)
            heard.append(await reader.read())
            writer.close()
            over.set()

        server = await asyncio.start_server(impostor, HOST)
        line = TcpLine(Directory(Address(HOST, server.sockets[0].getsockname()[1])), TOKEN, METHODS)
        with pytest.raises(BackOffError, match="does not have the service's token") as refused:
            await line.call("add", 1, 2, timeout_s=5)
        assert refused.value.__cause__ is not None, "as if nobody were there: it may be called again"
        await over.wait()
        assert heard[1] == b"", "no frame, and it has hung up"
        server.close()

    run(test)


def test_what_was_heard_opens_nothing_a_second_time() -> None:
    """The same proof in another connection is a wrong one: the nonces are others."""

    async def test() -> None:
        async with serving(Callee()) as (_, address):
            reader, writer = await asyncio.open_connection(*address)
            theirs = await reader.readexactly(tcp_line.NONCE_BYTES)
            ours = b"o" * tcp_line.NONCE_BYTES
            said = ours + tcp_line._proof(TOKEN, b"caller", theirs + ours)
            writer.write(said)
            answer = await reader.readexactly(tcp_line.PROOF_BYTES)
            assert answer == tcp_line._proof(TOKEN, b"callee", theirs + ours)
            assert await strange(address, said) == (b"", True)
            writer.close()

    run(test)


def test_a_callee_that_starts_again_elsewhere_is_found() -> None:
    async def test() -> None:
        first, second = Serving(Callee("first")), Serving(Callee("second"))
        one, two = await first.gate.open(HOST), await second.gate.open(HOST)
        directory = Directory(one, two)
        line = TcpLine(directory, TOKEN, METHODS)
        assert [await line.call("name", timeout_s=5) for _ in range(3)] == ["first"] * 3
        assert directory.asked == 1
        await stopped(first, line)
        assert await line.call("name", timeout_s=5) == "second"
        await stopped(second, line)
        with pytest.raises(BackOffError, match="nobody knows") as lost:
            await line.call("name", timeout_s=5)
        assert lost.value.__cause__ is not None
        assert directory.asked == 3

    run(test)


def test_one_that_starts_again_at_the_same_place_is_found_without_asking() -> None:
    async def test() -> None:
        first, second = Serving(Callee("first")), Serving(Callee("second"))
        address = await first.gate.open(HOST)
        directory = Directory(address)
        line = TcpLine(directory, TOKEN, METHODS)
        assert await line.call("name", timeout_s=5) == "first"
        await stopped(first, line)
        await second.gate.open(HOST, address.port)
        assert await line.call("name", timeout_s=5) == "second"
        assert directory.asked == 1
        line.close()
        await second.server.stop()

    run(test)


def test_one_server_answers_at_its_socket_and_behind_its_gate(tmp_path: Path) -> None:
    async def test() -> None:
        here = Serving(Callee("one"))
        await here.server.start(tmp_path / "run" / "callee.sock")
        address = await here.gate.open(HOST)
        near, far = Line(tmp_path / "run" / "callee.sock", METHODS), TcpLine(Directory(address), TOKEN, METHODS)
        assert [await line.call("name", timeout_s=5) for line in (near, far)] == ["one", "one"]
        await stopped(here, near, far)
        for line in (near, far):
            with pytest.raises(BackOffError):
                await line.call("name", timeout_s=5)

    run(test)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_where_ray_is_encrypted_lines_are(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Ray's own certificates: who has none of them does not even hear the callee's random bytes."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run(
        [*command, "-subj", "/CN=test", "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    for name, value in (
        ("USE_TLS", "1"),
        ("TLS_SERVER_CERT", certificate),
        ("TLS_SERVER_KEY", key),
        ("TLS_CA_CERT", certificate),
    ):
        monkeypatch.setenv(f"RAY_{name}", str(value))

    async def test() -> None:
        async with serving(Callee()) as (_, address):
            line = TcpLine(Directory(address), TOKEN, METHODS)
            assert await line.call("add", 1, 2, timeout_s=5) == 3
            assert line._transport is not None
            assert line._transport.get_extra_info("cipher") is not None
            line.close()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"not a greeting of TLS" * 10)
            heard = b""
            with suppress(ConnectionError):
                heard = await reader.read()
            assert len(heard) < tcp_line.NONCE_BYTES
            writer.close()

    run(test, new_loop)
