"""Finds values that no task refers to, and removes them: what a crash left between a value's writing and its task's
acceptance, or between a record and the removal that follows from it.

A value is removed when it is older than `age_s` by the store's clock, and was seen by two runs, at least `interval_s`
apart, as referred to by nobody. The age alone would do if clocks were right and nothing was ever on its way for longer:
a report that waits out an outage of the journal may bring a reference to an old object, but not after the journal has
been answering for so long. A dispatcher that was replaced does not know what its successor has accepted: so the owner
is asked for before each removal, and what a successor may accept after that answer is younger.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from taskservice.errors import BackOffError
from taskservice.journal import JournalError
from taskservice.objects import StoreError
from taskservice.values import ValuesAway

log = logging.getLogger(__name__)

PAGE = 1_000
"""Keys that are listed, asked about and removed at a time."""


@dataclass(frozen=True, slots=True)
class SweeperOptions:
    """When a value counts as an orphan."""

    age_s: float = 86_400.0
    interval_s: float = 3_600.0
    """From one run to the next."""
    suspects_max: int = 100_000
    """Values that are remembered from one run to the next; about 20 MB. More have to wait for their turn."""


class Swept(NamedTuple):
    """What one run saw and did."""

    old: int
    suspects: int
    """Of the old ones, those that nobody refers to: the next run removes them if it is still so."""
    removed: int


class Objects(Protocol):
    """What is swept: large values, or archives of code. Both calls block, and raise ValuesAway."""

    def older_than(self, before_ms: int) -> Iterator[str]: ...

    def remove(self, keys: Sequence[str]) -> None: ...


class Sweeper:
    """Belongs to one event loop; what blocks is done on threads."""

    def __init__(
        self,
        values: Objects,
        referred: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        check_owner: Callable[[], None],
        options: SweeperOptions | None = None,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`referred` gives those of some keys that are referred to. `check_owner` blocks, and raises JournalError if the
        log is somebody else's."""
        self._values = values
        self._referred = referred
        self._check_owner = check_owner
        self._options = options or SweeperOptions()
        self._now_ms = now_ms
        self._clock_s = clock_s
        self._suspects: dict[str, float] = {}
        """Keys that nobody refers to, and when that was seen first."""

    async def run(self, failed: Callable[[BaseException], None]) -> None:
        """A run every `interval_s`, until it is cancelled. `failed` is told if the log is somebody else's."""
        while True:
            await asyncio.sleep(self._options.interval_s)
            try:
                swept = await self.run_once()
            except JournalError as error:
                failed(error)
                return
            except (ValuesAway, StoreError, BackOffError) as error:
                log.warning("values that nobody refers to are looked for later: %s", error)
            else:
                log.log(logging.INFO if swept.suspects or swept.removed else logging.DEBUG, "values: %s", swept)

    async def run_once(self) -> Swept:
        """What two runs have seen as an orphan is gone. Raises ValuesAway or StoreError, BackOffError, JournalError."""
        now_s, options = self._clock_s(), self._options
        old = self._values.older_than(self._now_ms() - round(options.age_s * 1000))
        suspects: dict[str, float] = {}
        seen = 0
        while keys := await asyncio.to_thread(lambda: list(islice(old, PAGE))):
            seen += len(keys)
            for key in await self._orphans(keys):
                if len(suspects) < options.suspects_max:
                    suspects[key] = self._suspects.get(key, now_s)
        self._suspects = suspects
        ripe = [key for key, since_s in suspects.items() if now_s - since_s >= options.interval_s]
        removed = 0
        for start in range(0, len(ripe), PAGE):
            removed += await self._remove(ripe[start : start + PAGE])
        return Swept(seen, len(self._suspects), removed)

    async def _orphans(self, keys: Sequence[str]) -> list[str]:
        referred = frozenset(await self._referred(keys))
        return [key for key in keys if key not in referred]

    async def _remove(self, keys: Sequence[str]) -> int:
        orphans = await self._orphans(keys)  # once more: listing a million takes a while
        await asyncio.to_thread(self._check_owner)
        await asyncio.to_thread(self._values.remove, orphans)
        for key in keys:
            del self._suspects[key]
        return len(orphans)
