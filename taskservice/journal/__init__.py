"""The only durable truth: a sequence of immutable, checksummed segments, one per group commit.

A journal is opened by one writer at a time. Opening it takes the next epoch and seals what earlier epochs wrote; from
then on an earlier writer's appends are refused. `replay` gives the sealed segments, `append` adds to the own epoch.
A segment's body is bytes to the journal: `codec` turns records into them and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Segment(NamedTuple):
    """One group commit."""

    epoch: int
    number: int
    """0, 1, 2 ... within its epoch, without a hole."""
    body: bytes


class Position(NamedTuple):
    """A place in the journal: just after a segment."""

    epoch: int
    number: int
    chain: bytes = b""
    """The running digest of all segments up to there; empty if it is not known."""


BEGINNING = Position(0, -1, bytes(16))
"""The place before the first segment of all."""


class JournalError(Exception):
    """The journal cannot be used; the message says what to do."""


class JournalLocked(JournalError):
    """Another process has it open."""


class JournalCorrupt(JournalError):
    """What was acknowledged cannot be read back. Nothing is served from it: restore a copy, or look at the file named."""


class Fenced(JournalError):
    """Somebody else has taken the journal over. Stop at once: nothing that is not yet acknowledged may be acted upon."""


class JournalFailed(JournalError):
    """A write or its fsync failed. What is on disk is unknown: end this process and open the journal anew."""


class Journal(Protocol):
    """An open journal. All calls block; they come from one thread at a time."""

    @property
    def epoch(self) -> int:
        """The epoch that this writer holds: higher than any before it, even than one that wrote nothing."""

    @property
    def in_flight_max(self) -> int:
        """How many appends may be under way at once."""

    @property
    def position(self) -> Position:
        """Just after the last segment that was handed to `append`; number -1 if there was none."""

    @property
    def trouble(self) -> str:
        """Why appends do not get through at the moment; empty while they do."""

    def sealed_segments(self, epoch: int) -> int | None:
        """How many segments an earlier epoch has; None if it is not known (any more)."""

    def replay(self, after: Position | None = None) -> Iterator[Segment]:
        """The segments of all earlier epochs that come after a place in one of them, in order.

        To be read before the first append. Raises JournalCorrupt if an acknowledged segment is missing or damaged, or
        if what comes after `after` does not continue it. A torn tail (the last commit of an epoch, cut short by a
        crash before it was acknowledged) is left out and sealed off.
        """

    def append(self, number: int, body: bytes) -> None:
        """The segment and all before it are durable: they survive the loss of this process, of the power, of both.

        `number` must follow the last one of this epoch (the first is 0); of calls that are under way at once, in
        threads of their own, each waits for its turn. Raises Fenced, or JournalFailed; after either, nothing more can
        be appended.
        """

    def check(self) -> None:
        """The journal is still this writer's, as of some moment during the call. Raises Fenced if it is not."""

    def collect(self, upto: Position) -> None:
        """Segments up to this place may be gone: two published checkpoints cover them. Seals and fences never go."""

    def sweep(self) -> int:
        """What earlier collectors left, or zombies put back, is gone; gives how many segments that were."""

    def close(self) -> None:
        """Files and locks are released. Never loses anything: there is nothing unwritten."""
