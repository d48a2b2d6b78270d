"""Who waits for what, inside a dispatcher: callers for their answers, long polls for the end of a task.

Nobody is told anything before it is durable: the shard releases `Ended` and `Answer` only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskservice.core.types import TaskId, TenantId

Key = tuple["TenantId", "TaskId"]


class News:
    """Something that changes now and then, and those who wait for that. Belongs to one event loop."""

    def __init__(self) -> None:
        self.version = 0
        self._waits: list[asyncio.Future[None]] = []

    def changed(self, version: int) -> None:
        """It is another one: whoever waits for that goes on."""
        self.version = version
        waits, self._waits = self._waits, []
        for future in waits:
            if not future.done():
                future.set_result(None)

    async def other_than(self, version: int, wait_s: float) -> bool:
        """Whether it is another one than `version`, now or within `wait_s`."""
        if self.version != version:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits.append(future)
        done, _ = await asyncio.wait([future], timeout=wait_s)
        if not done:
            self._waits = [wait for wait in self._waits if wait is not future]
        return bool(done)


class Notifier:
    """Waits for tasks to end, and for news. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waits: dict[Key, list[asyncio.Future[None]]] = {}
        """Futures of those who wait; no key without one."""
        self.catalog = News()
        """Tenants, keys, functions and policies."""
        self.owed = News()
        """Callbacks that may be sent."""

    @contextmanager
    def waiting(self, tenant: TenantId, id: TaskId) -> Iterator[asyncio.Future[None]]:
        """A future that is done when the task ends after this moment. Look at the task after you have it, not before."""
        key = (tenant, id)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits.setdefault(key, []).append(future)
        try:
            yield future
        finally:
            future.cancel()
            waits = self._waits.get(key, [])
            if future in waits:
                waits.remove(future)
            if not waits:
                self._waits.pop(key, None)

    def ended(self, tasks: Iterable[Key]) -> None:
        """These tasks have ended: whoever waits for one of them goes on."""
        if not self._waits:
            return
        for key in tasks:
            for future in self._waits.pop(key, ()):
                if not future.done():
                    future.set_result(None)

    @property
    def waits(self) -> int:
        """How many wait for a task to end."""
        return sum(len(futures) for futures in self._waits.values())
