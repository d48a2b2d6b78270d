"""The gateway's process: uvicorn on the actor's own event loop, which Ray takes from uvloop where that is installed."""

from __future__ import annotations

import asyncio
import errno
import socket

import uvicorn

from taskservice.actors.ports import DispatcherPort
from taskservice.code.deploying import CodeKeeper
from taskservice.errors import RequestError
from taskservice.gateway.app import create_app
from taskservice.gateway.history import HistoryReader
from taskservice.gateway.logs import LogReader
from taskservice.gateway.settings import GatewaySettings
from taskservice.gateway.values import ValueStore

BACKLOG = 2048
GRACE_S = 5
"""What open requests get when the gateway stops; long polls are cut off then, and their callers ask again."""


class HttpServer:
    """The HTTP API on one address. It keeps nothing: stopping it harms nobody."""

    def __init__(
        self,
        dispatcher: DispatcherPort,
        settings: GatewaySettings,
        logs: LogReader,
        values: ValueStore,
        history: HistoryReader,
        host: str,
        port: int,
        code: CodeKeeper | None = None,
    ) -> None:
        """The address is taken; nobody is answered yet. `port` 0: any that is free.

        Raises RequestError if it cannot be had.
        """
        self._socket = listening_socket(host, port)
        config = uvicorn.Config(
            create_app(dispatcher, settings, logs, values, history, code=code),
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self) -> asyncio.Task[None]:
        """Requests are answered from now on; the task ends when the server does."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        return self._serving

    async def stop(self) -> None:
        """Nobody is answered any more, and the address is free."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait([self._serving])
        self._socket.close()


def listening_socket(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises RequestError, in words, if the address cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} of {host} is in use: stop what listens there, or choose another with --port"
            raise RequestError(message, code="port_in_use") from None
        raise RequestError(f"cannot listen on {host} port {port}: {error.strerror}", code="bad_address") from None
    listener.setblocking(False)
    return listener
