"""Calls between the service's own processes on one machine, over a unix socket: the short way. Between machines: `tcp_line`.

A call to a Ray actor costs about a millisecond of CPU on each side; here it is a tenth of that, and a task makes several.
Messages are length-prefixed msgpack of typed structs: nothing is unpickled. Only the service's own user can reach the
socket. Calls of one connection may be answered in any order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import Struct

from taskservice.errors import BackOffError, ServiceBug
from taskservice.runtime.wire import Frames

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.encode


class Method(NamedTuple):
    """A call's types. `arguments`: a tuple type."""

    arguments: Any
    result: Any


class Call(Struct, frozen=True, array_like=True):
    id: int
    method: str
    arguments: msgspec.Raw


class Refused(Struct, frozen=True, array_like=True):
    """The callee cannot answer now: see `BackOffError`."""

    message: str
    code: str
    retry_after_s: float


class Answer(Struct, frozen=True, array_like=True):
    """`refused` None and `failure` empty: `result` holds."""

    id: int
    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    refused: Refused | None = None
    failure: str = ""
    """A bug in the callee, in words."""


_decode_call = msgspec.msgpack.Decoder(Call).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def frame(message: Call | Answer) -> bytes:
    """The message, ready to be sent."""
    body = _encode(message)
    return len(body).to_bytes(4, "little") + body


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """The socket's address, whatever its path's length: the kernel takes 107 bytes, a way through /proc is shorter."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _make_place(path: Path) -> None:
    """A socket can be made there, in a folder that only this user can enter."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    path.unlink(missing_ok=True)


class _Connection(asyncio.Protocol):
    """One caller, at the callee."""

    def __init__(self, server: LineServer) -> None:
        self._server = server
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._server.connections.append(self._transport)

    def data_received(self, data: bytes) -> None:
        for body in self._frames.feed(data):
            self._server.keep(asyncio.get_running_loop().create_task(self._answer(_decode_call(body))))

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._server.connections.remove(self._transport)
        self._transport = None

    async def _answer(self, call: Call) -> None:
        answer = await self._server.answer(call)
        if self._transport is not None:
            self._transport.write(frame(answer))


class LineServer:
    """Answers calls at a socket."""

    def __init__(self, handlers: Mapping[str, Callable[..., Awaitable[Any]]], methods: Mapping[str, Method]) -> None:
        self.connections: list[asyncio.Transport] = []
        self._handlers = handlers
        self._decoders = {name: msgspec.msgpack.Decoder(methods[name].arguments).decode for name in handlers}
        self.listeners: list[asyncio.Server] = []
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def start(self, path: Path) -> None:
        """Calls are answered at `path`, whoever answered there before."""
        _make_place(path)
        with address(path) as short:
            listener = await asyncio.get_running_loop().create_unix_server(lambda: _Connection(self), short)
        self.listeners.append(listener)

    def welcome(self, transport: asyncio.Transport) -> None:
        """Who is at the other end is answered from now on, as those are who come to the socket."""
        connection = _Connection(self)
        transport.set_protocol(connection)
        connection.connection_made(transport)

    async def stop(self) -> None:
        """Nobody is answered any more."""
        for listener in self.listeners:
            listener.close()
        for transport in self.connections:
            transport.close()

    async def answer(self, call: Call) -> Answer:
        """What becomes of the call; whatever happens, the caller is told."""
        try:
            result = await self._handlers[call.method](*self._decoders[call.method](call.arguments))
        except BackOffError as error:
            return Answer(call.id, refused=Refused(error.message, error.code, error.retry_after_s))
        except Exception as error:
            log.exception("a call of %s failed", call.method)
            return Answer(call.id, failure=f"{type(error).__name__}: {error}")
        return Answer(call.id, msgspec.Raw(_encode(result)))

    def keep(self, task: asyncio.Task[None]) -> None:
        """The task is not forgotten before it has ended."""
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)


class Line(asyncio.Protocol):
    """Calls to a `LineServer`. Belongs to one event loop; connects when it is needed, and again after a failure."""

    def __init__(self, path: Path | None, methods: Mapping[str, Method]) -> None:
        """`path`: the callee's socket; None if `open` knows another way."""
        self._path = path
        self._decoders = {name: msgspec.msgpack.Decoder(method.result).decode for name, method in methods.items()}
        self._transport: asyncio.Transport | None = None
        self._connecting = asyncio.Lock()
        self._frames = Frames()
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    async def call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        """The callee's answer.

        Raises what it refused with (BackOffError); BackOffError with a cause if it cannot be reached, does not answer
        in time or goes away meanwhile: then the call may have been carried out or not. ServiceBug if it failed.
        """
        transport = self._transport or await self._connect()
        self._last_id += 1
        id = self._last_id
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        transport.write(frame(Call(id, method, msgspec.Raw(_encode(arguments)))))
        try:
            answer = await asyncio.wait_for(future, timeout_s)
        except TimeoutError as error:
            raise BackOffError(f"no answer within {timeout_s} s") from error
        except ConnectionError as error:
            raise BackOffError("the connection was lost") from error
        finally:
            self._waiting.pop(id, None)
        if answer.refused is not None:
            refused = answer.refused
            raise BackOffError(refused.message, code=refused.code, retry_after_s=refused.retry_after_s)
        if answer.failure:
            raise ServiceBug(f"{method} failed in its process: {answer.failure}")
        return self._decoders[method](answer.result)

    async def _connect(self) -> asyncio.Transport:
        async with self._connecting:
            if self._transport is None:
                try:
                    return await self.open()
                except OSError as error:
                    raise BackOffError(f"nobody answers: {error.strerror or error}") from error
            return self._transport

    async def open(self) -> asyncio.Transport:
        """A new connection, of which this is the protocol. Raises OSError."""
        assert self._path is not None
        with address(self._path) as short:
            transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: self, short)
        return transport

    def close(self) -> None:
        """The connection is closed; a further call makes a new one."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._frames = Frames()

    def data_received(self, data: bytes) -> None:
        for body in self._frames.feed(data):
            answer = _decode_answer(body)
            future = self._waiting.get(answer.id)
            if future is not None and not future.done():
                future.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the callee has gone"))
