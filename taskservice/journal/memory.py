"""A journal in RAM, for simulations and tests: it keeps every promise but to outlive the process.

The store stands for the disk. A simulated crash forgets the journal and opens another one on the same store; an append
that the crash should lose is simply not made.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskservice.journal import BEGINNING, Fenced, Position, Segment


class MemoryStore:
    """What outlives a simulated process: the bodies of each epoch; the first epoch is 1."""

    def __init__(self) -> None:
        self.epochs: list[list[bytes]] = []


class MemoryJournal:
    """A journal on `store`. Opening it fences whoever had it open before."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._own: list[bytes] = []
        store.epochs.append(self._own)
        self._epoch = len(store.epochs)
        self._closed = False

    in_flight_max = 1
    trouble = ""

    @property
    def epoch(self) -> int:
        """The epoch that this writer holds."""
        return self._epoch

    @property
    def position(self) -> Position:
        """Just after the last segment that was appended; there is no chain here."""
        return Position(self._epoch, len(self._own) - 1)

    def sealed_segments(self, epoch: int) -> int | None:
        """How many segments an earlier epoch has; None if there was no such epoch."""
        return len(self._store.epochs[epoch - 1]) if 0 < epoch < self._epoch else None

    def replay(self, after: Position | None = None) -> Iterator[Segment]:
        """The segments of all earlier epochs, in order."""
        begin = after or BEGINNING
        for epoch, bodies in enumerate(self._store.epochs[: self._epoch - 1], start=1):
            for number, body in enumerate(bodies):
                if (epoch, number) > begin[:2]:
                    yield Segment(epoch, number, body)

    def append(self, number: int, body: bytes) -> None:
        """The store has the segment. Raises Fenced, or ValueError if `number` is not the next one."""
        if self._closed:
            raise ValueError("the journal is closed")
        self.check()
        if number != len(self._own):
            raise ValueError(f"segment {number} does not follow: the next one of this epoch is {len(self._own)}")
        self._own.append(body)

    def check(self) -> None:
        """Raises Fenced if somebody else has opened the journal."""
        if self._epoch != len(self._store.epochs):
            raise Fenced(f"Epoch {len(self._store.epochs)} has taken the journal over from epoch {self._epoch}.")

    def collect(self, upto: Position) -> None:
        """Nothing is removed: RAM is for simulations, which are short."""

    def sweep(self) -> int:
        """There is nothing to find."""
        return 0

    def close(self) -> None:
        """Nothing can be appended any more."""
        self._closed = True
