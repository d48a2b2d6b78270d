"""Whether a log is whole: what is, is; and whatever is not as it was, is named."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from helpers.ledger import Ledger, Place, begun, busy, in_two_epochs, living, went_on
from taskservice.journal import JournalCorrupt
from taskservice.journal.chunks import load
from taskservice.journal.folding import Folding
from taskservice.journal.reader import reader_of
from taskservice.journal.stats import stats
from taskservice.journal.store.mapping import SCHEMA_VERSION
from taskservice.journal.store.sqlite import SqliteTable
from taskservice.journal.upgrade import upgrade
from taskservice.journal.verify import Verified, verify
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.readonly import ReadOnlyObjects


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture
def ledger(place: Place, tmp_path: Path) -> Iterator[Ledger]:
    with living(place, tmp_path) as ledger:
        yield ledger


def looked_at(place: Place, *, deep: bool = True) -> Verified:
    return verify(place.reader(), deep=deep)


def test_a_log_beside_its_owner_is_whole(place: Place, ledger: Ledger):
    before = place.files()
    steps: list[str] = []
    found = verify(place.reader(), deep=True, progress=lambda what, _done, _of: steps.append(what))
    assert (found.damage, len(found.checkpoints), found.last) == ([], 2, ledger.journal.position[:2])
    assert found.chunks > 2
    assert found.segments > 10
    assert {"chunks read", "segments read", "segments folded", "tasks compared"} == set(steps)
    assert place.files() == before


@pytest.mark.parametrize("checkpoints", [0, 1])
def test_a_young_log_is_whole(place: Place, tmp_path: Path, checkpoints: int):
    ledger = begun(place.opens, tmp_path)
    busy(ledger, "a")
    for _ in range(checkpoints):
        ledger.checkpoint()
    busy(ledger, "b")
    found = looked_at(place)
    assert (found.damage, len(found.checkpoints), found.first) == ([], checkpoints, (1, 0))
    ledger.die()


def test_a_log_that_is_shortened_meanwhile_is_whole(place: Place, ledger: Ledger):
    left = 2

    def goes_on(what: str, done: int, of: int) -> None:
        nonlocal left
        if what == "segments read" and left:
            left -= 1
            for name in ("f", "g"):
                busy(ledger, f"{name}{left}")
                ledger.checkpoint()

    found = verify(place.reader(), deep=True, progress=goes_on)
    assert (found.damage, found.last) == ([], ledger.journal.position[:2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("folder", ["chunk", "checkpoint"])
def test_a_damaged_checkpoint_is_named(place: Place, ledger: Ledger, folder: str):
    newest = max((place.path / folder).rglob("0*2-*"))
    damaged = max(each for each in [newest, *newest.rglob("*")] if each.is_file())
    flip(damaged)
    found = looked_at(place)
    assert len(found.checkpoints) == 1
    (said,) = found.damage
    assert str(damaged.relative_to(place.path)) in said


def test_a_damaged_segment_is_named_with_its_offset(place: Place, ledger: Ledger):
    kept = list(place.reader().segments())[4]
    path = place.path / kept.where
    data = bytearray(path.read_bytes())
    data[kept.offset + 60] ^= 1
    path.write_bytes(data)
    (said,) = looked_at(place).damage
    assert path.name in said
    assert f"at byte {kept.offset}" in said or f"from byte {kept.offset}" in said


def test_a_lost_segment_is_named(tmp_path: Path):
    """Behind a hole of the last epoch a bucket's log ends; but a checkpoint says that there was more."""
    place = Place("bucket", tmp_path)
    in_two_epochs(place.opens, tmp_path).die()
    newest = place.reader().manifest.checkpoints[0]
    (place.path / f"log/00000002/{newest.segment - 1:010d}").unlink()
    (said,) = looked_at(place).damage
    assert newest.key in said


def test_a_checkpoint_of_another_state_is_found(place: Place, ledger: Ledger, tmp_path: Path):
    """As a bug would make it, or memory that flips a bit before the digest: whole, and wrong. Only --deep can see it."""
    ledger.commit()
    ledger.table.fold()
    main = tmp_path / "tasks.sqlite"
    bad = tmp_path / "bad.sqlite"
    bad.write_bytes(main.read_bytes())
    with sqlite3.connect(bad) as db:
        db.execute("UPDATE task SET max_attempts = max_attempts + 1 WHERE no = 3")
    db.close()
    ledger.checkpointer.publish(bad, ledger.journal.position)
    assert looked_at(place, deep=False).damage == []
    (said,) = looked_at(place).damage
    assert "task 3" in said
    assert place.reader().manifest.checkpoints[0].key in said


def test_the_numbers_of_a_log(place: Place, ledger: Ledger):
    before = place.files()
    found = stats(place.reader(), now_ms=ledger.now_ms + 5_000)
    assert [(each.epoch, each.ended) for each in found.epochs] == [(1, True), (2, False)]
    assert all(each.owner and each.claimed_ms for each in found.epochs)
    assert found.epochs[1].segments == ledger.journal.position.number + 1
    assert (found.fences, found.epochs[0].by_epoch) == ((1, 2) if place.kind == "bucket" else (0, None))
    assert found.segments == sum(each.kept for each in found.epochs)
    assert found.compression > 1
    assert found.records["accepted"] == 6
    expected: dict[str, int] = {}
    for state in ledger.states().values():
        expected[state] = expected.get(state, 0) + 1
    assert {state: count for state, count in found.tasks.items() if count} == expected
    newer, older = found.checkpoints
    assert 0 < older.made_ms <= newer.made_ms
    assert 0 < newer.chunks_bytes < newer.file_bytes
    assert place.files() == before


def test_tasks_are_not_counted_against_ones_will(place: Place, ledger: Ledger):
    assert stats(place.reader(), 0, tasks=False).tasks is None


def test_what_a_sweep_would_remove_is_counted(place: Place, ledger: Ledger):
    """Objects of an earlier epoch that nothing refers to, as a process leaves them that dies while it makes a checkpoint."""
    assert stats(place.reader(), 0).garbage.bytes == 0
    for key in ("chunk/00000001-0000000099/000000", "checkpoint/00000001-0000000099"):
        (place.path / key).parent.mkdir(exist_ok=True)
        (place.path / key).write_bytes(b"12345")
    found = stats(place.reader(), 0).garbage
    assert (found.chunks, found.indexes, found.bytes) == (1, 1, 10)
    went_on(ledger)
    ledger.checkpointer.sweep()
    assert stats(place.reader(), 0).garbage.bytes == 0


def test_a_segment_that_contradicts_what_is_before_it_is_named(tmp_path: Path):
    place = Place("bucket", tmp_path)
    ledger = in_two_epochs(place.opens, tmp_path)
    taken = ledger.task("e-1")
    ledger.journal.append(ledger.journal.position.number + 1, b"\x01" + accepted_again(taken))
    ledger.die()
    (said,) = looked_at(place).damage
    assert "IllegalMove" in said
    assert "log/00000002/" in said


def accepted_again(task: object) -> bytes:
    return msgspec.msgpack.encode([["accepted", 1, [task]]])


def test_a_table_of_an_older_schema_is_brought_up_step_by_step(tmp_path: Path):
    path, now = a_table(tmp_path), SCHEMA_VERSION
    steps = {
        now: lambda db: db.execute("ALTER TABLE task ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'"),
        now + 1: lambda db: db.execute("UPDATE task SET colour = 'red'"),
    }
    assert upgrade(path, steps=steps, version=now + 2) == now
    assert upgrade(path, steps=steps, version=now + 2) == now + 2
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT DISTINCT colour FROM task").fetchall() == [("red",)]
    db.close()
    with pytest.raises(JournalCorrupt, match="newer version"):
        upgrade(path)


def test_a_table_that_was_brought_up_has_the_schema_of_a_new_one(tmp_path: Path):
    """From the golden checkpoints of every version, table by table and index by index."""
    SqliteTable(tmp_path / "new.sqlite").close()
    expected = schema(tmp_path / "new.sqlite")
    goldens = sorted((Path(__file__).parents[1] / "golden").glob("v*/bucket"))
    assert goldens
    for golden in goldens:
        reader = reader_of(ReadOnlyObjects(DirectoryObjects(golden, look_only=True)), None)
        path = tmp_path / golden.parent.name
        load(reader.store, reader.manifest.checkpoints[0], path, stop=threading.Event())
        upgrade(path)
        assert schema(path) == expected


def schema(path: Path) -> dict[str, str]:
    """The SQL of all that is in a database, by name, without spaces."""
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    db.close()
    return {name: "".join(sql.split()) for name, sql in found}


def test_a_table_that_no_step_leads_from_is_refused(tmp_path: Path):
    with pytest.raises(JournalCorrupt, match="no way on"):
        upgrade(a_table(tmp_path), steps={}, version=SCHEMA_VERSION + 1)
    (tmp_path / "text").write_bytes(b"no table at all" * 100)
    with pytest.raises(JournalCorrupt, match="cannot be read"):
        upgrade(tmp_path / "text")
    sqlite3.connect(tmp_path / "other").close()
    with pytest.raises(JournalCorrupt, match="no table of tasks"):
        upgrade(tmp_path / "other")


def a_table(folder: Path) -> Path:
    """The table of the newest checkpoint of a log."""
    place = Place("bucket", folder)
    in_two_epochs(place.opens, folder).die()
    reader = place.reader()
    state = Folding(reader, reader.manifest.checkpoints[0], folder / "loaded.sqlite")
    state.close()
    return folder / "loaded.sqlite"
