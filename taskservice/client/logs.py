"""Logs of tasks: read at once, in part, or followed line by line."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack

import httpx

from taskservice.client import answers, requests, wire
from taskservice.client.conversation import FIRST_PAUSE_S, PAUSE_S_MAX, Talk, may_repeat
from taskservice.client.discovery import Place
from taskservice.client.requests import Duration, Instant
from taskservice.client.steps import JSON_TYPE, Conversation, Reply, Request, Send, Silence
from taskservice.units import parse_duration_ms

T = TypeVar("T")

SILENCE_S = 60.0
"""A connection on which nothing has come for so long is dead: the service gives a sign of life four times as often."""


class LogPart(TypedDict, total=False):
    """Which part of a task's log is wanted. What is not given, or None, does not matter."""

    since: Instant | Duration | None
    """Written then or later: a point in time; or a text such as `10m`, or a timedelta: so long ago."""
    until: Instant | Duration | None
    """Written before then; as above."""
    attempt: int | None
    """Of this attempt; of the latest run, unless `run` says which."""
    run: int | None
    tail: int | None
    """So many lines, the last ones."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log."""

    at: str | None
    """When it was written, ISO 8601 in UTC; None: a remark of the service that has no time."""
    run: int
    attempt: int
    stream: str
    """`stdout`, `stderr`, `output` (both, past Python's streams), a level of logging, or `service`."""
    text: str
    """With its line feed, if it has one."""


def log_request(task_id: str, part: LogPart, *, accept: str = "", more: tuple[tuple[str, str], ...] = ()) -> Request:
    """What is asked. Raises TypeError for a part that there is not."""
    unknown = sorted(set(part) - set(LogPart.__annotations__))
    if unknown:
        raise TypeError(f"a log has no {', '.join(unknown)}: there are {', '.join(LogPart.__annotations__)}")
    said = [(name, str(_moment(value))) for name, value in part.items() if value is not None]
    headers = (("accept", accept),) if accept else ()
    return Request("GET", requests.task_path(task_id, "/logs"), (*said, *more), headers=headers)


def _moment(value: object) -> object:
    """A point in time as the API takes it; what is none, as it is."""
    if isinstance(value, str | timedelta):
        try:
            return f"{time.time() - parse_duration_ms(value) / 1000:.3f}"
        except ValueError:
            return value
    return requests.in_json(value)


class Following:
    """A log that is followed, without the I/O: what is asked for next, and what comes of what was heard."""

    def __init__(self, talk: Talk, task_id: str, part: LogPart) -> None:
        self.over = False
        """The task has ended, and nothing more comes."""
        self._talk = talk
        self._task_id = task_id
        self._part = part
        self._after = ""
        self._name = ""
        self._data: list[str] = []
        self._failing_s: float | None = None
        """Since when nothing has come."""
        self._nap_s = FIRST_PAUSE_S

    def outgoing(self) -> wire.Outgoing:
        """The next request: for what comes after what was heard."""
        request = log_request(self._task_id, self._part, more=(("follow", "true"),))
        out = wire.outgoing(Send(request, SILENCE_S))
        if self._after:
            out["headers"]["last-event-id"] = self._after
        self._name, self._data = "", []
        return out

    def take(self, line: str) -> LogLine | None:
        """What the next line of the event stream makes whole."""
        self._failing_s, self._nap_s = None, FIRST_PAUSE_S
        self._talk.answered = True
        name, _, value = line.partition(": ")
        if name == "id":
            self._after = value
        elif name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif not line and self._data:
            data, kind = json.loads("\n".join(self._data)), self._name
            self._name, self._data = "", []
            self.over = self.over or kind == "end"
            return LogLine(**data) if kind == "line" else None
        return None

    def failed(self, heard: Reply | Silence) -> float:
        """For how long to pause before it is asked again. Raises the error if that is of no use."""
        now_s = self._talk.patience.clock_s()
        self._failing_s = now_s if self._failing_s is None else self._failing_s
        request = log_request(self._task_id, self._part)
        if not may_repeat(request, heard) or now_s - self._failing_s > self._talk.trying_s(heard):
            raise answers.error_of(heard)
        nap_s, self._nap_s = self._nap_s, min(2 * self._nap_s, PAUSE_S_MAX)
        return nap_s


BROKEN = Silence("The connection ended before the log did.", connected=True)


def _lines(body: Any) -> list[LogLine]:
    return [
        LogLine(line["at"], log["run"], log["attempt"], line["stream"], line["text"])
        for log in body["logs"]
        for line in log["lines"]
    ]


class Logs(ABC):
    """What `Client` does with logs."""

    _talk: Talk
    _http: httpx.Client
    _place: Place

    @abstractmethod
    def _run(self, conversation: Conversation[T]) -> T:
        """The conversation's end."""

    def logs(self, id: str, **part: Unpack[LogPart]) -> str:
        """What the task's attempts have written, as text: all of it, or the part that is wanted."""
        return self._run(self._talk.ask_text(log_request(id, part)))

    def log_lines(self, id: str, **part: Unpack[LogPart]) -> list[LogLine]:
        """The same line by line, each with its time and its stream."""
        return _lines(self._run(self._talk.ask_object(log_request(id, part, accept=JSON_TYPE))))

    def follow_logs(self, id: str, **part: Unpack[LogPart]) -> Iterator[LogLine]:
        """The lines as they are written, through all attempts, until the task has ended. What is lost on the way, a connection or a
        gateway, is made up for."""
        following = Following(self._talk, id, part)
        while not following.over:
            heard: Reply | Silence = BROKEN
            try:
                with self._http.stream(**following.outgoing()) as response:
                    if response.is_success:
                        yield from filter(None, map(following.take, response.iter_lines()))
                    else:
                        response.read()
                        heard = wire.reply_of(response)
            except httpx.TransportError as error:
                heard = wire.silence_of(error, self._place)
            if not following.over:
                time.sleep(following.failed(heard))


class AsyncLogs(ABC):
    """What `AsyncClient` does with logs."""

    _talk: Talk
    _http: httpx.AsyncClient
    _place: Place

    @abstractmethod
    async def _run(self, conversation: Conversation[T]) -> T:
        """The conversation's end."""

    async def logs(self, id: str, **part: Unpack[LogPart]) -> str:
        """See `Client.logs`."""
        return await self._run(self._talk.ask_text(log_request(id, part)))

    async def log_lines(self, id: str, **part: Unpack[LogPart]) -> list[LogLine]:
        """See `Client.log_lines`."""
        return _lines(await self._run(self._talk.ask_object(log_request(id, part, accept=JSON_TYPE))))

    async def follow_logs(self, id: str, **part: Unpack[LogPart]) -> AsyncIterator[LogLine]:
        """See `Client.follow_logs`."""
        following = Following(self._talk, id, part)
        while not following.over:
            heard: Reply | Silence = BROKEN
            try:
                async with self._http.stream(**following.outgoing()) as response:
                    if response.is_success:
                        async for text in response.aiter_lines():
                            line = following.take(text)
                            if line is not None:
                                yield line
                    else:
                        await response.aread()
                        heard = wire.reply_of(response)
            except httpx.TransportError as error:
                heard = wire.silence_of(error, self._place)
            if not following.over:
                await asyncio.sleep(following.failed(heard))
