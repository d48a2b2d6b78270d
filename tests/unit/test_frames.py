"""Journal files as bytes: what is whole, what is torn, and what is damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskservice.journal import JournalCorrupt
from taskservice.journal.frames import (
    BODY_BYTES_MAX,
    CHAIN_START,
    HEAD_BYTES,
    VERSION,
    FileScan,
    FrameWriter,
    never_finished,
)

BODIES = [b"first", b"", b"third " * 5, b"last"]


def a_file(bodies: list[bytes]) -> tuple[bytes, list[int]]:
    """A file that holds `bodies`, and where each frame ends; the head's end comes first."""
    writer = FrameWriter(3, CHAIN_START)
    data = writer.head()
    ends = [len(data)]
    for body in bodies:
        data += writer.frame(body)
        ends.append(len(data))
    return data, ends


def read(data: bytes) -> list[bytes]:
    return [frame.body for frame in FileScan(data, "some.log")]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_what_is_written_is_read(bodies: list[bytes]):
    data, _ = a_file(bodies)
    scan = FileScan(data, "some.log")
    assert [(frame.number, frame.body) for frame in scan] == list(enumerate(bodies))
    assert (scan.torn, scan.offset, scan.number) == (False, len(data), len(bodies))


def test_chain_and_numbers_go_on_from_file_to_file():
    writer = FrameWriter(3, CHAIN_START)
    first = FileScan(writer.head() + writer.frame(b"a") + writer.frame(b"b"), "0.log")
    assert [frame.number for frame in first] == [0, 1]
    second = FileScan(writer.head() + writer.frame(b"c"), "2.log")
    assert second.head[:2] == (3, 2)
    assert second.head.chain == first.chain
    assert [frame.number for frame in second] == [2]


def test_the_chain_tells_writers_apart_that_wrote_the_same():
    one, other = FrameWriter(3, CHAIN_START), FrameWriter(3, CHAIN_START)
    one.frame(b"a")
    other.frame(b"a")
    assert one.chain != other.chain


@pytest.mark.parametrize("cut", range(a_file(BODIES)[1][-2], len(a_file(BODIES)[0])))
def test_a_last_frame_cut_at_any_byte_is_a_torn_tail(cut: int):
    data, ends = a_file(BODIES)
    scan = FileScan(data[:cut], "some.log")
    assert [frame.body for frame in scan] == BODIES[:-1]
    assert scan.offset == ends[-2]
    assert scan.torn == (cut > ends[-2])


@pytest.mark.parametrize("kept", range(a_file(BODIES)[1][-1] - a_file(BODIES)[1][-2]))
def test_a_last_frame_that_ends_in_zeros_is_a_torn_tail(kept: int):
    """A file's length may reach the disk before its content."""
    data, ends = a_file(BODIES)
    scan = FileScan(data[: ends[-2] + kept].ljust(len(data) + 4096, b"\0"), "some.log")
    assert [frame.body for frame in scan] == BODIES[:-1]
    assert scan.torn


def test_a_last_frame_without_its_beginning_is_a_torn_tail():
    """Blocks of one write reach the disk in any order."""
    data, ends = a_file([b"a", b"b" * 10_000])
    begin = ends[1]
    assert read(data[:begin] + bytes(4096) + data[begin + 4096 :]) == [b"a"]


@pytest.mark.parametrize("position", range(a_file(BODIES)[1][-2]))
def test_a_flipped_byte_before_the_last_frame_is_damage(position: int):
    data = bytearray(a_file(BODIES)[0])
    data[position] ^= 0x40
    with pytest.raises(JournalCorrupt, match=r"some\.log"):
        read(bytes(data))


@pytest.mark.parametrize("position", range(a_file(BODIES)[1][-2], a_file(BODIES)[1][-1]))
def test_a_flipped_byte_in_the_last_frame_cannot_be_told_from_a_torn_tail(position: int):
    """The seal, once written, tells."""
    data = bytearray(a_file(BODIES)[0])
    data[position] ^= 0x40
    assert read(bytes(data)) == BODIES[:-1]


def test_damage_names_file_segment_and_offset():
    data, ends = a_file(BODIES)
    with pytest.raises(JournalCorrupt, match=rf"some\.log: segment 1 .* at byte {ends[1]}, .* at byte {ends[2]}\."):
        read(data[: ends[1]] + bytes(ends[2] - ends[1]) + data[ends[2] :])


@pytest.mark.parametrize("length", [0, 4, 6, 2**32 - 1])
def test_a_wrong_length_is_damage_whatever_it_points_at(length: int):
    data, ends = a_file(BODIES)
    at = ends[0] + 24
    assert data[at : at + 4] == len(BODIES[0]).to_bytes(4, "big")
    with pytest.raises(JournalCorrupt, match="segment 0"):
        read(data[:at] + length.to_bytes(4, "big") + data[at + 4 :])


def test_a_frame_that_is_missing_or_comes_twice_is_damage():
    data, ends = a_file(BODIES)
    with pytest.raises(JournalCorrupt, match="segment 1"):
        read(data[: ends[1]] + data[ends[2] :])
    with pytest.raises(JournalCorrupt, match="segment 1"):
        read(data[: ends[1]] + data[ends[0] : ends[1]] * 2 + data[ends[1] :])


def test_a_body_cannot_pass_for_a_frame():
    """A payload that holds another writer's file, cut short by a crash, is a torn tail and no damage."""
    hostile, _ = a_file(BODIES)
    data, _ = a_file([b"a", hostile])
    assert read(data) == [b"a", hostile]
    assert read(data[:-1]) == [b"a"]


@pytest.mark.parametrize("size", range(HEAD_BYTES))
def test_a_head_cut_short_or_full_of_zeros_was_never_finished(size: int):
    head = FrameWriter(3, CHAIN_START).head()
    assert len(head) == HEAD_BYTES
    assert never_finished(head[:size])
    assert never_finished(head[:size].ljust(HEAD_BYTES, b"\0"))


def test_a_whole_head_is_finished_and_so_is_whatever_is_longer():
    data, _ = a_file([b"a"])
    assert not never_finished(data[:HEAD_BYTES])
    assert not never_finished(bytes(len(data)))


def test_a_newer_file_is_named():
    data = bytearray(a_file(BODIES)[0])
    data[8:10] = (VERSION + 1).to_bytes(2, "big")
    with pytest.raises(JournalCorrupt, match=r"some\.log.*newer version"):
        read(bytes(data))


def test_a_body_above_the_maximum_is_refused_and_changes_nothing():
    writer = FrameWriter(3, CHAIN_START)
    with pytest.raises(ValueError, match=str(BODY_BYTES_MAX)):
        writer.frame(bytes(BODY_BYTES_MAX + 1))
    assert (writer.number, writer.chain) == (0, CHAIN_START)
