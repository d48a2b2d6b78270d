"""The group commits of one dispatcher: when the next one begins, which are under way, and whether the journal keeps up.

    idle, and somebody waits            at once
    idle, and nobody waits              `lazy_s` later, or with the next that somebody waits for
    others are under way                `interval_s` after the last began, or with `bytes_max`; as many as the journal takes

Records that nobody waits for are those of leases, most of all: they cost no commit of their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from taskservice.core.histogram import Histogram
from taskservice.core.record_sizes import bytes_of
from taskservice.core.shard import Cut, Shard
from taskservice.journal import Journal, JournalError
from taskservice.journal.codec import encode
from taskservice.objects import StoreError

log = logging.getLogger(__name__)


COMMIT_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
SEGMENT_BOUNDS_BYTES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 25)


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """When group commits begin."""

    interval_s: float = 0.025
    """From the beginning of one to that of the next, while the first is under way."""
    bytes_max: int = 1 << 20
    """Of records about, that do not wait for the interval."""
    lazy_s: float = 0.2
    """How long records wait that nobody waits for."""


class Commits:
    """Commits of a shard's segments to a journal. Everything but the journal's writes happens on one event loop."""

    def __init__(
        self,
        journal: Journal,
        shard: Shard,
        wake: Callable[[], None],
        failed: Callable[[BaseException], None],
        options: CommitOptions | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` asks for a turn, in which `begin` is called. `failed` is told why nothing can be committed any more."""
        self._journal = journal
        self._shard = shard
        self._wake = wake
        self._failed = failed
        self._options = options or CommitOptions()
        self._clock_s = clock_s
        self._threads = ThreadPoolExecutor(journal.in_flight_max, thread_name_prefix="journal")
        self._under_way: dict[int, float] = {}
        """Segments whose append has not returned, oldest first, and when it began."""
        self._last_began_s = -1e9
        self._pending_since_s: float | None = None
        """When the oldest record was there that is in no commit yet."""
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.taken = Histogram(COMMIT_BOUNDS_S, 1_000_000)
        """How long appends took that have returned well."""
        self.segments = Histogram(SEGMENT_BOUNDS_BYTES)
        """About how many bytes they had."""
        self.appended_bytes = 0
        """About how large the records are that the journal has taken so far: what it costs to apply them once more."""

    @property
    def idle(self) -> bool:
        """Nothing is under way, and nothing waits to be."""
        return not self._under_way and not self._shard.pending_records

    @property
    def waited_s(self) -> float:
        """How long the oldest append under way has been so; 0 if there is none."""
        began_s = next(iter(self._under_way.values()), None)
        return 0.0 if began_s is None else self._clock_s() - began_s

    def begin(self) -> int:
        """Whatever is to be committed now is on its way; there will be a turn for what is to be later. Gives how many."""
        begun = 0
        while (due_s := self._due_in_s()) <= 0:
            self._begin_one()
            begun += 1
        self._wake_in(due_s)
        return begun

    def flush(self) -> None:
        """Whatever there is to commit is on its way, as far as the journal takes it, awaited or not."""
        while self._shard.pending_records and len(self._under_way) < self._journal.in_flight_max:
            self._begin_one()

    async def heartbeat(self) -> None:
        """The journal is still ours, unless `failed` has been told otherwise. If it is away, that is not known."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._journal.check)
        except JournalError as error:
            self._give_up(error)
        except StoreError as error:
            log.warning("whether the journal is still ours cannot be asked: %s", error)

    def close(self) -> None:
        """The journal is released. An append that it has not taken by now never returns well."""
        self._closing = True
        self._journal.close()
        self._threads.shutdown(wait=True)

    def _due_in_s(self) -> float:
        """How long until the next commit is to begin; infinite if only an event can bring that about."""
        if not self._shard.pending_records or len(self._under_way) >= self._journal.in_flight_max:
            return float("inf")
        now_s = self._clock_s()
        if self._pending_since_s is None:
            self._pending_since_s = now_s
        if not self._shard.awaited:
            return self._pending_since_s + self._options.lazy_s - now_s
        if not self._under_way or self._shard.pending_bytes >= self._options.bytes_max:
            return 0.0
        return self._last_began_s + self._options.interval_s - now_s

    def _begin_one(self) -> None:
        cut = self._shard.cut()
        assert cut is not None, "there were records"
        self._last_began_s = self._under_way[cut.number] = self._clock_s()
        self._pending_since_s = None
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._write, cut)
        future.add_done_callback(partial(self._ended, cut.number))

    def _write(self, cut: Cut) -> int:
        self._journal.append(cut.number, encode(cut.records))
        return sum(map(bytes_of, cut.records))

    def _ended(self, number: int, done: asyncio.Future[int]) -> None:
        began_s = self._under_way.pop(number)
        error = done.exception()
        if error is not None:
            self._give_up(error)
            return
        self.taken.observe(round(1e6 * (self._clock_s() - began_s)))
        self.segments.observe(done.result())
        self.appended_bytes += done.result()
        self._shard.durable(number)
        self._wake()

    def _give_up(self, error: BaseException) -> None:
        if self._closing:
            return
        log.error("the journal failed: %s", error)
        self._failed(error)

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(max(0.001, seconds), self._wake)
