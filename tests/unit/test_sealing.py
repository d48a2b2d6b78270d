"""Ending an epoch in a bucket, when something that was there is not any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskservice.journal import Fenced, JournalCorrupt
from taskservice.journal.bucket import BucketJournal
from taskservice.journal.segments import key_of
from taskservice.objects import ObjectInfo
from taskservice.objects.memory import MemoryObjects


def sealed(bodies: int) -> MemoryObjects:
    """The log of an owner who wrote so many segments, and of a successor who sealed that, and wrote nothing."""
    store = MemoryObjects()
    journal = BucketJournal(store, now_ms=lambda: 1)
    for number in range(bodies):
        journal.append(number, b"%d" % number)
    BucketJournal(store, now_ms=lambda: 2)
    return store


@pytest.mark.parametrize("lost", [0, 2, 3])
def test_a_segment_that_was_lost_is_not_taken_for_the_end(lost: int):
    """It was, as long as nothing followed in a later epoch: the rest of the epoch was dropped without a word."""
    store = sealed(4)
    store.delete([key_of(1, lost)])
    with pytest.raises(JournalCorrupt, match=key_of(1, lost)):
        BucketJournal(store, now_ms=lambda: 3)
    with pytest.raises(JournalCorrupt, match=key_of(1, lost)):
        BucketJournal(store, now_ms=lambda: 4)


class ListedEarly(MemoryObjects):
    """The next listing of segments is without one that comes while it goes on."""

    def __init__(self, other: MemoryObjects, unseen: str) -> None:
        super().__init__()
        self._objects = dict(other._objects)
        self._unseen = unseen
        self.on_listing = lambda: None

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        for info in super().list(prefix, after):
            if info.key == self._unseen:
                self._unseen = ""
                self.on_listing()
            else:
                yield info


def test_a_segment_that_came_while_it_was_listed_is_there():
    store = ListedEarly(sealed(4), key_of(1, 2))
    journal = BucketJournal(store, now_ms=lambda: 3)
    assert [segment.body for segment in journal.replay()] == [b"0", b"1", b"2", b"3"]


def test_a_segment_that_a_successor_has_removed_is_no_damage():
    store = ListedEarly(sealed(4), key_of(1, 2))

    def succeeded() -> None:
        BucketJournal(store, now_ms=lambda: 4)
        store.delete([key_of(1, 2)])

    store.on_listing = succeeded
    with pytest.raises(Fenced):
        BucketJournal(store, now_ms=lambda: 3)


def test_what_people_put_into_buckets_does_not_matter():
    store = sealed(2)
    for key in ("log/readme.txt", "log/00000001/0000000001.bak", "log/00000001/readme"):
        store.put_if_absent(key, b"about this bucket")
    journal = BucketJournal(store, now_ms=lambda: 3)
    assert [segment.body for segment in journal.replay()] == [b"0", b"1"]
    assert journal.sweep() == 0
    journal.append(0, b"2")
    assert store.get("log/readme.txt")
