"""What every journal promises, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskservice.journal import BEGINNING, Fenced, Journal, JournalCorrupt, JournalLocked, Position, Segment
from taskservice.journal.bucket import BucketJournal
from taskservice.journal.local import LocalJournal
from taskservice.journal.manifest import CheckpointRef
from taskservice.journal.memory import MemoryJournal, MemoryStore
from taskservice.objects.memory import MemoryObjects

Open = Callable[[], Journal]


@pytest.fixture(params=["memory", "local", "local with tiny files", "bucket", "bucket, one at a time"])
def open_journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the one journal of this test, anew at each call; all are closed at the end."""
    store = MemoryStore()
    objects = MemoryObjects()
    opened: list[Journal] = []

    def open_it() -> Journal:
        if request.param == "memory":
            opened.append(MemoryJournal(store))
        elif request.param == "local":
            opened.append(LocalJournal(tmp_path / "journal"))
        elif request.param == "local with tiny files":
            opened.append(LocalJournal(tmp_path / "journal", file_bytes_max=300))
        else:
            in_flight_max = 1 if "one" in request.param else 4
            opened.append(BucketJournal(objects, now_ms=lambda: 1, in_flight_max=in_flight_max))
        return opened[-1]

    yield open_it
    for journal in opened:
        journal.close()


def write(open_journal: Open, *bodies: bytes) -> int:
    """One whole life of a writer; gives its epoch."""
    journal = open_journal()
    for number, body in enumerate(bodies):
        journal.append(number, body)
    journal.close()
    return journal.epoch


def test_a_new_journal_is_empty_and_its_first_epoch_is_1(open_journal: Open):
    journal = open_journal()
    assert journal.epoch == 1
    assert list(journal.replay()) == []


def test_epochs_rise_even_if_nothing_was_written(open_journal: Open):
    epochs = [write(open_journal), write(open_journal), write(open_journal, b"a"), write(open_journal)]
    assert epochs == [1, 2, 3, 4]


def test_replay_gives_what_was_appended_in_order_across_epochs(open_journal: Open):
    write(open_journal, b"a", b"b")
    write(open_journal)
    write(open_journal, b"c")
    write(open_journal, b"d", b"", b"e")
    assert list(open_journal().replay()) == [
        Segment(1, 0, b"a"),
        Segment(1, 1, b"b"),
        Segment(3, 0, b"c"),
        Segment(4, 0, b"d"),
        Segment(4, 1, b""),
        Segment(4, 2, b"e"),
    ]


def test_replay_can_be_repeated_and_leaves_out_the_own_epoch(open_journal: Open):
    write(open_journal, b"a", b"b")
    journal = open_journal()
    before = list(journal.replay())
    journal.append(0, b"mine")
    assert list(journal.replay()) == before == [Segment(1, 0, b"a"), Segment(1, 1, b"b")]


def test_later_openings_change_nothing_of_what_is_replayed(open_journal: Open):
    write(open_journal, b"a")
    for _ in range(3):
        journal = open_journal()
        assert list(journal.replay()) == [Segment(1, 0, b"a")]
        journal.close()


@pytest.mark.parametrize("wrong", [-1, 0, 5, 6])
def test_a_number_that_does_not_follow_is_refused_and_does_no_harm(open_journal: Open, wrong: int):
    journal = open_journal()
    journal.append(0, b"a")
    with pytest.raises(ValueError, match="does not follow"):
        journal.append(wrong, b"wrong")
    journal.append(1, b"b")
    journal.close()
    assert [segment.body for segment in open_journal().replay()] == [b"a", b"b"]


def test_each_epoch_counts_from_0(open_journal: Open):
    write(open_journal, b"a")
    journal = open_journal()
    with pytest.raises(ValueError, match="does not follow"):
        journal.append(journal.in_flight_max, b"b")


def test_nothing_is_appended_once_it_is_closed(open_journal: Open):
    journal = open_journal()
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.append(0, b"late")
    assert list(open_journal().replay()) == []


def test_of_two_writers_one_never_appends_again(open_journal: Open):
    """Either the second opening is refused, and the first goes on; or it succeeds, and fences the first for ever."""
    first = open_journal()
    first.append(0, b"a")
    try:
        second = open_journal()
    except JournalLocked:
        first.append(1, b"b")
        first.close()
        assert [segment.body for segment in open_journal().replay()] == [b"a", b"b"]
        return
    assert second.epoch > first.epoch
    for _ in range(2):
        with pytest.raises(Fenced):
            first.append(1, b"zombie")
    second.append(0, b"b")
    second.close()
    with pytest.raises(Fenced):
        first.append(1, b"zombie")
    assert [segment.body for segment in open_journal().replay()] == [b"a", b"b"]


def test_large_bodies(open_journal: Open):
    bodies = [bytes([fill]) * 5_000_000 for fill in range(3)]
    write(open_journal, *bodies)
    assert [segment.body for segment in open_journal().replay()] == bodies


def test_a_thousand_appends(open_journal: Open):
    bodies = [str(number).encode() for number in range(1000)]
    write(open_journal, *bodies)
    assert list(open_journal().replay()) == [Segment(1, number, body) for number, body in enumerate(bodies)]


def test_replay_may_begin_anywhere(open_journal: Open):
    positions = [BEGINNING]
    for bodies in ((b"a", b"b", b"c"), (b"d" * 500, b"e"), (), (b"f",)):
        journal = open_journal()
        for number, body in enumerate(bodies):
            journal.append(number, body)
            positions.append(journal.position)
        journal.close()
    journal = open_journal()
    everything = list(journal.replay())
    assert [segment[:2] for segment in everything] == [position[:2] for position in positions[1:]]
    for count, position in enumerate(positions):
        assert list(journal.replay(position)) == everything[count:]
        assert list(journal.replay(position._replace(chain=b""))) == everything[count:]
    assert [journal.sealed_segments(epoch) for epoch in range(6)] == [None, 3, 2, 0, 1, None]


def test_what_does_not_continue_a_place_is_not_replayed_from_it(open_journal: Open):
    journal = open_journal()
    journal.append(0, b"a")
    journal.append(1, b"b")
    journal.close()
    journal = open_journal()
    if not journal.position.chain:
        return  # the one in RAM has no chain
    for wrong in (Position(1, 0, bytes(16)), Position(1, 1, bytes(16))):
        with pytest.raises(JournalCorrupt):
            list(journal.replay(wrong))


def test_what_was_collected_is_gone_and_the_rest_is_not(open_journal: Open):
    positions = []
    for _ in range(3):
        journal = open_journal()
        for number in range(4):
            journal.append(number, b"x" * 200)
            positions.append(journal.position)
        journal.close()
    for upto in (positions[1], positions[6], positions[8]):
        journal = open_journal()
        cover(journal, upto)
        journal.collect(upto)
        rest = [segment[:2] for segment in journal.replay(upto)]
        assert rest == [position[:2] for position in positions if position[:2] > upto[:2]]
        journal.close()


def cover(journal: Journal, upto: Position) -> None:
    """Two checkpoints stand at that place, if that is something that this journal goes by."""
    if isinstance(journal, BucketJournal):
        for name in "ab":
            ref = CheckpointRef(upto.epoch, upto.number, upto.chain.hex(), f"checkpoint/{name}")
            journal.ownership.publish(ref, at_ms=1)


def test_whoever_still_holds_it_may_ask(open_journal: Open):
    journal = open_journal()
    journal.check()
    journal.append(0, b"a")
    journal.check()
