"""A proxy before an S3 server that does to requests and answers what a network does, at the request's turn and by rule.

It passes `Host` on, so signatures stay valid. It runs in a thread of its own; rules may be added at any time.
"""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Does(StrEnum):
    """What a rule does."""

    DROP = "hangs up without forwarding the request"
    LOSE = "forwards the request, and hangs up instead of answering"
    HOLD = "forwards the request when it is released, to an answer that nobody may wait for any more"
    TWICE = "forwards the request twice, and gives the second answer"
    CORRUPT = "forwards the request with one byte of its body changed"
    ANSWER = "gives an answer of its own, without forwarding the request"
    ANSWER_AFTER = "forwards the request, and gives an answer of its own"
    TRUNCATE = "hangs up in the middle of the answer's body"
    SHORTEN = "gives half of the answer's body, and says that this is all"
    DRIP = "gives the answer's body byte by byte"


class Request(NamedTuple):
    method: str
    target: str
    headers: list[bytes]
    body: bytes

    @property
    def key(self) -> str:
        """What comes after the bucket."""
        return unquote(urlsplit(self.target).path).partition("/")[2].partition("/")[2]

    def raw(self, body: bytes) -> bytes:
        """For a connection of its own. The proxy has waited for the body, so the server need not be asked whether it may come."""
        hop = (b"connection:", b"expect:")
        headers = [line for line in self.headers if not line.lower().startswith(hop)]
        first = f"{self.method} {self.target} HTTP/1.1".encode()
        return b"\r\n".join([first, *headers, b"Connection: close", b"", body])


@dataclass(eq=False)
class Rule:
    """Concerns the requests of `method` whose key has `key` (a regular expression) in it: of these `times`, from the
    nth on."""

    does: Does
    method: str
    key: str
    nth: int
    times: int
    status: int = 500
    body: bytes = b""
    matched: int = 0
    held: threading.Event = field(default_factory=threading.Event)
    """A request has come that is kept back until `release`."""
    delivered: Future[int] = field(default_factory=Future)
    """The status that the server gave to the first request that was held."""
    _released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        self._released.set()

    def concerns(self, request: Request) -> bool:
        if request.method != self.method or not re.search(self.key, request.key):
            return False
        self.matched += 1
        return self.nth <= self.matched < self.nth + self.times


class Seen(NamedTuple):
    """A request, and the status of the answer that was given. 0: none."""

    method: str
    key: str
    status: int


ALWAYS = 1_000_000
"""As `times`."""
HURRY_S = 0.02
"""Between two bytes of a body that drips, and between two looks whether a request is released."""


class S3Fault:
    """A proxy on loopback before the server at `port`, from `start` to `stop`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._rules: list[Rule] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="s3fault")
        self._listening: Future[int] = Future()
        self._stopped = threading.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self.seen: list[Seen] = []

    def start(self) -> None:
        self._thread.start()
        self._listening.result(10)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._listening.result(10)}"

    def rule(self, does: Does, *, method: str = "PUT", key: str = "", nth: int = 1, times: int = 1) -> Rule:
        rule = Rule(does, method, key, nth, times)
        self._rules.append(rule)
        return rule

    def answer(
        self, status: int, code: str, *, method: str = "PUT", key: str = "", times: int = 1, after: bool = False
    ) -> Rule:
        """S3's way to say no; `after`: the request is forwarded all the same."""
        rule = self.rule(Does.ANSWER_AFTER if after else Does.ANSWER, method=method, key=key, times=times)
        rule.status, rule.body = status, f"<Error><Code>{code}</Code><Message>so it says</Message></Error>".encode()
        return rule

    def statuses(self, method: str) -> list[int]:
        """What was answered to requests of that method."""
        return [seen.status for seen in self.seen if seen.method == method]

    async def _main(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._listening.set_result(server.sockets[0].getsockname()[1])
        while not self._stopped.is_set():
            await pause()
        server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the proxy is stopped
        finally:
            self._clients.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        request = await read_request(reader, writer)
        rule = next((rule for rule in self._rules if rule.concerns(request)), None)
        answer = await self._answer(request, rule)
        status = int(answer.split(b" ", 2)[1]) if answer else 0
        self.seen.append(Seen(request.method, request.key, status))
        if not answer:
            return False
        return await send(answer, rule.does if rule else None, writer)

    async def _answer(self, request: Request, rule: Rule | None) -> bytes:
        """As the client is to see it; nothing if it is to see nothing."""
        if rule is None or rule.does in {Does.TRUNCATE, Does.SHORTEN, Does.DRIP}:
            return await self._forward(request)
        if rule.does is Does.HOLD:
            rule.held.set()
            while not rule._released.is_set():
                await pause()
            answer = await self._forward(request)
            if not rule.delivered.done():
                rule.delivered.set_result(int(answer.split(b" ", 2)[1]))
            return answer
        if rule.does in {Does.LOSE, Does.TWICE, Does.ANSWER_AFTER}:
            await self._forward(request)
        if rule.does is Does.TWICE:
            return await self._forward(request)
        if rule.does is Does.CORRUPT:
            return await self._forward(request, bytes([request.body[0] ^ 1]) + request.body[1:])
        if rule.does in {Does.ANSWER, Does.ANSWER_AFTER}:
            head = f"HTTP/1.1 {rule.status} So\r\nContent-Type: application/xml\r\nContent-Length: {len(rule.body)}"
            return head.encode() + b"\r\n\r\n" + rule.body
        return b""

    async def _forward(self, request: Request, body: bytes | None = None) -> bytes:
        """The server's whole answer; nothing if it is not there."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            return b""
        try:
            writer.write(request.raw(request.body if body is None else body))
            return re.sub(rb"(?i)\r\nconnection: close", b"", await reader.read(), count=1)
        except OSError:
            return b""
        finally:
            writer.close()


async def pause() -> None:
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=HURRY_S)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """The next request of a client. Raises IncompleteReadError if there is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = first.decode().split(" ")
    values = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in headers)}
    if values.get(b"expect") == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(method, target, headers, await reader.readexactly(int(values.get(b"content-length", b"0"))))


async def send(answer: bytes, does: Does | None, writer: asyncio.StreamWriter) -> bool:
    """Whether another request may follow: the answer was given as it is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if does is Does.TRUNCATE:
        writer.write(head + b"\r\n\r\n" + body[: len(body) // 2])
    elif does is Does.SHORTEN:
        half = body[: len(body) // 2]
        writer.write(re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(half), head) + b"\r\n\r\n" + half)
    elif does is Does.DRIP:
        writer.write(head + b"\r\n\r\n")
        for byte in body:
            writer.write(bytes([byte]))
            await writer.drain()
            await pause()
    else:
        writer.write(answer)
    await writer.drain()
    return does not in {Does.TRUNCATE, Does.SHORTEN, Does.DRIP}
