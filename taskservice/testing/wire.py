"""The way from a `Client` to the gateway of a test's service: HTTP requests, answered in the same thread."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

import httpx

from taskservice.client.client import Client
from taskservice.client.conversation import Patience, Talk
from taskservice.client.steps import Conversation, Heard, Pause, Reply, Send
from taskservice.errors import WaitTimeout

URL = "http://memory"
WAIT_MS_MAX = 86_400_000
"""How far one call moves the clock to see a task end."""

T = TypeVar("T")


class Clock(Protocol):
    """A clock that is moved, and what happens meanwhile."""

    @property
    def now_ms(self) -> int: ...

    @property
    def stands(self) -> bool:
        """Whether nothing would ever happen by itself, however far it is moved."""

    def pass_to_next(self, until_ms: int) -> None:
        """The clock stands where something happens next, but not after `until_ms`; and all of that has happened."""


class ClockClient(Client):
    """A `Client` for whom it is as late as the test's clock says: where another one waits, it moves the clock."""

    def __init__(self, api_key: str, transport: httpx.BaseTransport, clock: Clock) -> None:
        super().__init__(URL, api_key, transport=transport)
        self._clock = clock
        self._talk = Talk(Patience(clock_s=lambda: clock.now_ms / 1000, draw=lambda: 0.0))
        self._asked, self._asked_ms = "", 0
        """What was asked last of the questions that wait, and since when."""

    def _run(self, conversation: Conversation[T]) -> T:
        self._asked = ""
        return super()._run(conversation)

    def _do(self, step: Send | Pause) -> Heard:
        if isinstance(step, Pause):
            until_ms = self._clock.now_ms + math.ceil(step.seconds * 1000)
            while self._clock.now_ms < until_ms:
                self._clock.pass_to_next(until_ms)
            return None
        return self._await(step) if step.request.wait_s else super()._do(step)

    def _await(self, step: Send) -> Heard:
        """The answer to a request that may wait. Raises WaitTimeout if waiting is in vain, or has lasted for a day."""
        request = step.request
        if request.path != self._asked:
            self._asked, self._asked_ms = request.path, self._clock.now_ms
        until_ms = self._clock.now_ms + math.ceil(request.wait_s * 1000)
        params = tuple((name, text) for name, text in request.params if name != "wait")
        at_once = Send(replace(request, params=params, wait_s=0.0), step.timeout_s)
        self._clock.pass_to_next(self._clock.now_ms)
        while _not_ended(heard := super()._do(at_once)) and self._clock.now_ms < until_ms:
            if self._clock.stands:
                raise WaitTimeout(
                    f"{request.path}: nothing more happens by itself; the task's why() says what keeps it."
                )
            self._clock.pass_to_next(until_ms)
        if _not_ended(heard) and self._clock.now_ms - self._asked_ms >= WAIT_MS_MAX:
            message = (
                f"{request.path}: there was none within a day of the clock; ask why(), or advance() the clock before."
            )
            raise WaitTimeout(message)
        return heard


def _not_ended(heard: Heard) -> bool:
    return isinstance(heard, Reply) and heard.status == httpx.codes.CONFLICT and b'"not_ended"' in heard.body


class InThread(httpx.BaseTransport):
    """Requests are answered by an application, on an event loop that runs for as long as each takes."""

    def __init__(
        self, application: httpx.ASGITransport, loop: asyncio.Runner, before: Callable[[], Awaitable[object]]
    ) -> None:
        """`before` is done before each request."""
        self._application = application
        self._loop = loop
        self._before = before

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public one raises instead of saying no
            raise RuntimeError("an event loop runs in this thread: use the service in memory from a plain `def`")
        return self._loop.run(self._answered(request))

    async def _answered(self, request: httpx.Request) -> httpx.Response:
        await self._before()
        response = await self._application.handle_async_request(request)
        assert isinstance(response.stream, AsyncIterable)
        body = b"".join([part async for part in response.stream])
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(body))
