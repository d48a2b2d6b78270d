"""What the gateway needs of tasks' logs, wherever they are, and how it shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from taskservice.core.types import RunnerId, Task
from taskservice.gateway.answers import LogLineView, LogsView, LogView
from taskservice.gateway.times import iso
from taskservice.logs.chosen import AttemptLog, Line, Wanted
from taskservice.logs.pieces import Written


class LivePart(Struct, frozen=True, array_like=True):
    """A part of what an attempt that runs has written."""

    written: tuple[Written, ...]
    at: int
    """Where the next part begins."""
    there: bool
    """Whether the attempt has a page: it has written something, and still runs."""


class LogReader(Protocol):
    """Where tasks' logs are read."""

    def stored(self, task: Task, wanted: Wanted, /) -> list[AttemptLog]:
        """What the attempts of the task wrote that are over, in order. Blocks. Raises BackOffError while the store is away."""

    async def running(self, task: Task, runner: RunnerId | None, /) -> AttemptLog | None:
        """What the attempt wrote that runs, on that runner; None: nothing yet."""

    async def live(self, task: Task, runner: RunnerId | None, at: int, wait_s: float, /) -> LivePart:
        """What comes on its page from there on (0: from its beginning), as soon as there is something, or when the wait is over."""


def line_view(line: Line) -> LogLineView:
    return LogLineView(iso(line.at_ms) if line.at_ms else None, line.stream, line.text)


def logs_view(lines: Sequence[Line]) -> LogsView:
    """By attempt."""
    views: list[LogView] = []
    for line in lines:
        if not views or (views[-1].run, views[-1].attempt) != (line.run, line.attempt):
            views.append(LogView(line.run, line.attempt, "", []))
        views[-1].lines.append(line_view(line))
    return LogsView([LogView(v.run, v.attempt, "".join(line.text for line in v.lines), v.lines) for v in views])


def stamped(lines: Sequence[Line]) -> list[Line]:
    """The lines, each with its time before it."""
    return [line._replace(text=f"{iso(line.at_ms) if line.at_ms else '-'} {line.text}") for line in lines]


def event_data(line: Line) -> str:
    """A line as the data of an event."""
    at = iso(line.at_ms) if line.at_ms else None
    body = {"at": at, "run": line.run, "attempt": line.attempt, "stream": line.stream, "text": line.text}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
