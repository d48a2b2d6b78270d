"""Which file a dispatcher keeps its table in: never one that another has open, which may only seem to be dead."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskservice.journal.store.place import TablePlace, take_place

STATE = "s3://bucket/prefix"


@pytest.fixture
def places() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as places:
        yield places


def take(places: contextlib.ExitStack, home: Path, epoch: int, state_dir: str = STATE) -> TablePlace:
    place = take_place(home, state_dir, epoch)
    places.callback(place.close)
    return place


def test_a_dispatcher_that_was_stopped_for_a_while_does_not_share_its_table_with_its_successor(
    places: contextlib.ExitStack, tmp_path: Path
) -> None:
    """SQLite's lock does not keep them apart: it had gone with the first checkpoint that was made of the file."""
    stopped = take(places, tmp_path, epoch=1)
    stopped.path.write_bytes(b"")
    successor = take(places, tmp_path, epoch=2)
    assert successor.path not in {stopped.path, take(places, tmp_path, epoch=3).path}


def test_the_file_is_where_the_process_before_has_left_it(tmp_path: Path) -> None:
    before = take_place(tmp_path / "home", STATE, epoch=1)
    before.close()
    after = take_place(tmp_path / "home", STATE, epoch=2)
    after.close()
    assert after.path == before.path


def test_states_have_files_of_their_own(places: contextlib.ExitStack, tmp_path: Path) -> None:
    one, other = take(places, tmp_path, 1), take(places, tmp_path, 1, "s3://bucket/other")
    assert one.path != other.path
    assert ".1." not in one.path.name + other.path.name, "both had the lock"


def test_a_file_for_one_epoch_goes_with_the_next_who_has_the_lock_and_not_while_its_owner_lives(
    places: contextlib.ExitStack, tmp_path: Path
) -> None:
    stopped = take_place(tmp_path, STATE, epoch=1)
    stopped.path.write_bytes(b"kept")
    meanwhile = [take_place(tmp_path, STATE, epoch) for epoch in (2, 3)]
    for each in meanwhile:
        each.path.write_bytes(b"left")
        each.path.with_name(each.path.name + "-wal").write_bytes(b"left")
    stopped.close()
    meanwhile[0].close()
    places.callback(meanwhile[1].close)
    after = take(places, tmp_path, epoch=4)
    assert after.path.read_bytes() == b"kept"
    there = {path.name.removeprefix(after.path.stem) for path in tmp_path.iterdir()}
    assert there == {".sqlite", ".lock", ".3.sqlite", ".3.sqlite-wal", ".3.lock"}
