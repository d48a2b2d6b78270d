"""The calls of `line` between machines: the same frames over TCP, after both sides have proved that they have the service's token.

    callee -> caller   32 random bytes
    caller -> callee   32 random bytes of its own, and HMAC(token, "caller", both)
    callee -> caller   HMAC(token, "callee", both)

The token itself is never sent, and what another has heard is of no use to him. A caller is told the callee's proof before it
sends anything, so that it does not speak to whoever has got the port after a callee that died. Until then nothing is kept but
64 bytes, for `PROOF_TIMEOUT_S`, of `UNPROVEN_MAX` connections. It is encrypted if Ray is: with Ray's own certificates.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import socket
import ssl
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import NamedTuple, Protocol, cast

from taskservice.actors.line import Line, LineServer, Method
from taskservice.errors import BackOffError

log = logging.getLogger(__name__)

TOKEN_BYTES = 32
NONCE_BYTES = 32
PROOF_BYTES = 32
PROOF_TIMEOUT_S = 5.0
"""Whoever has not proved by then that it has the token is cut off; a caller tries elsewhere, or later."""
UNPROVEN_MAX = 64
"""Connections that may be without proof at the same time; further ones are cut off at once."""
UNHEARD_TIMEOUT_MS = 10_000
"""A connection whose other side has confirmed nothing for so long is given up, by the kernel."""
KEEPALIVE_S = 5
"""An idle connection's other side is asked for a sign of life this often."""


class Address(NamedTuple):
    """Where a callee listens."""

    host: str
    port: int


class WrongToken(OSError):
    """The other side has no token, or another one."""


def new_token() -> bytes:
    """A secret that nobody else has."""
    return secrets.token_bytes(TOKEN_BYTES)


def _proof(token: bytes, side: bytes, nonces: bytes) -> bytes:
    return hmac.digest(token, b"taskservice line 1 " + side + nonces, "sha256")


class Gate:
    """Lets those in who have the token: a TCP server before a `LineServer`."""

    def __init__(self, server: LineServer, token: bytes, timeout_s: float = PROOF_TIMEOUT_S) -> None:
        self.server = server
        self.token = token
        self.timeout_s = timeout_s
        self.unproven: dict[asyncio.Transport, None] = {}
        self._warned = False

    async def open(self, host: str, port: int = 0) -> Address:
        """The server is called at this address of this machine, and nowhere else. `port` 0: any that is free."""
        tls = _ray_tls(ssl.PROTOCOL_TLS_SERVER)
        handshake_s = self.timeout_s if tls else None
        listener = await asyncio.get_running_loop().create_server(
            lambda: _Stranger(self), host, port, ssl=tls, ssl_handshake_timeout=handshake_s
        )
        self.server.listeners.append(listener)
        return Address(host, listener.sockets[0].getsockname()[1])

    def refuse(self, peer: object, why: str) -> None:
        """It is in our log, once: whoever knocks without end does not fill it."""
        log.log(
            logging.DEBUG if self._warned else logging.WARNING,
            "a connection from %s is refused: %s (said once; further ones only at log_level debug)", peer, why,
        )  # fmt: skip
        self._warned = True


class _Stranger(asyncio.Protocol):
    """A caller that has not proved yet that it is one of us."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._heard = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if len(self._gate.unproven) >= UNPROVEN_MAX:
            self._refuse("too many are waiting to prove that they have the token")
            return
        self._gate.unproven[self._transport] = None
        late = partial(self._refuse, "it has not proved in time that it has the service's token")
        self._timer = asyncio.get_running_loop().call_later(self._gate.timeout_s, late)
        self._transport.write(self._nonce)

    def data_received(self, data: bytes) -> None:
        if len(self._heard) + len(data) > NONCE_BYTES + PROOF_BYTES:
            self._refuse("it has sent more than a proof that it has the service's token")
            return
        self._heard += data
        if len(self._heard) < NONCE_BYTES + PROOF_BYTES:
            return
        theirs, proof = self._heard[:NONCE_BYTES], self._heard[NONCE_BYTES:]
        nonces = self._nonce + theirs
        if not hmac.compare_digest(proof, _proof(self._gate.token, b"caller", nonces)):
            self._refuse("it does not have the service's token")
            return
        assert self._transport is not None
        self._leave()
        _watch(self._transport)
        self._transport.write(_proof(self._gate.token, b"callee", nonces))
        self._gate.server.welcome(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def _refuse(self, why: str) -> None:
        assert self._transport is not None
        self._gate.refuse(self._transport.get_extra_info("peername"), why)
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._gate.unproven.pop(self._transport, None)


class TcpLine(Line):
    """Calls to a `LineServer` behind a `Gate`, wherever it is by now."""

    def __init__(self, where: Where, token: bytes, methods: Mapping[str, Method]) -> None:
        """`where` is asked when there is no connection and the last address does not answer any more."""
        super().__init__(None, methods)
        self._where = where
        self._token = token
        self._address: Address | None = None

    async def open(self) -> asyncio.Transport:
        """See `Line.open`."""
        if self._address is not None:
            try:
                return await self._reach(self._address)
            except OSError as error:
                log.info("nobody answers at %s any more: %s", self._address, error)
                self._address = None
        try:
            address = await self._where()
        except BackOffError as error:
            raise OSError(None, str(error)) from error
        transport = await self._reach(address)
        self._address = address
        return transport

    async def _reach(self, address: Address) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        proven: asyncio.Future[asyncio.Transport] = loop.create_future()
        caller = _Caller(self, self._token, proven)
        transport: asyncio.BaseTransport | None = None
        try:
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                tls = _ray_tls(ssl.PROTOCOL_TLS_CLIENT)
                transport, _ = await loop.create_connection(lambda: caller, address.host, address.port, ssl=tls)
                return await proven
        except BaseException as error:
            if transport is not None:
                cast("asyncio.Transport", transport).abort()
            if isinstance(error, TimeoutError) and not error.strerror:
                raise TimeoutError(None, f"no answer from {address.host}:{address.port}") from error
            raise


class Where(Protocol):
    """Says where a callee listens now."""

    def __call__(self) -> Awaitable[Address]:
        """Raises BackOffError if it cannot be known now."""


class _Caller(asyncio.Protocol):
    """A connection whose other end has not proved yet that it is one of us."""

    def __init__(self, line: Line, token: bytes, proven: asyncio.Future[asyncio.Transport]) -> None:
        self._line = line
        self._token = token
        self._proven = proven
        self._heard = b""
        self._nonces = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._heard += data
        if not self._nonces and len(self._heard) >= NONCE_BYTES:
            ours = secrets.token_bytes(NONCE_BYTES)
            self._nonces = self._heard[:NONCE_BYTES] + ours
            self._heard = self._heard[NONCE_BYTES:]
            self._transport.write(ours + _proof(self._token, b"caller", self._nonces))
        if not self._nonces or len(self._heard) < PROOF_BYTES:
            return
        if self._proven.done():
            return
        if not hmac.compare_digest(self._heard, _proof(self._token, b"callee", self._nonces)):
            self._proven.set_exception(WrongToken(None, "who answers does not have the service's token"))
            self._transport.abort()
            return
        _watch(self._transport)
        self._transport.set_protocol(self._line)
        self._line.connection_made(self._transport)
        self._proven.set_result(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._proven.done():
            self._proven.set_exception(WrongToken(None, "it hung up: it has another token, or is about to end"))


def _watch(transport: asyncio.Transport) -> None:
    """A machine that has vanished without a word is noticed: the connection is lost then."""
    connection = transport.get_extra_info("socket")
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_TIMEOUT_MS),
    ):
        connection.setsockopt(level, option, value)


def _ray_tls(side: int) -> ssl.SSLContext | None:
    """The way in which Ray itself is encrypted, each side with a certificate of the same authority; None if it is not."""
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # machines come and go; that it is one of ours, the authority and the token say
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(os.environ["RAY_TLS_SERVER_CERT"], os.environ["RAY_TLS_SERVER_KEY"])
    context.load_verify_locations(os.environ["RAY_TLS_CA_CERT"])
    return context
