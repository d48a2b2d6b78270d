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
    assert one.lock_fd is not None
    assert other.lock_fd is not None


def test_files_for_one_epoch_go_with_the_next_who_has_the_lock(places: contextlib.ExitStack, tmp_path: Path) -> None:
    stopped = take_place(tmp_path, STATE, epoch=1)
    stopped.path.write_bytes(b"kept")
    meanwhile = take(places, tmp_path, epoch=2)
    left = [meanwhile.path, meanwhile.path.with_name(meanwhile.path.name + "-wal")]
    for path in left:
        path.write_bytes(b"left")
    stopped.close()
    after = take(places, tmp_path, epoch=3)
    assert after.path.read_bytes() == b"kept"
    assert not any(path.exists() for path in left)
