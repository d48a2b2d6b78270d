"""The logs of one lease's attempts, on their way from the child to the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from taskservice.core.lease_wire import LeaseTask
from taskservice.core.types import TaskNo, TenantId
from taskservice.runtime.logstore import LogStore

CHUNK_BYTES = 64 * 1024
CHUNK_AGE_S = 1.0
"""An attempt's output is stored when it has grown to, or waited for, this."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Page:
    text: bytearray = field(default_factory=bytearray)
    since_s: float = 0.0
    chunk: int = 0
    """The number of the last one stored."""
    raw_left: int = 0
    raw_dropped: int = 0


class Logbook:
    """Gathers output by attempt; what an attempt has written is stored before its outcome is reported."""

    def __init__(
        self, store: LogStore, tenant: TenantId, tasks: Mapping[TaskNo, LeaseTask], raw_bytes_max: int
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._tasks = tasks
        self._raw_bytes_max = raw_bytes_max
        self._pages: dict[TaskNo, _Page] = {}

    def write(self, no: TaskNo, text: bytes) -> None:
        """The text is in the attempt's log. The child has kept it within the limit."""
        if no not in self._tasks:
            return
        page = self._pages.get(no)
        if page is None:
            page = self._pages[no] = _Page(raw_left=self._raw_bytes_max)
        if not page.text:
            page.since_s = time.monotonic()
        page.text += text
        if len(page.text) >= CHUNK_BYTES:
            self.store(no)

    def write_raw(self, no: TaskNo, text: bytes) -> None:
        """Output that came past Python's streams is in the attempt's log, up to the limit."""
        self.write(no, b"")
        page = self._pages.get(no)
        if page is None:
            return
        kept = text[: page.raw_left]
        page.raw_left -= len(kept)
        page.raw_dropped += len(text) - len(kept)
        if kept:
            self.write(no, kept)

    def close(self, no: TaskNo) -> None:
        """The attempt has ended: its log is stored, and says so if raw output was dropped."""
        page = self._pages.get(no)
        if page is not None and page.raw_dropped:
            mark = f"\n[log cut here: {page.raw_dropped} bytes dropped, log_bytes_max is {self._raw_bytes_max}]\n"
            page.raw_dropped = 0
            self.write(no, mark.encode())
        self.store(no)

    def store(self, no: TaskNo) -> None:
        """What the attempt has written so far is in the store, or, if the disk refuses, named as lost in our own log."""
        page = self._pages.get(no)
        if page is None or not page.text:
            return
        task = self._tasks[no]
        # By time: an attempt that was not charged is made again under the same number, and its log follows.
        chunk = max(page.chunk + 1, time.time_ns() // 1_000_000)
        try:
            page.chunk = self._store.append(self._tenant, task.id, task.run, task.attempt, chunk, bytes(page.text))
        except OSError as error:
            log.warning("%d bytes of the log of task %s are lost: %s", len(page.text), task.id, error)
        page.text.clear()

    def store_due(self) -> None:
        """What has waited long enough is in the store."""
        if not self._pages:
            return
        now_s = time.monotonic()
        for no, page in self._pages.items():
            if page.text and now_s - page.since_s >= CHUNK_AGE_S:
                self.store(no)
