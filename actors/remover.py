"""Removes values that nobody refers to any more, behind the dispatcher's back: it waits for none of it.

What cannot be removed now, because the store is away or the process ends, is left to the sweeper.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from taskservice.values import Values, ValuesAway

log = logging.getLogger(__name__)

AT_ONCE_MAX = 1_000
"""Keys of one call: what S3 takes."""


class Remover:
    """Belongs to one event loop; one call is under way at a time."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._waiting: list[str] = []
        self._work: asyncio.Task[None] | None = None

    def remove(self, keys: Sequence[str]) -> None:
        """These values are going. Returns at once."""
        self._waiting += keys
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._remove_all())

    async def close(self) -> None:
        """Nothing is under way any more, but for what a call has begun."""
        self._waiting.clear()
        if self._work is not None:
            await asyncio.wait([self._work])

    async def _remove_all(self) -> None:
        try:
            while self._waiting:
                keys = self._waiting[:AT_ONCE_MAX]
                del self._waiting[:AT_ONCE_MAX]
                try:
                    await asyncio.to_thread(self._values.remove, keys)
                except ValuesAway as error:
                    log.warning("%d values that nobody refers to are left to the sweeper: %s", len(keys), error)
        finally:
            self._work = None
