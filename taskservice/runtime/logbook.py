"""The logs of one lease's attempts, on their way from the child to the node's spool.

An attempt that is over has its log in one piece. While it runs, what it has written is on its page, a file from which it is
followed, and every few seconds what is new on the page goes to the spool as a piece: if the node is lost, so is only what came
after the last one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from taskservice.core.lease_wire import LeaseSpec, LeaseTask, Outcome
from taskservice.core.report import LOST_LOG
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.logs.pieces import OUTPUT, SERVICE, STREAM_CHARS_MAX, Piece, Written, frame, write_page
from taskservice.runtime.page import Page, read_from, start_page
from taskservice.runtime.spool import Spool
from taskservice.runtime.wire import Logged

CHUNK_BYTES = 64 * 1024
"""An attempt's output is put on its page when it has grown to this."""
PIECE_BYTES = 1 << 20
"""What is new on a page goes to the spool when it has grown to this."""
PIECES_MAX = 16
"""So many pieces are put into one again, so that nobody has to read more; unless they are too large for that."""
WHOLE_BYTES_MAX = 8 << 20


class Ages(NamedTuple):
    """How long something waits, in seconds."""

    look_s: float = 0.1
    """Between two looks at what is due."""
    chunk_s: float = 0.5
    """Before it is on its attempt's page."""
    piece_s: float = 5.0
    """On a page, before it goes to the spool."""


BRIEF = (
    OutcomeKind.CRASHED, OutcomeKind.OUT_OF_MEMORY, OutcomeKind.PREEMPTED, OutcomeKind.CANCELLED, OutcomeKind.THROTTLED,
)  # fmt: skip
"""Ends of which the log says in one line what they were: the details are in it already, or there is nothing wrong."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Attempt:
    """What one attempt has written."""

    left: int
    """Bytes that it may still write."""
    unsaved: list[Written] = field(default_factory=list)
    unsaved_bytes: int = 0
    """Of `unsaved`, which is on no page yet."""
    since_s: float = 0.0
    dropped: int = 0
    page: Path | None = None
    page_bytes: int = 0
    spooled_bytes: int = 0
    """Of the page; what is in pieces."""
    spooled_s: float = 0.0
    parts: int = 0
    pieces: int = 0
    """Since the last that was whole."""
    place: str = ""
    """Of the last piece."""
    stored: str = ""
    """Of the last piece of which it was told that it is stored."""


class Logbook:
    """Gathers output by attempt; what an attempt has written is in the spool before its outcome is reported."""

    def __init__(self, spool: Spool, spec: LeaseSpec, bytes_max: int, ages: Ages | None = None) -> None:
        self._spool = spool
        self._ages = ages or Ages()
        self._spec = spec
        self._tasks: dict[TaskNo, LeaseTask] = {task.no: task for task in spec.tasks}
        self._bytes_max = bytes_max
        self._attempts: dict[TaskNo, _Attempt] = {}
        """Those that have written something and are not reported."""
        self._looked_s = 0.0

    def write(self, said: Logged) -> None:
        """What an attempt has said is in its log, up to the limit; so is, as a number, what its child has dropped."""
        self._write(said.no, said.at_ms, said.stream[:STREAM_CHARS_MAX], said.text, said.dropped)

    def write_raw(self, no: TaskNo, text: bytes) -> None:
        """Output that came past Python's streams is in the attempt's log, up to the limit."""
        self._write(no, _now_ms(), OUTPUT, text)

    def remark(self, no: TaskNo, said: str) -> None:
        """The service itself has that to say in the attempt's log."""
        self._keep(self._of(no), Written(_now_ms(), SERVICE, f"[{said}]\n".encode()))

    def close(self, outcome: Outcome) -> None:
        """The attempt has ended: its log says what was dropped, and how it ended if that was not well."""
        no, attempt = outcome.no, self._attempts.get(outcome.no)
        if attempt is not None and attempt.dropped:
            mark = f"\n[log cut here: {attempt.dropped} bytes dropped, log_bytes_max is {self._bytes_max}]\n"
            self._keep(attempt, Written(_now_ms(), SERVICE, mark.encode()))
        if outcome.kind is OutcomeKind.SUCCEEDED or no not in self._tasks:
            return
        said = f"[{outcome.message}]" if outcome.kind in BRIEF or not outcome.detail else outcome.detail
        text = said if said.endswith("\n") else said + "\n"
        self._keep(self._of(no), Written(_now_ms(), SERVICE, text.encode()))

    def store(self, nos: Sequence[TaskNo]) -> str:
        """What these attempts, which are over, have written will be at the place that this gives; empty: they wrote nothing.

        If the disk refuses, that place is `LOST_LOG`, and our own log names what is lost.
        """
        over = {no: self._attempts.pop(no) for no in nos if no in self._attempts}
        if not over:
            return ""
        # A task without a piece there has no log: so one that had written before, and not now, has an empty piece.
        silent = [no for no in nos if no not in over and self._tasks[no].log]
        pieces = [self._last(no, attempt) for no, attempt in over.items()]
        pieces += [self._last(no, _Attempt(0)) for no in silent]
        place = self._append(pieces) or LOST_LOG
        for attempt in over.values():
            if attempt.page is not None:
                with suppress(OSError):
                    attempt.page.unlink()
        return place

    def stored(self) -> tuple[tuple[TaskNo, str], ...]:
        """Attempts that run, of which more is stored than was told before, and where the newest of that is."""
        told = []
        for no, attempt in self._attempts.items():
            if attempt.place != attempt.stored and self._spool.is_stored(attempt.place):
                attempt.stored = attempt.place
                told.append((no, attempt.place))
        return tuple(told)

    def look(self) -> None:
        """What has waited long enough is on its page, and in the spool."""
        now_s = time.monotonic()
        if not self._attempts or now_s - self._looked_s < self._ages.look_s:
            return
        self._looked_s = now_s
        due: list[tuple[TaskNo, _Attempt]] = []
        for no, attempt in self._attempts.items():
            if attempt.unsaved and now_s - attempt.since_s >= self._ages.chunk_s:
                self._save(no, attempt)
            fresh = attempt.page_bytes - attempt.spooled_bytes
            if fresh and (fresh >= PIECE_BYTES or now_s - attempt.spooled_s >= self._ages.piece_s):
                due.append((no, attempt))
        if due:
            self._spool_pieces(due, now_s)

    @property
    def patience_s(self) -> float:
        """How long until there may be something due."""
        return self._ages.chunk_s if self._attempts else float("inf")

    def _write(self, no: TaskNo, at_ms: int, stream: str, text: bytes, dropped: int = 0) -> None:
        if no not in self._tasks:
            return
        attempt = self._of(no)
        kept = text[: attempt.left]
        attempt.left -= len(kept)
        attempt.dropped += len(text) - len(kept) + dropped
        if kept:
            self._keep(attempt, Written(min(max(at_ms, 1), _now_ms()), stream, kept))
            if attempt.unsaved_bytes >= CHUNK_BYTES:
                self._save(no, attempt)

    def _of(self, no: TaskNo) -> _Attempt:
        attempt = self._attempts.get(no)
        if attempt is None:
            attempt = self._attempts[no] = _Attempt(self._bytes_max, spooled_s=time.monotonic())
        return attempt

    def _keep(self, attempt: _Attempt, written: Written) -> None:
        if not attempt.unsaved:
            attempt.since_s = time.monotonic()
        attempt.unsaved.append(written)
        attempt.unsaved_bytes += len(written.text)

    def _save(self, no: TaskNo, attempt: _Attempt) -> None:
        """What was in RAM is on the attempt's page. If the disk refuses, it is lost, and that is said."""
        data = write_page(attempt.unsaved)
        try:
            if attempt.page is None:
                page = self._spool.page(no, self._spec.token)
                attempt.page_bytes = attempt.spooled_bytes = start_page(page, self._piece(no, attempt, ()))
                attempt.page = page
            with attempt.page.open("ab") as file:
                file.write(data)
            attempt.page_bytes += len(data)
        except OSError as error:
            self._lost(no, attempt.unsaved_bytes, error)
        attempt.unsaved, attempt.unsaved_bytes = [], 0

    def _spool_pieces(self, due: list[tuple[TaskNo, _Attempt]], now_s: float) -> None:
        """What is new on these pages is in the spool."""
        pieces = []
        for no, attempt in due:
            pieces.append(self._from_page(no, attempt, ()))
            attempt.parts += 1
            attempt.pieces = 1 if pieces[-1].whole else attempt.pieces + 1
            attempt.spooled_bytes, attempt.spooled_s = attempt.page_bytes, now_s
        place = self._append(pieces)
        for _, attempt in due:
            attempt.place = place or attempt.place

    def _last(self, no: TaskNo, attempt: _Attempt) -> Piece:
        """The last piece of an attempt that is over."""
        if attempt.page is None:
            return self._piece(no, attempt, tuple(attempt.unsaved), whole=True, ended=True)
        return self._from_page(no, attempt, tuple(attempt.unsaved), ended=True)

    def _from_page(self, no: TaskNo, attempt: _Attempt, more: tuple[Written, ...], *, ended: bool = False) -> Piece:
        """What the page has, and some more: all of it if it is time for that, or what is new."""
        small = attempt.page_bytes <= WHOLE_BYTES_MAX
        whole = not attempt.place or (small and (ended or attempt.pieces >= PIECES_MAX))
        page: Page | None = None
        try:
            assert attempt.page is not None
            page = read_from(attempt.page, 0 if whole else attempt.spooled_bytes)
        except OSError as error:
            self._lost(no, attempt.page_bytes - attempt.spooled_bytes, error)
        return self._piece(no, attempt, (*(page.written if page else ()), *more), whole=whole, ended=ended)

    def _piece(
        self, no: TaskNo, attempt: _Attempt, written: tuple[Written, ...], *, whole: bool = True, ended: bool = False
    ) -> Piece:
        spec, task = self._spec, self._tasks[no]
        before = "" if whole else attempt.place
        return Piece(
            spec.tenant, no, task.id, task.run, task.attempt, spec.token, attempt.parts, whole, ended, before, task.log,
            written,
        )  # fmt: skip

    def _append(self, pieces: list[Piece]) -> str:
        try:
            return self._spool.append(b"".join(map(frame, pieces)))
        except OSError as error:
            for piece in pieces:
                self._lost(piece.no, sum(len(each.text) for each in piece.written), error)
            return ""

    def _lost(self, no: TaskNo, size: int, error: OSError) -> None:
        log.warning("%d bytes of the log of task %s are lost: %s", size, self._tasks[no].id, error)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
