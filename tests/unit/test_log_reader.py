"""Reading a log beside its owner: nothing is changed, nothing acknowledged is missed, and what goes meanwhile is no damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.ledger import Ledger, Place, busy, in_two_epochs, living, went_on
from taskservice.core.records import TasksAccepted
from taskservice.journal import JournalCorrupt
from taskservice.journal.codec import decode
from taskservice.journal.reader import Moved, NoLog, Reader, open_reader
from taskservice.journal.segments import FENCE_VERSION, Fence, encode_fence, key_of
from taskservice.objects import StoreRefused
from taskservice.objects.directory import DirectoryObjects


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


def accepted(reader: Reader) -> list[str]:
    """The ids of the tasks that the segments speak of."""
    records = [record for kept in reader.segments() for record in decode(kept.body)]
    return [task.id for record in records if isinstance(record, TasksAccepted) for task in record.tasks]


def test_a_running_service_is_read_and_left_alone(place: Place, tmp_path: Path):
    with living(place, tmp_path) as ledger:
        before = place.files()
        reader = place.reader()
        assert accepted(reader) == [f"{name}-{at}" for name in "cde" for at in range(1, 5)], (
            "from the older checkpoint on"
        )
        assert reader.end == ledger.journal.position[:2]
        assert [(each.epoch, each.ended) for each in reader.extents] == [(1, True), (2, False)]
        assert place.files() == before
        busy(ledger, "f")
        assert place.reader().end == ledger.journal.position[:2]
    assert place.reader().end == ledger.journal.position[:2]


def test_the_chain_leads_from_segment_to_segment(place: Place, tmp_path: Path):
    with living(place, tmp_path):
        reader = place.reader()
        read = list(reader.segments())
        assert [each.chain_before for each in read] == [reader.start.chain, *(each.chain for each in read[:-1])]
        newer = reader.manifest.checkpoints[0]
        assert next(each.chain.hex() for each in read if each.place == (newer.epoch, newer.segment)) == newer.chain
        assert list(reader.segments(newer.position)) == [each for each in read if each.place > newer.position[:2]]


def test_what_is_collected_meanwhile_is_no_damage(place: Place, tmp_path: Path):
    with living(place, tmp_path) as ledger:
        reader = place.reader()
        segments = reader.segments()
        next(segments)
        went_on(ledger)
        for name in ("f", "g", "h"):
            busy(ledger, name)
            ledger.checkpoint()
        with pytest.raises(Moved):
            list(segments)
        assert reader.undisturbed(lambda: accepted(reader)) == [f"h-{at}" for at in range(1, 5)]


def test_a_log_that_never_stands_still_is_given_up(place: Place, tmp_path: Path):
    with living(place, tmp_path) as ledger:
        reader = place.reader()

        def disturbed() -> None:
            busy(ledger, f"z{ledger.journal.position.number}")
            ledger.checkpoint()
            raise Moved("again")

        with pytest.raises(Moved, match="read a copy"):
            reader.undisturbed(disturbed)


def test_what_is_missing_is_damage_if_nobody_has_removed_it(place: Place, tmp_path: Path):
    with living(place, tmp_path):
        reader = place.reader()
        last = list(reader.segments())[-3]
        (place.path / last.where).unlink()
        with pytest.raises(JournalCorrupt, match=r"missing|were there"):
            list(reader.segments())


def test_a_torn_tail_is_left_out_and_not_cut_off(tmp_path: Path):
    place = Place("directory", tmp_path)
    in_two_epochs(place.opens, tmp_path).close()
    whole = list(place.reader().segments())
    log = max((place.path / "journal" / "00000002").glob("*.log"))
    log.write_bytes(log.read_bytes()[:-1])
    assert list(place.reader().segments()) == whole[:-1]
    assert log.stat().st_size, "it stays as it is"


def test_nothing_is_read_behind_a_hole_or_a_fence(tmp_path: Path):
    place = Place("bucket", tmp_path)
    in_two_epochs(place.opens, tmp_path).close()
    store = DirectoryObjects(place.path)
    whole = list(place.reader().segments())
    assert place.reader().extents[0].by_epoch == 2
    end = whole[-1].number + 1
    late = (place.path / whole[-1].where).read_bytes()
    store.put_if_absent(key_of(2, end + 1), late)
    assert list(place.reader().segments()) == whole, "a segment whose turn it is not yet"
    store.put_if_absent(key_of(2, end), encode_fence(Fence(FENCE_VERSION, 2, end, 3)))
    reader = place.reader()
    assert list(reader.segments()) == whole
    assert (reader.extents[-1].ended, reader.extents[-1].by_epoch) == (True, 3)
    store.put_if_absent("log/00000002/readme", b"people put things into buckets")
    assert list(place.reader().segments()) == whole


def test_a_hole_before_a_fence_is_a_loss(tmp_path: Path):
    place = Place("bucket", tmp_path)
    ledger = in_two_epochs(place.opens, tmp_path)
    lost = ledger.journal.position.number - 1
    went_on(ledger)
    ledger.die()
    DirectoryObjects(place.path).delete([key_of(2, lost)])
    with pytest.raises(JournalCorrupt, match=key_of(2, lost)):
        place.reader()


def test_where_there_is_nothing_that_is_said(tmp_path: Path):
    with pytest.raises(NoLog), open_reader(str(tmp_path / "nowhere")):
        pass
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(NoLog, match="prefix"):
        Place("bucket", tmp_path).reader()


def test_nothing_can_be_changed_through_a_reader(place: Place, tmp_path: Path):
    with living(place, tmp_path):
        before = place.files()
        store = place.reader().store
        with pytest.raises(StoreRefused, match="look only"):
            store.put_if_absent("a", b"")
        with pytest.raises(StoreRefused, match="look only"):
            store.delete(list(before))
        assert place.files() == before


def test_a_table_left_from_a_longer_log_is_not_gone_on_from(place: Place, tmp_path: Path):
    """A sanity check of the ledger: it goes on from its table, and without it from the newest checkpoint."""
    ledger: Ledger = in_two_epochs(place.opens, tmp_path)
    went_on(ledger)
    assert ledger.source == "the table that was there"
    ledger.forget_table()
    went_on(ledger)
    assert ledger.source.startswith("checkpoint/00000002")
    ledger.die()
