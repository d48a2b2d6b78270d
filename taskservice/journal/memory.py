"""A journal in RAM, for simulations and tests: it keeps every promise but to outlive the process.

The store stands for the disk. A simulated crash forgets the journal and opens another one on the same store; an append
that the crash should lose is simply not made.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskservice.journal import Fenced, Segment


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

    @property
    def epoch(self) -> int:
        """The epoch that this writer holds."""
        return self._epoch

    def replay(self) -> Iterator[Segment]:
        """The segments of all earlier epochs, in order."""
        for epoch, bodies in enumerate(self._store.epochs[: self._epoch - 1], start=1):
            for number, body in enumerate(bodies):
                yield Segment(epoch, number, body)

    def append(self, number: int, body: bytes) -> None:
        """The store has the segment. Raises Fenced, or ValueError if `number` is not the next one."""
        if self._closed:
            raise ValueError("the journal is closed")
        if self._epoch != len(self._store.epochs):
            raise Fenced(f"Epoch {len(self._store.epochs)} has taken the journal over from epoch {self._epoch}.")
        if number != len(self._own):
            raise ValueError(f"segment {number} does not follow: the next one of this epoch is {len(self._own)}")
        self._own.append(body)

    def close(self) -> None:
        """Nothing can be appended any more."""
        self._closed = True
