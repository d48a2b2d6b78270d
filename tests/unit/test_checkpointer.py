"""Publishing checkpoints and removing what they make superfluous: in the right order, and after any trouble."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from helpers.owners import CHUNK_BYTES, check_nothing_else, lines_of
from helpers.unreliable_objects import UnreliableObjects
from taskservice.journal import BEGINNING, Fenced, JournalCorrupt, Position
from taskservice.journal.bucket import BucketJournal
from taskservice.journal.checkpoint import CHUNK_PREFIX, INDEX_PREFIX, get_index
from taskservice.journal.checkpointer import Checkpointer
from taskservice.journal.manifest import claim
from taskservice.objects import StoreRefused
from taskservice.objects.memory import MemoryObjects


class Writer:
    """An owner of a log whose table is a file with a line for each segment."""

    def __init__(self, store: MemoryObjects, path: Path, stop: threading.Event | None = None) -> None:
        self.path = path
        self.journal = BucketJournal(store, now_ms=lambda: 1)
        self.checkpointer = Checkpointer(
            store,
            self.journal,
            self.journal.ownership,
            now_ms=lambda: 1,
            stop=stop or threading.Event(),
            threads=2,
            cpu_ratio_max=2.0,
            chunk_bytes=CHUNK_BYTES,
        )
        self.next = 0

    def append(self) -> Position:
        line = b"%d.%d" % (self.journal.epoch, self.next)
        self.journal.append(self.next, line)
        self.next += 1
        with self.path.open("ab") as file:
            file.write(line + b"\n")
        return self.journal.position

    def publish(self):
        return self.checkpointer.publish(self.path, self.append())


@pytest.fixture
def store() -> UnreliableObjects:
    return UnreliableObjects()


@pytest.fixture
def writer(store: UnreliableObjects, tmp_path: Path) -> Writer:
    return Writer(store, tmp_path / "first")


def recovered(store: MemoryObjects, path: Path) -> tuple[list[bytes], Writer]:
    """All segments, as the next owner finds them; and that owner."""
    writer = Writer(store, path)
    ref = writer.checkpointer.load(path)
    found = lines_of(path) if ref else []
    found += [segment.body for segment in writer.journal.replay(ref.position if ref else None)]
    path.write_bytes(b"".join(line + b"\n" for line in found))
    return found, writer


def test_two_checkpoints_stand_and_nothing_before_them(store: UnreliableObjects, writer: Writer):
    for _ in range(5):
        writer.publish()
    manifest = writer.journal.ownership.manifest
    assert [ref.segment for ref in manifest.checkpoints] == [4, 3]
    assert store.keys("log/") == ["log/00000001/0000000004"]
    assert len(store.keys("manifest/")) == 2, "the claim and the newest"
    assert set(store.keys(INDEX_PREFIX)) == {ref.key for ref in manifest.checkpoints}
    chunks = [get_index(store, ref).chunk_keys for ref in manifest.checkpoints]
    assert set(store.keys(CHUNK_PREFIX)) == set().union(*chunks)


def test_figures_say_what_was_done(store: UnreliableObjects, writer: Writer):
    for _ in range(9):
        writer.append()
    first = writer.publish()
    assert (first.file_bytes, first.chunks_uploaded, first.chunks_reused) == (40, 3, 0)
    for _ in range(3):
        writer.append()
    second = writer.publish()
    assert (second.file_bytes, second.chunks_uploaded, second.chunks_reused) == (60, 2, 2)
    assert second.bytes_uploaded > 0
    assert second.requests == 1 + 2 + 1 + 1 + 1 + 1, "a check, chunks, index, manifest, old segments, the old manifest"
    assert second.objects_removed == 1


@pytest.mark.parametrize("wrong", [(1, 0), (1, -1), (2, 5), (0, 5), BEGINNING[:2]])
def test_a_position_that_is_not_new_is_refused(writer: Writer, wrong: tuple[int, int]):
    """Names of objects hold it, and none may be used twice."""
    writer.publish()
    with pytest.raises(ValueError, match="checkpoint"):
        writer.checkpointer.publish(writer.path, Position(*wrong, bytes(16)))
    writer.publish()


def test_a_position_whose_chain_is_not_known_is_refused(writer: Writer):
    """It would be believed to be the very beginning's when the segments after it are read."""
    position = writer.append()
    with pytest.raises(ValueError, match="chain"):
        writer.checkpointer.publish(writer.path, position._replace(chain=b""))


def test_without_a_checkpoint_the_journal_is_read_from_its_beginning(store: UnreliableObjects, writer: Writer):
    writer.append()
    writer.append()
    found, _ = recovered(store, writer.path.with_name("second"))
    assert found == [b"1.0", b"1.1"]


@pytest.mark.parametrize("damage", ["index", "chunk"])
def test_a_damaged_checkpoint_is_passed_over_and_never_stands_again(
    store: UnreliableObjects, writer: Writer, damage: str, caplog: pytest.LogCaptureFixture
):
    """The older one is used, and it stands until there are two good ones again."""
    older = writer.publish().ref
    newest = writer.publish().ref
    writer.append()
    store.replace(newest.key if damage == "index" else max(get_index(store, newest).chunk_keys), b"?")
    found, second = recovered(store, writer.path.with_name("second"))
    assert found == [b"1.0", b"1.1", b"1.2"]
    assert list(second.checkpointer.damaged) == [newest.key]
    assert newest.key in caplog.text
    third = second.publish().ref
    assert second.journal.ownership.manifest.checkpoints == (third, older)
    fourth = second.publish().ref
    assert second.journal.ownership.manifest.checkpoints == (fourth, third)
    found, third = recovered(store, writer.path.with_name("third"))
    assert found == [b"1.0", b"1.1", b"1.2", b"2.0", b"2.1"]
    third.checkpointer.sweep()
    check_nothing_else(store, third.journal.ownership.manifest)


def test_the_only_checkpoint_may_be_damaged(store: UnreliableObjects, writer: Writer):
    """The journal is whole from its beginning until there are two."""
    ref = writer.publish().ref
    store.delete([ref.key])
    found, second = recovered(store, writer.path.with_name("second"))
    assert found == [b"1.0"]
    second.publish()
    assert len(second.journal.ownership.manifest.checkpoints) == 1
    store.delete([second.journal.ownership.manifest.checkpoints[0].key])
    assert recovered(store, writer.path.with_name("third"))[0] == [b"1.0", b"2.0"]


def test_if_both_checkpoints_are_damaged_nothing_is_served(store: UnreliableObjects, writer: Writer):
    refs = [writer.publish().ref for _ in range(3)][1:]
    store.delete([ref.key for ref in refs])
    with pytest.raises(JournalCorrupt, match="Neither checkpoint") as raised:
        recovered(store, writer.path.with_name("second"))
    assert all(ref.key in str(raised.value) for ref in refs)


def test_with_both_checkpoints_damaged_an_owner_who_has_the_table_makes_new_ones(
    store: UnreliableObjects, writer: Writer, tmp_path: Path
):
    """Nothing that the unreadable indexes may refer to is removed before they stand no more."""
    refs = [writer.publish().ref for _ in range(3)][1:]
    store.delete([ref.key for ref in refs])
    second = Writer(store, writer.path)
    chunks = store.keys(CHUNK_PREFIX)
    assert second.checkpointer.sweep().checkpoint_objects == 0
    assert store.keys(CHUNK_PREFIX) == chunks
    second.publish()
    second.publish()
    found, third = recovered(store, tmp_path / "third")
    assert found == [b"1.0", b"1.1", b"1.2", b"2.0", b"2.1"]
    assert third.checkpointer.sweep().checkpoint_objects == len(chunks)
    check_nothing_else(store, third.journal.ownership.manifest)


def test_a_checkpoint_of_another_log_is_damage(store: UnreliableObjects, writer: Writer, tmp_path: Path):
    """As after copying objects from one bucket's prefix to another."""
    ref = writer.publish().ref
    other = UnreliableObjects()
    for epoch in range(2):
        claim(other, log="another", nonce=str(epoch), writer="", at_ms=1).publish(ref, 1)
    for key in [*store.keys(INDEX_PREFIX), *store.keys(CHUNK_PREFIX)]:
        other.put_if_absent(key, store.get(key))
    stranger = Writer(other, tmp_path / "stranger")
    with pytest.raises(JournalCorrupt, match="belongs to another log"):
        stranger.checkpointer.load(stranger.path)


def test_what_a_successor_removed_is_no_damage(store: UnreliableObjects, writer: Writer):
    """A reader who is overtaken is fenced."""
    for _ in range(2):
        writer.publish()
    slow = Writer(store, writer.path.with_name("slow"))
    _, successor = recovered(store, writer.path.with_name("successor"))
    for _ in range(2):
        successor.publish()
    with pytest.raises(Fenced):
        slow.checkpointer.load(slow.path)
    assert not slow.checkpointer.damaged


def test_a_zombie_publishes_nothing_and_uploads_little(store: UnreliableObjects, writer: Writer):
    writer.publish()
    position = writer.append()
    Writer(store, writer.path.with_name("successor"))
    before = store.keys()
    with pytest.raises(Fenced):
        writer.checkpointer.publish(writer.path, position)
    assert store.keys() == before


def test_a_store_that_is_away_delays_a_checkpoint(store: UnreliableObjects, writer: Writer):
    """At any of its calls; that there was trouble is known while it lasts."""
    writer.checkpointer.store._pause_s_max = 0.0
    for calls in range(1, 8):
        store.away = 0
        position = writer.append()
        store.away = calls
        writer.checkpointer.publish(writer.path, position)
        assert not writer.checkpointer.store.trouble
    assert recovered(store, writer.path.with_name("second"))[0] == [b"1.%d" % at for at in range(7)]


def test_an_upload_that_is_refused_leaves_garbage_that_the_next_checkpoint_removes(
    store: UnreliableObjects, writer: Writer
):
    for _ in range(3):
        writer.publish()
    position = writer.append()
    manifest = writer.journal.ownership.manifest
    store.put_if_absent(f"chunk/{position.epoch:08d}-{position.number:010d}/000077", b"what a late call left")
    store.refusing = {"put"}
    with pytest.raises(StoreRefused):
        writer.checkpointer.publish(writer.path, position)
    assert writer.journal.ownership.manifest == manifest
    store.refusing.clear()
    writer.publish()
    left = store.keys()
    assert not [key for key in left if "-0000000003" in key]


def test_the_same_position_may_be_tried_again(store: UnreliableObjects, writer: Writer):
    position = writer.append()
    store.refusing = {"put"}
    with pytest.raises(StoreRefused):
        writer.checkpointer.publish(writer.path, position)
    store.refusing.clear()
    assert writer.checkpointer.publish(writer.path, position).ref.segment == 0


def test_what_cannot_be_removed_is_removed_after_the_next_checkpoint(
    store: UnreliableObjects, writer: Writer, caplog: pytest.LogCaptureFixture
):
    """It is published all the same; that the store refuses to remove anything is not kept quiet."""
    for _ in range(2):
        writer.publish()
    store.refusing = {"delete"}
    published = writer.publish()
    assert published.refusal == "no access: delete"
    assert published.refusal in caplog.text
    assert writer.journal.ownership.manifest.checkpoints[0].segment == 2
    store.refusing.clear()
    assert not writer.publish().refusal
    _, second = recovered(store, writer.path.with_name("second"))
    swept = second.checkpointer.sweep()
    assert (swept.segments, swept.checkpoint_objects) == (0, 0)
    check_nothing_else(store, second.journal.ownership.manifest)


def test_sweeping_removes_exact_keys_of_earlier_epochs(store: UnreliableObjects, writer: Writer, tmp_path: Path):
    for _ in range(3):
        writer.publish()
    garbage = [
        "checkpoint/00000001-0000000007",
        "chunk/00000001-0000000007/000000",
        "chunk/00000001-0000000002/000009",
        "log/00000001/0000000000",
    ]
    foreign = [
        "checkpoint/README",
        "chunk/00000001-0000000007.bak/000000",
        "chunk/00000002-0000000000/000000",
        "chunk/00000003-0000000000/000000",
        "checkpoint/00000003-0000000000",
    ]
    for key in (*garbage, *foreign):
        store.put_if_absent(key, bytes(200))
    _, second = recovered(store, tmp_path / "second")
    swept = second.checkpointer.sweep()
    assert swept == (1, 3, 1)
    assert set(garbage).isdisjoint(store.keys())
    assert set(foreign) <= set(store.keys()), "a later owner's, or nobody's we know"
    assert second.checkpointer.sweep() == (0, 0, 0)


def test_a_journal_that_is_collected_late_in_a_directory_is_collected_at_the_next_opening(
    store: UnreliableObjects, writer: Writer
):
    """It has no listing of its own to find what was left: it is told once more from where on it is needed."""
    collected: list[Position] = []

    class Local:
        def collect(self, upto: Position) -> None:
            collected.append(upto)

        def sweep(self) -> int:
            return 0

    def sweep() -> None:
        ownership = claim(store, log="", nonce=str(len(collected)), writer="", at_ms=1)
        Checkpointer(store, Local(), ownership, now_ms=lambda: 1, stop=threading.Event()).sweep()

    sweep()
    assert collected == [], "there is no checkpoint yet"
    again = Writer(store, writer.path.with_name("again"))
    refs = [again.publish().ref for _ in range(2)]
    sweep()
    assert collected == [refs[0].position]


def test_what_happened_is_logged_once(store: UnreliableObjects, writer: Writer, caplog: pytest.LogCaptureFixture):
    """An hour without a store is not an hour of lines."""
    writer.checkpointer.store._pause_s_max = 0.0
    position = writer.append()
    store.away = 30
    with caplog.at_level(logging.WARNING):
        writer.checkpointer.publish(writer.path, position)
    assert len(caplog.records) == 3
