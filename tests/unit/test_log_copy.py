"""A log at another place: the same log, from which a service goes on, whatever both places are made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.ledger import Ledger, Place, begun, busy, in_two_epochs, living, went_on
from taskservice.core.types import ListFilter, Task
from taskservice.journal import JournalCorrupt
from taskservice.journal.copy import Copied, NotEmpty, copy, place_at
from taskservice.journal.folding import Folding, tasks_of
from taskservice.journal.local import LocalJournal
from taskservice.journal.reader import NoLog, Reader
from taskservice.journal.verify import verify
from taskservice.objects.directory import DirectoryObjects

KINDS = ("directory", "bucket")


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path / "copy")


@pytest.fixture
def ledger(source: Place, tmp_path: Path) -> Iterator[Ledger]:
    with living(source, tmp_path) as ledger:
        yield ledger


def copied(source: Place | Reader, target: Place, **options: object) -> Copied:
    reader = source if isinstance(source, Reader) else source.reader()
    store = DirectoryObjects(target.path)
    return copy(reader, store, local=target.kind == "directory", writer="the test", now_ms=7, **options)


def tasks(ledger: Ledger) -> list[Task]:
    return ledger.state.table.listing(ListFilter(), None, 1_000)


def tasks_in(place: Place, folder: Path) -> list[Task]:
    reader = place.reader()
    newest = reader.manifest.checkpoints[:1]
    state = Folding(reader, newest[0] if newest else None, folder / "folded.sqlite")
    state.go_on()
    found = list(tasks_of(state.table))
    state.close()
    return found


def bodies(place: Place) -> list[tuple[int, int, bytes, bytes]]:
    return [(each.epoch, each.number, each.body, each.chain) for each in place.reader().segments()]


def test_a_service_goes_on_from_a_copy(source: Place, target: Place, ledger: Ledger, tmp_path: Path):
    before = source.files()
    made = copied(source, target)
    assert source.files() == before
    assert (made.epoch, made.segment) == ledger.journal.position[:2]
    assert bodies(target) == bodies(source)
    assert verify(target.reader(), deep=True).damage == []
    known, expected = tasks(ledger), ledger.states()
    (tmp_path / "other").mkdir()
    other = Ledger(target.opens, tmp_path / "other")
    assert other.source.startswith("checkpoint/00000002")
    assert (tasks(other), other.states(), other.journal.epoch) == (known, expected, 3)
    went_on(other)
    busy(other, "z")
    other.checkpoint()
    busy(other, "y")
    other.checkpoint()
    known = tasks(other)
    other.forget_table()
    went_on(other)
    assert [task.id for task in tasks(other)] == [task.id for task in known]
    assert verify(target.reader(), deep=True).damage == []
    other.close()


def test_there_and_back_again_it_is_the_same(tmp_path: Path):
    first, second, third = (
        Place("directory", tmp_path),
        Place("bucket", tmp_path / "2"),
        Place("directory", tmp_path / "3"),
    )
    in_two_epochs(first.opens, tmp_path).die()
    copied(first, second)
    copied(second, third)
    assert bodies(first) == bodies(second) == bodies(third)
    ones, threes = first.reader().manifest, third.reader().manifest
    assert (ones.log, ones.owners, ones.checkpoints) == (threes.log, threes.owners, threes.checkpoints)
    chunks = {name: data for name, data in first.files().items() if name.startswith(("chunk/", "checkpoint/"))}
    assert chunks == {name: data for name, data in third.files().items() if name.startswith(("chunk/", "checkpoint/"))}


def test_as_it_was_after_each_segment(source: Place, tmp_path: Path):
    """Each place that can be restored is: the copy has the tasks that its last segment left, and a service starts on it."""
    with living(source, tmp_path):
        reader = source.reader()
        places = [reader.start[:2], *(each.place for each in reader.segments())]
        kinds = itertools.cycle(KINDS)
        for upto in places:
            target = Place(next(kinds), tmp_path / f"{upto[0]}-{upto[1]}")
            made = copied(reader, target, upto=upto)
            assert (made.epoch, made.segment) == upto
            assert verify(target.reader(), deep=True).damage == []
            folded = Folding(reader, reader.manifest.checkpoints[-1], tmp_path / "upto.sqlite")
            folded.go_on(upto)
            known = list(tasks_of(folded.table))
            folded.close()
            assert tasks_in(target, tmp_path) == known
            other = Ledger(target.opens, target.path.parent)
            assert (tasks(other), other.journal.epoch) == (known, upto[0] + 1)
            other.close()


@pytest.mark.parametrize("checkpoints", [0, 1])
def test_a_young_log_is_copied_from_its_beginning(source: Place, target: Place, tmp_path: Path, checkpoints: int):
    ledger = begun(source.opens, tmp_path)
    busy(ledger, "a")
    for _ in range(checkpoints):
        ledger.checkpoint()
    went_on(ledger)
    known = tasks(ledger)
    ledger.die()
    copied(source, target)
    assert verify(target.reader(), deep=True).damage == []
    assert tasks_in(target, tmp_path) == known
    target_early = Place(target.kind, tmp_path / "early")
    assert copied(source, target_early, upto=(1, 2)).segment == 2
    assert verify(target_early.reader(), deep=True).damage == []


def test_an_owner_that_wrote_nothing_keeps_its_epoch(source: Place, target: Place, tmp_path: Path):
    ledger = in_two_epochs(source.opens, tmp_path)
    known = tasks(ledger)
    ledger.die()
    for _ in range(2):
        source.opens(lambda: 1).close()
    copied(source, target)
    other = Ledger(target.opens, tmp_path)
    assert (other.journal.epoch, tasks(other)) == (5, known)
    other.close()


def test_a_log_that_is_shortened_meanwhile_is_copied_all_the_same(
    source: Place, target: Place, ledger: Ledger, tmp_path: Path
):
    left = 2

    def goes_on(what: str, done: int, _of: int) -> None:
        nonlocal left
        if what == "chunks copied" and done == 1 and left:
            left -= 1
            for name in ("f", "g"):
                busy(ledger, f"{name}{left}")
                ledger.checkpoint()

    made = copied(source, target, progress=goes_on)
    assert (made.epoch, made.segment) == ledger.journal.position[:2]
    assert verify(target.reader(), deep=True).damage == []
    assert tasks_in(target, tmp_path) == tasks(ledger)


def damage_newer(place: Place) -> str:
    newest = max(each for each in (place.path / "chunk").rglob("*") if each.is_file())
    newest.write_bytes(newest.read_bytes()[:-1])
    return str(newest.relative_to(place.path))


def test_a_damaged_checkpoint_is_left_out(source: Place, target: Place, ledger: Ledger, tmp_path: Path):
    damaged = damage_newer(source)
    made = copied(source, target)
    assert len(made.checkpoints) == 1
    assert damaged in made.left_out[0]
    found = verify(target.reader(), deep=True)
    assert (found.damage, len(found.checkpoints)) == ([], 1)
    other = Ledger(target.opens, target.path.parent)
    assert tasks(other) == tasks(ledger)
    for name in ("f", "g"):
        busy(other, name)
        other.checkpoint()
    assert verify(target.reader(), deep=True).damage == []
    other.close()


def test_what_is_damaged_is_not_copied(source: Place, target: Place, ledger: Ledger):
    for index in (source.path / "checkpoint").iterdir():
        index.write_bytes(b"{}")
    with pytest.raises(JournalCorrupt, match="no other way"):
        copied(source, target)
    with pytest.raises(JournalCorrupt, match="not finished"):
        target.reader()
    with pytest.raises(JournalCorrupt, match="not finished"):
        target.opens(lambda: 1)


@pytest.mark.parametrize(
    ("upto", "why"), [((1, 0), "cannot be restored"), ((2, 999), "no segment 2/999"), ((9, 0), "no segment 9/0")]
)
def test_a_place_that_there_is_not_is_refused(
    source: Place, target: Place, ledger: Ledger, upto: tuple[int, int], why: str
):
    with pytest.raises(JournalCorrupt, match=why):
        copied(source, target, upto=upto)


def test_a_directory_that_was_never_claimed_is_not_copied(tmp_path: Path):
    """As a process leaves it that dies between the two steps of its very first start."""
    source, target = Place("directory", tmp_path), Place("bucket", tmp_path / "copy")
    LocalJournal(source.path / "journal").close()
    with pytest.raises(NoLog, match="no owner"):
        copied(source, target)
    assert target.files() == {}


def test_nothing_is_copied_over_something(source: Place, target: Place, ledger: Ledger):
    target.path.mkdir(parents=True, exist_ok=True)
    (target.path / "precious").write_bytes(b"x")
    with pytest.raises(NotEmpty, match="precious"):
        copied(source, target)
    assert list(target.files()) == ["precious"]
    within = Place("bucket", source.path)
    with pytest.raises(NotEmpty, match="within"):
        copied(source, within)


def test_history_and_large_values_come_along(source: Place, target: Place, ledger: Ledger):
    store = DirectoryObjects(source.path)
    others = {"history/dt=2026-11-23/1-9-ab.parquet": b"PAR1", "value/dt=2026-11-23/0c": b"{}" * 100}
    for key, data in others.items():
        store.put_if_absent(key, data)
    assert copied(source, target).objects == 2
    found = target.files()
    assert {key: found[key] for key in others} == others


def test_a_place_is_found_by_its_time(source: Place, tmp_path: Path):
    ledger = begun(source.opens, tmp_path)
    places = []
    for name in "abc":
        busy(ledger, name)
        places.append((ledger.now_ms, ledger.journal.position[:2]))
        ledger.now_ms += 10_000
    ledger.die()
    reader = source.reader()
    for at_ms, place in places:
        assert place_at(reader, at_ms) == place
    with pytest.raises(JournalCorrupt, match="later than that time"):
        place_at(reader, 1)


def test_a_table_that_is_ahead_of_an_earlier_copy_is_cut_back_or_left(tmp_path: Path):
    """The machine's working table belongs to the log, whose name the copy has too; but the copy ends earlier."""
    source = Place("bucket", tmp_path)
    ledger = in_two_epochs(source.opens, tmp_path)
    (epoch, number), sources = ledger.journal.position[:2], set()
    ledger.die()
    table = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}
    for back in range(1, number):
        folder = tmp_path / str(back)
        target = Place("directory", folder)
        copied(source, target, upto=(epoch, number - back))
        for name, data in table.items():
            (folder / name).write_bytes(data)
        other = Ledger(target.opens, folder)
        sources.add(other.source.split("/")[0])
        assert tasks(other) == tasks_in(target, folder)
        other.close()
    assert sources == {"the table that was there", "checkpoint"}
