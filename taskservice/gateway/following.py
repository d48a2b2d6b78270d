"""Following a task's log: line by line as it is written, through all attempts, until the task has ended.

    stored logs of attempts that are over  ->  the page of the one that runs  ->  ...  ->  end

An attempt's log is the same list of things written on its page and in its stored pieces; how many of them have been sent is
all that is remembered, and is the id of an event: who comes back with it goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from taskservice.core.types import TERMINAL_STATES, RunnerId, Task, TaskState, Token
from taskservice.gateway.logs import LogReader, event_data
from taskservice.logs.chosen import ALL, AttemptLog, Wanted, choose

LOOK_S = 1.0
"""Between two looks at a task that waits, or whose attempt has not written anything."""
LIVE_S = 5.0
"""How long one question to a node stays open."""
ALIVE_S = 15.0
"""Silence after which a sign of life is sent, so that no proxy takes the connection for dead."""


class Event(NamedTuple):
    """What goes to the follower."""

    name: str
    """`line`, `end`, or nothing: a sign of life."""
    data: str = ""
    id: str = ""

    def encode(self) -> bytes:
        """As an event of the event stream format."""
        if not self.name:
            return b": still here\n\n"
        head = f"id: {self.id}\n" if self.id else ""
        return f"{head}event: {self.name}\ndata: {self.data}\n\n".encode()


class Followers:
    """How many there are in this process."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """As long as the block lasts, there is one more."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class Look(NamedTuple):
    """A task as it is, and where it runs."""

    task: Task
    runner: RunnerId | None = None


class Mark(NamedTuple):
    """How far a follower has come: so many things that the attempt wrote."""

    token: Token
    things: int

    def __str__(self) -> str:
        return f"{self.token.epoch}.{self.token.seq}.{self.things}"


def parse_mark(text: str) -> Mark | None:
    """The mark in an event's id; None if it is none."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        return None
    epoch, seq, count = map(int, parts)
    return Mark(Token(epoch, seq), count)


@dataclass
class Follower:
    """Follows one task for one client."""

    look: Callable[[], Awaitable[Look | None]]
    reader: LogReader
    wanted: Wanted
    now_ms: Callable[[], int]
    after: Mark | None = None
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep

    def __post_init__(self) -> None:
        self._sent: dict[Token, int] = {}
        self._remarks: set[tuple[int, int, str]] = set()
        self._page: tuple[Token, int, int] | None = None
        """Of which attempt a page is being read, where it goes on, and how many things were on it before that."""
        self._silent_ms = self.now_ms()

    async def events(self) -> AsyncIterator[Event]:
        """Lines, as they come; then one `end` with the state of the task, which is `deleted` if it is not there any more."""
        known: tuple[str, TaskState, Token | None] | None = None
        while True:
            found = await self.look()
            if found is None:
                yield Event("end", '{"state":"deleted"}')
                return
            task = found.task
            seen = task.log, task.state, task.token  # two attempts may have their logs in one bundle
            if seen != known:
                first, known = known is None, seen
                for event in await self._stored(found, first=first):
                    yield event
            if task.state in TERMINAL_STATES or self._is_over():
                yield Event("end", f'{{"state":"{task.state.value}"}}')
                return
            if task.state is TaskState.RUNNING:
                async for event in self._live(found):
                    yield event
            else:
                await self.pause(LOOK_S)
            if self.now_ms() - self._silent_ms >= ALIVE_S * 1000:
                self._silent_ms = self.now_ms()
                yield Event("")

    def _later(self) -> Wanted:
        """What may not have been sent yet."""
        return ALL._replace(after=max(self._sent, default=None))

    def _is_over(self) -> bool:
        """Whether nothing that is written from now on is wanted."""
        return self.wanted.until_ms is not None and self.now_ms() >= self.wanted.until_ms

    async def _stored(self, found: Look, *, first: bool) -> list[Event]:
        """What is stored and was not sent; of the first look, no more lines than are wanted."""
        task = found.task
        logs = await asyncio.to_thread(self.reader.stored, task, self.wanted if first else self._later())
        if first and task.state is TaskState.RUNNING and self.wanted.tail is not None:
            running = await self.reader.running(task, found.runner)
            logs += [] if running is None else [running]
        if not first or self.wanted.tail is None or self.after is not None:
            return [event for log in logs for event in self._fresh(log)]
        lines = choose(logs, self.wanted)
        for log in logs:
            list(self._fresh(log))  # what is not among the last lines counts as sent
        last = next((Mark(log.token, len(log.written)) for log in reversed(logs) if log.token is not None), None)
        events = [Event("line", event_data(line)) for line in lines]
        return [*events[:-1], events[-1]._replace(id=str(last))] if events and last else events

    async def _live(self, found: Look) -> AsyncIterator[Event]:
        """What comes on the page of the attempt that runs, until there is nothing new for a while."""
        task, token = found.task, found.task.token
        assert token is not None, "it runs"
        if self._page is None or self._page[0] != token:
            self._page = (token, 0, 0)
        _, at, before = self._page
        part = await self.reader.live(task, found.runner, at, LIVE_S)
        if part.written:
            log = AttemptLog(task.run, task.attempt, token, part.written, before)
            self._page = (token, part.at, before + len(part.written))
            for event in self._fresh(log):
                yield event
        elif not part.there:
            await self.pause(LOOK_S)

    def _fresh(self, log: AttemptLog) -> Iterator[Event]:
        """What of this was not sent."""
        if log.token is None:
            for line in choose([log], self.wanted):
                if (line.run, line.attempt, line.text) not in self._remarks:
                    self._remarks.add((line.run, line.attempt, line.text))
                    yield self._event(Event("line", event_data(line)))
            return
        count = max(self._sent.get(log.token, 0), self._came_before(log.token))
        fresh = log.written[max(0, count - log.before) :]
        self._sent[log.token] = max(count, log.before + len(log.written))
        at = log.before + len(log.written) - len(fresh)
        for each in fresh:
            at += 1
            lines = choose([replace(log, written=(each,))], self.wanted._replace(tail=None))
            for number, line in enumerate(lines, 1):
                id = str(Mark(log.token, at)) if number == len(lines) else ""
                yield self._event(Event("line", event_data(line), id))

    def _came_before(self, token: Token) -> int:
        """How much of an attempt's log a client has that comes back."""
        if self.after is None or token > self.after.token:
            return 0
        return self.after.things if token == self.after.token else 1 << 62

    def _event(self, event: Event) -> Event:
        self._silent_ms = self.now_ms()
        return event
