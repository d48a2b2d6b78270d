"""The journal in a bucket, where it differs from all others: several appends under way at once, and a store that is away."""

from __future__ import annotations

import threading

import pytest

from taskservice.journal import JournalFailed
from taskservice.journal.bucket import BucketJournal
from taskservice.objects.memory import MemoryObjects


class Gated(MemoryObjects):
    """The put of a segment waits until it may go on, and then fails in a way that nobody has thought of."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, threading.Event] = {}

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        gate = self.gates.get(key)
        if gate is not None:
            assert gate.wait(10)
            raise RuntimeError("nobody has thought of this")
        return super().put_if_absent(key, data)


def test_an_append_that_ends_in_any_way_leaves_no_other_waiting():
    """The later one is durable, the earlier one may not be: neither may be counted on, and nothing may follow."""
    store = Gated()
    journal = BucketJournal(store, now_ms=lambda: 1)
    gate = store.gates["log/00000001/0000000000"] = threading.Event()
    raised: dict[int, BaseException] = {}

    def append(number: int) -> None:
        try:
            journal.append(number, b"body")
        except BaseException as error:
            raised[number] = error

    threads = [threading.Thread(target=append, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(10)
    assert isinstance(raised[0], RuntimeError)
    assert isinstance(raised[1], JournalFailed)
    with pytest.raises(JournalFailed, match="interrupted"):
        journal.append(2, b"body")
