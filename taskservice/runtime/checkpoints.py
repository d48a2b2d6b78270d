"""The checkpoints of one lease's attempts, on their way from the child to the runner: large ones are objects first.

An attempt that has ended is not reported before its last checkpoint: else the next one would begin without it.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future

from taskservice.core.types import TaskNo
from taskservice.core.values import MARK
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.values import LeaseValues
from taskservice.values import ValuesAway

INLINE_BYTES_MAX = 4 * 1024
"""A longer one is an object of its own: the journal has one for each interval of each attempt."""
SOONER_RATIO = 0.5
"""The child keeps the interval; one that is not ours and does not may have them reported twice as often."""

log = logging.getLogger(__name__)


class LeaseCheckpoints:
    """Of each attempt one is being written at a time, and the last one waits behind it. Belongs to the lease's thread."""

    def __init__(self, values: LeaseValues, options: RuntimeOptions) -> None:
        self._values = values
        self._bytes_max = options.task_checkpoint_bytes_max
        self._inline_bytes_max = min(INLINE_BYTES_MAX, options.inline_bytes_max)
        self._interval_s = SOONER_RATIO * options.task_checkpoint_interval_s
        self._next: dict[TaskNo, bytes] = {}
        self._ended: dict[TaskNo, None] = {}
        self._due_s: dict[TaskNo, float] = {}
        """When the next one of an attempt may be begun with."""
        self._writing: dict[TaskNo, Future[bytes]] = {}
        self._news: list[tuple[TaskNo, bytes]] = []

    @property
    def news(self) -> bool:
        """Whether there are some to report."""
        return bool(self._news)

    @property
    def writing(self) -> list[Future[bytes]]:
        """Those that are being written."""
        return list(self._writing.values())

    def take(self, no: TaskNo, text: bytes) -> None:
        """The attempt has saved this. What no child of ours sends is dropped: a reference would be to somebody else's object."""
        if text and not text.startswith(MARK) and len(text) <= self._bytes_max:
            self._next[no] = text
            self.keep_up()

    def keep_up(self) -> None:
        """What has been written can be reported, and what is due is begun with."""
        for no, future in [(no, future) for no, future in self._writing.items() if future.done()]:
            del self._writing[no]
            try:
                self._news.append((no, future.result()))
            except ValuesAway as error:
                log.warning("a checkpoint of task %d could not be written: %s", no, error)
        now_s = time.monotonic()
        for no in [no for no in self._next if no not in self._writing]:
            if no in self._ended or self._due_s.get(no, 0.0) <= now_s:
                self._begin(no, now_s)

    def end(self, no: TaskNo, *, keep: bool) -> bool:
        """The attempt has ended: its last one is begun with at once, or nobody wants it. Whether it is still to be written."""
        if not keep:
            self._next.pop(no, None)
            self._writing.pop(no, None)
        self._ended[no] = None
        self.keep_up()
        return self.is_busy(no)

    def is_busy(self, no: TaskNo) -> bool:
        """Whether one of the attempt is still to be written."""
        return no in self._writing or no in self._next

    def take_news(self) -> tuple[tuple[TaskNo, bytes], ...]:
        """Those that can be reported since this was asked last, in order."""
        news, self._news = tuple(self._news), []
        return news

    def patience_s(self, now_s: float) -> float:
        """How long there is nothing to begin with, but for what a write brings."""
        return min((self._due_s.get(no, 0.0) - now_s for no in self._next if no not in self._writing), default=1e9)

    def _begin(self, no: TaskNo, now_s: float) -> None:
        text = self._next.pop(no)
        self._due_s[no] = now_s + self._interval_s
        if len(text) <= self._inline_bytes_max:
            self._news.append((no, text))
        else:
            self._writing[no] = self._values.save(text)
