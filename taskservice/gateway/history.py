"""Tasks that are in history: the dispatcher says where, and the gateway reads them there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from taskservice.core.effects import TasksAnswer
from taskservice.core.past import Past
from taskservice.core.types import Task


class HistoryReader(Protocol):
    """What the gateway needs of history. Blocks: to be called in a thread."""

    def read(self, places: Sequence[Past], *, whole: bool) -> list[Task]:
        """The tasks at these places, in their order; without one whose file was dropped in this moment. `whole`: with
        payloads and results. Raises TaskServiceError if that cannot be done, or not now."""


class NoHistory:
    """A `HistoryReader` for a service whose tasks never leave."""

    def read(self, places: Sequence[Past], *, whole: bool) -> list[Task]:
        """None."""
        return []


async def here_or_past(history: HistoryReader, here: Task | None, past: Past | None) -> Task | None:
    """The task, from where it is."""
    if here is not None or past is None:
        return here
    return next(iter(await asyncio.to_thread(history.read, [past], whole=True)), None)


async def page_of(history: HistoryReader, page: TasksAnswer, *, whole: bool = False) -> list[Task]:
    """The tasks of a page, newest first; `whole`: with payloads and results of those in history."""
    if not page.past:
        return list(page.tasks)
    past = await asyncio.to_thread(history.read, page.past, whole=whole)
    return sorted([*page.tasks, *past], key=lambda task: task.no, reverse=True)
