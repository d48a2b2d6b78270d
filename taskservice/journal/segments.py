"""The objects of a log in a bucket: a segment each, and one fence for each epoch that has ended.

    log/00000003/0000000041   segment 41 of epoch 3: a head and one frame (see `frames`)
    log/00000003/0000000042   the fence: epoch 3 has 42 segments, 0 to 41
    log/00000003/0000000043   what a zombie put there after that counts for nothing

A fence is smaller than any segment, so a listing tells them apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from taskservice.journal import JournalCorrupt
from taskservice.journal.frames import HEAD_BYTES, FileScan, Frame

PREFIX = "log/"
_PLACE = re.compile(r"log/([0-9]{8,})/([0-9]{10,})")
_FENCE_MAGIC = b"TSFENCE\n"
FENCE_VERSION = 1


class Fence(msgspec.Struct, frozen=True, array_like=True):
    """Where an epoch ends, said by whoever sealed it first."""

    version: int
    epoch: int
    segments: int
    by_epoch: int


def key_of(epoch: int, number: int) -> str:
    return f"{PREFIX}{epoch:08d}/{number:010d}"


class Place(NamedTuple):
    """Where an object of the log is."""

    epoch: int
    number: int


def place_of(key: str) -> Place:
    """The place that a key names."""
    epoch, number = key.removeprefix(PREFIX).split("/")
    return Place(int(epoch), int(number))


def place_if_any(key: str) -> Place | None:
    """The place that a key names; None if it is none of ours: people put things into buckets."""
    match = _PLACE.fullmatch(key)
    return Place(int(match[1]), int(match[2])) if match else None


def encode_fence(fence: Fence) -> bytes:
    data = _FENCE_MAGIC + msgspec.msgpack.encode(fence)
    assert len(data) < HEAD_BYTES
    return data


def is_fence(data: bytes) -> bool:
    """Whether the object is a fence, of this version or a later one."""
    return data.startswith(_FENCE_MAGIC)


def read_fence(data: bytes, key: str) -> Fence:
    """What the fence says. Raises JournalCorrupt if it is none, or is damaged."""
    try:
        if is_fence(data):
            return msgspec.msgpack.decode(data.removeprefix(_FENCE_MAGIC), type=Fence)
        why = "it is too short for a segment, and no fence"
    except msgspec.MsgspecError as error:
        why = f"it is a fence that cannot be read: {error}"
    raise JournalCorrupt(f"{key}: {why}. Restore the state from a copy.")


def may_be_fence(size_bytes: int) -> bool:
    """Whether an object of this size is a fence rather than a segment."""
    return size_bytes < HEAD_BYTES


def open_segment(data: bytes, key: str) -> FileScan:
    """The frames of a segment's object, of which there is one. Raises JournalCorrupt if it belongs elsewhere."""
    scan = FileScan(data, key)
    if key_of(scan.head.epoch, scan.head.first) != key:
        raise JournalCorrupt(
            f"{key}: it was written as {key_of(scan.head.epoch, scan.head.first)}; somebody has renamed or copied it."
            " Restore the state from a copy."
        )
    return scan


def read_segment(data: bytes, key: str, chain: bytes) -> tuple[Frame, bytes]:
    """The segment and the chain after it. Raises JournalCorrupt if it is not the very one that follows `chain`.

    An empty `chain` is not known, and not compared.
    """
    scan = open_segment(data, key)
    if chain and scan.head.chain != chain:
        raise JournalCorrupt(f"{key}: what comes before it is not what was there. Restore the state from a copy.")
    frame = next(iter(scan), None)
    if frame is None or scan.torn:
        raise JournalCorrupt(
            f"{key}: it is damaged or cut short, from byte {scan.offset} of {len(data)} on. Restore the state from a copy."
        )
    return frame, scan.chain
