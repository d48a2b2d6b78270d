"""One task's log, out of bundles: from the last attempt back to the first, as far as it is wanted.

Each piece says where that before it is, so that nothing is searched: two requests for a bundle, and one bundle for an attempt
that ended while its node lived, however long it lasted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taskservice.core.types import Task, TaskState, Token
from taskservice.logs.chosen import ALL, AttemptLog, Wanted, lines_of, remark
from taskservice.logs.pieces import Piece, Written
from taskservice.logs.places import Place, follow_link

READ_BYTES_MAX = 16 << 20
"""Of one task's log that are read for one answer; a single attempt's may be more."""
ATTEMPTS_MAX = 1_000
"""Attempts that are shown in one answer."""
PIECES_MAX = 10_000
"""Pieces of one attempt that are put together."""

LOST = "what an attempt may have written is lost: with its process or machine, or because its disk took no more"
CUT_OFF = "the rest of this log was lost with the process or the machine of its attempt"
BEGINNING_LOST = "the beginning of this log is not there"
TOO_MUCH = "what came before is left out: ask for one attempt, or for a part of the time"

Fetch = Callable[[Place], "list[Piece] | str"]
"""What the task has in that bundle, or, in words, why that cannot be told."""


def read_stored(task: Task, fetch: Fetch, wanted: Wanted = ALL) -> list[AttemptLog]:
    """What the attempts of the task have written that are over, in order; remarks stand where something is not there."""
    return _Walk(task, fetch, wanted).run()


@dataclass
class _Walk:
    task: Task
    fetch: Fetch
    wanted: Wanted
    found: list[AttemptLog] = field(default_factory=list)
    """The newest first."""
    known: dict[Place, list[Piece] | str] = field(default_factory=dict)
    bytes: int = 0
    lines: int = 0

    def run(self) -> list[AttemptLog]:
        task = self.task
        is_back = task.state in (TaskState.QUEUED, TaskState.SCHEDULED, TaskState.RETRYING, TaskState.PAUSED)
        link, below = task.log, None
        run, attempt = task.run, task.attempt + is_back
        for _ in range(ATTEMPTS_MAX):
            lost, place = follow_link(link)
            self.found += [AttemptLog(run, attempt, None, (remark(LOST),))] * lost
            if place is None:
                break
            there = self._at(place)
            if isinstance(there, str):
                self.found.append(AttemptLog(run, max(1, attempt), None, (remark(there),)))
                break
            pieces = [piece for piece in there if below is None or piece.token < below]
            if not pieces:
                break  # its neighbours had written something, and it had not
            last = max(pieces, key=lambda piece: (piece.token, piece.part))
            self._add(last, [piece for piece in pieces if piece.token == last.token])
            if self._enough(last):
                break
            link, below, run, attempt = last.previous, last.token, last.run, last.attempt
        return self.found[::-1]

    def _at(self, place: Place) -> list[Piece] | str:
        if place not in self.known:
            self.known[place] = self.fetch(place)
        return self.known[place]

    def _add(self, last: Piece, here: list[Piece]) -> None:
        """The attempt with that last piece, of which these are in the same bundle, is among those found."""
        written: list[Written] = []
        for piece in self._parts(last.token, here):
            written += [remark(piece)] if isinstance(piece, str) else piece.written
        if not last.ended:
            written.append(remark(CUT_OFF))
        log = AttemptLog(last.run, last.attempt, last.token, tuple(written))
        self.found.append(log)
        if self.wanted.of(log):
            self.bytes += sum(len(each.text) for each in written)
            if self.wanted.tail is not None:
                self.lines += sum(self.wanted.at(line.at_ms) for line in lines_of(log))

    def _parts(self, token: Token, here: list[Piece]) -> list[Piece | str]:
        """The pieces of the attempt from the last one that is whole, in order."""
        parts: dict[int, Piece | str] = {}
        pieces = here
        for _ in range(PIECES_MAX):
            parts.update((piece.part, piece) for piece in pieces)
            first = min(pieces, key=lambda piece: piece.part)
            _, place = follow_link(first.before)
            if any(piece.whole for piece in pieces) or place is None:
                break
            there = self._at(place)
            pieces = [] if isinstance(there, str) else [each for each in there if each.token == token]
            if not pieces or min(each.part for each in pieces) >= first.part:
                parts[first.part - 1] = there if isinstance(there, str) else BEGINNING_LOST
                break
        order = sorted(parts)
        wholes = [at for at in order if isinstance(part := parts[at], Piece) and part.whole]
        return [parts[at] for at in order if not wholes or at >= wholes[-1]]

    def _enough(self, last: Piece) -> bool:
        """Whether what came before is not wanted, or too much."""
        wanted, log = self.wanted, self.found[-1]
        if wanted.after is not None and last.token <= wanted.after:
            return True
        if wanted.tail is not None and self.lines >= wanted.tail:
            return True
        if wanted.since_ms is not None and 0 < log.last_ms < wanted.since_ms:
            return True
        run = wanted.run
        if run is not None and last.run < run:
            return True
        if self.bytes < READ_BYTES_MAX or not last.previous:
            return False
        self.found.append(AttemptLog(last.run, last.attempt, None, (remark(TOO_MUCH),)))
        return True
