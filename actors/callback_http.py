"""One callback over HTTP: to an address that was judged when it was connected to, bounded in time and in what is read.

No redirect is followed, no proxy of the environment used, and no cookie kept: httpcore does none of that by itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import httpcore

from taskservice.callback_urls import address_refusal

ANSWER_BYTES_MAX = 64 * 1024
"""What is read of an answer: its connection is closed if there is more."""
KEEPALIVE_S = 5.0
RETRY_AFTER_S_MAX = 86_400

SocketOptions = Iterable[tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, for a port."""


class Answered(NamedTuple):
    """What came of an attempt to deliver."""

    status: int
    """0: there was no answer."""
    message: str = ""
    """Why there was none."""
    retry_after_s: int = 0


class AddressRefused(Exception):
    """The host's name stands for an address to which callbacks do not go."""


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """As the system resolves the name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that callbacks may go to, and to no others."""

    def __init__(self, *, private_networks: bool, resolve: Resolve = addresses_of) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._private_networks = private_networks
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore wants it. Raises AddressRefused if one of the host's addresses may not be called: not only the one that
        would be tried, since which that is may depend on chance."""
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved: {error}") from error
        for address in addresses:
            refusal = address_refusal(ip_address(address.partition("%")[0]), private_networks=self._private_networks)
            if refusal:
                raise AddressRefused(refusal)
        failure: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: SocketOptions | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("callbacks do not go to sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class CallbackHttp:
    """Posts callbacks. Belongs to one event loop."""

    def __init__(
        self, *, timeout_s: float, at_once_max: int, private_networks: bool, resolve: Resolve = addresses_of
    ) -> None:
        self._timeout_s = timeout_s
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=at_once_max,
            max_keepalive_connections=at_once_max,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=GuardedNetwork(private_networks=private_networks, resolve=resolve),
        )

    async def close(self) -> None:
        """No connection is left open."""
        await self._pool.aclose()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """The answer, or why there is none; never raises for what the endpoint or the network does."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(url, headers, body)
        except TimeoutError:
            return Answered(0, f"no answer within {self._timeout_s:g} s (callback_timeout_s)")
        except AddressRefused as refused:
            return Answered(0, str(refused))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            return Answered(0, f"{_words(error)}: {error}" if str(error) else _words(error))

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        parts = urlsplit(url)
        host = parts.hostname or ""
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        where = httpcore.URL(scheme=parts.scheme, host=host, port=parts.port, target=target)
        sent = [("Host", parts.netloc), ("Content-Length", str(len(body))), *headers.items()]
        async with self._pool.stream("POST", where, headers=sent, content=body) as response:
            read_bytes = 0
            async for part in response.aiter_stream():
                read_bytes += len(part)
                if read_bytes > ANSWER_BYTES_MAX:
                    break
            retry_after_s = _seconds(dict(response.headers).get(b"retry-after", b""))
            return Answered(response.status, retry_after_s=retry_after_s)


def _words(error: Exception) -> str:
    return "the connection failed" if isinstance(error, httpcore.NetworkError | OSError) else "no HTTP answer"


def _seconds(retry_after: bytes) -> int:
    """What a Retry-After header says in seconds; 0 if it says nothing, or a date."""
    text = retry_after.strip()
    return min(int(text), RETRY_AFTER_S_MAX) if text.isdigit() and len(text) < 20 else 0
