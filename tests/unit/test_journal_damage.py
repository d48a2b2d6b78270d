"""The journal in a directory, when its files are not what they were: torn, flipped, lost, or somebody else's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from helpers.journals import BODIES, LAST_FRAME_BYTES, TWO_EACH, reopened, replayed, written
from taskservice.journal import JournalCorrupt
from taskservice.journal.frames import HEAD_BYTES
from taskservice.journal.local import LocalJournal


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("missing", range(1, LAST_FRAME_BYTES + 1))
def test_a_tail_torn_at_any_byte_loses_only_the_last_segment_and_stays_out(tmp_path: Path, missing: int):
    log = written(tmp_path)
    os.truncate(log, log.stat().st_size - missing)
    for _ in range(2):
        assert reopened(tmp_path) == BODIES[:-1]


def test_a_torn_tail_is_not_continued(tmp_path: Path):
    log = written(tmp_path)
    os.truncate(log, log.stat().st_size - 1)
    journal = LocalJournal(tmp_path)
    journal.append(0, b"next")
    journal.close()
    assert reopened(tmp_path) == [*BODIES[:-1], b"next"]


@pytest.mark.parametrize("file_bytes_max", [TWO_EACH, 1 << 20], ids=["two files", "one file"])
def test_every_flipped_byte_of_a_sealed_epoch_is_seen(tmp_path: Path, file_bytes_max: int):
    logs = written(tmp_path, file_bytes_max=file_bytes_max).parent.glob("*.log")
    journal = LocalJournal(tmp_path)
    for log in logs:
        for position in range(log.stat().st_size):
            flip(log, position)
            with pytest.raises(JournalCorrupt, match=log.name):
                replayed(journal)
            flip(log, position)
    assert replayed(journal) == BODIES
    journal.close()


def test_a_flipped_byte_before_the_last_frame_is_seen_before_any_seal(tmp_path: Path):
    log = written(tmp_path / "whole")
    for position in range(log.stat().st_size - LAST_FRAME_BYTES):
        copy = tmp_path / str(position)
        shutil.copytree(tmp_path / "whole", copy)
        flip(copy / log.relative_to(tmp_path / "whole"), position)
        with pytest.raises(JournalCorrupt, match=log.name):
            reopened(copy)


def test_every_flipped_byte_of_a_seal_is_seen(tmp_path: Path):
    written(tmp_path)
    assert reopened(tmp_path) == BODIES
    seal = tmp_path / "00000001" / "sealed"
    for position in range(seal.stat().st_size - 1):  # the last one is a line's end, which says nothing
        flip(seal, position)
        with pytest.raises(JournalCorrupt, match="00000001"):
            reopened(tmp_path)
        flip(seal, position)


def test_a_newer_seal_is_named(tmp_path: Path):
    written(tmp_path)
    reopened(tmp_path)
    seal = tmp_path / "00000001" / "sealed"
    seal.write_text(seal.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(JournalCorrupt, match="newer version"):
        reopened(tmp_path)


def test_files_are_begun_at_their_size_and_named_for_their_first_segment(tmp_path: Path):
    last = written(tmp_path, file_bytes_max=TWO_EACH)
    assert sorted(log.name for log in last.parent.glob("*.log")) == ["0000000000.log", "0000000002.log"]
    assert reopened(tmp_path) == BODIES


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES - 1, HEAD_BYTES])
def test_a_file_whose_creation_was_cut_short_holds_nothing(tmp_path: Path, size: int):
    last = written(tmp_path, file_bytes_max=TWO_EACH)
    (last.parent / "0000000003.log").write_bytes(bytes(size))
    assert reopened(tmp_path) == BODIES
    assert reopened(tmp_path) == BODIES


def test_a_torn_tail_before_another_file_is_damage(tmp_path: Path):
    """A file is begun only after the last segment of the one before it is durable."""
    last = written(tmp_path, file_bytes_max=TWO_EACH)
    (last.parent / "0000000003.log").write_bytes(b"")
    os.truncate(last, last.stat().st_size - 1)
    with pytest.raises(JournalCorrupt, match=r"0000000002\.log"):
        reopened(tmp_path)


def three_epochs(directory: Path) -> None:
    for _ in range(3):
        written(directory, file_bytes_max=TWO_EACH)


@pytest.mark.parametrize(
    "lost",
    [
        "00000001/0000000000.log",
        "00000001/0000000002.log",
        "00000002/0000000000.log",
        "00000003/0000000000.log",
        "00000001/sealed",
        "00000002/sealed",
        "00000002",
        "00000001",
    ],
)
def test_a_lost_file_is_seen(tmp_path: Path, lost: str):
    three_epochs(tmp_path)
    assert reopened(tmp_path) == BODIES * 3
    if (tmp_path / lost).is_dir():
        shutil.rmtree(tmp_path / lost)
    else:
        (tmp_path / lost).unlink()
    with pytest.raises(JournalCorrupt, match=lost[:8]):
        reopened(tmp_path)


def test_a_seal_lost_before_anything_followed_is_written_again(tmp_path: Path):
    """An opener may lose power before the seal's name is durable; it has then written nothing of its own."""
    written(tmp_path)
    assert reopened(tmp_path) == BODIES
    (tmp_path / "00000001" / "sealed").unlink()
    assert reopened(tmp_path) == BODIES


def test_a_log_of_another_epoch_is_seen(tmp_path: Path):
    three_epochs(tmp_path)
    assert reopened(tmp_path) == BODIES * 3
    shutil.copy(tmp_path / "00000001" / "0000000000.log", tmp_path / "00000002" / "0000000000.log")
    with pytest.raises(JournalCorrupt, match="epoch 1"):
        reopened(tmp_path)


def test_an_epoch_of_another_journal_is_seen(tmp_path: Path):
    """It is whole in itself, but the chain does not lead to it."""
    three_epochs(tmp_path / "ours")
    three_epochs(tmp_path / "theirs")
    shutil.rmtree(tmp_path / "ours" / "00000002")
    shutil.copytree(tmp_path / "theirs" / "00000002", tmp_path / "ours" / "00000002")
    with pytest.raises(JournalCorrupt):
        reopened(tmp_path / "ours")
