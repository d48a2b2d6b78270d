"""Removes logs that are older than they are kept. Bundles are named by their day, so it looks at those days only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from taskservice.logs.places import PREFIX, day_of_key, first_day_kept
from taskservice.objects import ObjectStore, StoreError

log = logging.getLogger(__name__)

INTERVAL_S = 3_600.0
PAGE = 1_000
"""Bundles that are removed at a time."""


class LogSweeper:
    """Belongs to one event loop; what blocks is on threads. More than one at a time do no harm."""

    def __init__(self, store: ObjectStore, keep_s: float, now_ms: Callable[[], int]) -> None:
        """`keep_s` 0: for ever."""
        self._store = store
        self._keep_s = keep_s
        self._now_ms = now_ms

    async def run(self) -> None:
        """A run every hour, until it is cancelled."""
        while self._keep_s:
            await asyncio.sleep(INTERVAL_S)
            try:
                removed = await self.run_once()
            except StoreError as error:
                log.warning("old logs are removed later: %s", error)
            else:
                log.log(logging.INFO if removed else logging.DEBUG, "%d bundles of old logs are removed", removed)

    async def run_once(self) -> int:
        """No bundle is there of days that are over for so long; gives how many there were. Raises StoreError."""
        if not self._keep_s:
            return 0
        first_kept = first_day_kept(self._now_ms(), self._keep_s)
        removed = 0
        while keys := await asyncio.to_thread(self._older, first_kept):
            await asyncio.to_thread(self._store.delete, keys)
            removed += len(keys)
        return removed

    def _older(self, first_kept: str) -> list[str]:
        """Some bundles of days before that one: they are the first in the listing."""
        found = []
        for info in islice(self._store.list(PREFIX), PAGE):
            day = day_of_key(info.key)
            if day is None:
                continue
            if day >= first_kept:
                break
            found.append(info.key)
        return found
