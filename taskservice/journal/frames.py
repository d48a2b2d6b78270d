"""What a journal file looks like: a head, then one frame for each segment. Pure: bytes in, bytes out.

    file  = head, frame, frame, ...
    head  = magic, version, epoch, number of the first frame, marker, chain before the first frame, digest of all this
    frame = marker, number, body length, chain, body

The *chain* is a running digest: of the chain before, the marker, the number, the length and the body. It proves that
a frame is whole and that it is the very one that follows, back to the journal's first.

The *marker* is 16 random bytes, drawn anew by each writer and told to nobody, so no body can contain it. A frame is
written only once the one before it is durable. So when a frame is bad, and the marker comes again behind it,
acknowledged data is damaged; when it does not come again, this was the last frame, cut short before it was
acknowledged: a torn tail, whatever a loss of power made of it (a prefix, zeros, blocks in any order).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from taskservice.journal import BEGINNING, JournalCorrupt

VERSION = 1
BODY_BYTES_MAX = 256 * 1024 * 1024
"""Of one segment. A file is read whole, so this also bounds what replay needs in RAM."""

CHAIN_START = BEGINNING.chain
"""The chain before the journal's first frame."""

_MAGIC = b"TSJOURN\n"
_MAGIC_VERSION = struct.Struct(">8sH")
_HEAD = struct.Struct(">8sHQQ16s16s")
_FRAME = struct.Struct(">16sQI16s")
_LINK = struct.Struct(">16sQI")
_DIGEST_BYTES = 16

HEAD_BYTES = _HEAD.size + _DIGEST_BYTES


class Head(NamedTuple):
    """The beginning of a file."""

    epoch: int
    first: int
    """The number of the file's first frame."""
    marker: bytes
    chain: bytes
    """Before the first frame."""


class Frame(NamedTuple):
    """One segment, found whole and in its place."""

    number: int
    body: bytes


class FrameWriter:
    """Makes the bytes of one epoch's files. Knows what comes next: `number` and `chain`."""

    def __init__(self, epoch: int, chain: bytes, marker: bytes | None = None) -> None:
        """`marker`: 16 random bytes that nobody else has; drawn here if they are not given."""
        self.number = 0
        self.chain = chain
        self._epoch = epoch
        self._marker = marker or os.urandom(16)

    def head(self) -> bytes:
        """The first bytes of a file that the next frame begins."""
        packed = _HEAD.pack(_MAGIC, VERSION, self._epoch, self.number, self._marker, self.chain)
        return packed + _digest(packed)

    def frame(self, body: bytes) -> bytes:
        """The next frame. Raises ValueError, and changes nothing, if the body is larger than BODY_BYTES_MAX."""
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"a segment of {len(body)} bytes is more than the {BODY_BYTES_MAX} a journal takes")
        self.chain = _chain_after(self.chain, self._marker, self.number, body)
        header = _FRAME.pack(self._marker, self.number, len(body), self.chain)
        self.number += 1
        return header + body


class FileScan:
    """Reads the frames of one file, in order. `number`, `chain` and `offset` say what is expected next, and where.

    Once all frames are read, `torn` says whether the file goes on with what was never acknowledged.
    Raises JournalCorrupt, naming `name` and the offset, at damage to what was.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.head = _read_head(data, name)
        self.number = self.head.first
        self.chain = self.head.chain
        self.offset = HEAD_BYTES
        self.last_offset = 0
        """Where the last frame that was read begins; the head if there was none."""
        self._data = data
        self._name = name

    @property
    def torn(self) -> bool:
        return self.offset < len(self._data)

    def __iter__(self) -> Iterator[Frame]:
        while self.torn:
            frame = self._next()
            if frame is None:
                return
            yield frame

    def _next(self) -> Frame | None:
        """The frame at `offset`, which then moves behind it; None if there is a torn tail."""
        begin = self.offset + _FRAME.size
        if begin <= len(self._data):
            marker, number, length, chain = _FRAME.unpack_from(self._data, self.offset)
            body = self._data[begin : begin + length]
            expected = (self.head.marker, self.number, _chain_after(self.chain, self.head.marker, self.number, body))
            if length == len(body) and (marker, number, chain) == expected:
                self.last_offset, self.offset = self.offset, begin + length
                self.number, self.chain = number + 1, chain
                return Frame(number, body)
        later = self._data.find(self.head.marker, self.offset + 1)
        if later < 0:
            return None
        raise JournalCorrupt(
            f"{self._name}: segment {self.number} of epoch {self.head.epoch}, at byte {self.offset}, is damaged; it "
            f"was acknowledged, for another follows at byte {later}. Restore the journal from a copy."
        )


def never_finished(data: bytes) -> bool:
    """Whether the file's creation was cut short: no frame can have been written, for the head is made durable first."""
    if len(data) > HEAD_BYTES:
        return False
    return len(data) < HEAD_BYTES or data[_HEAD.size :] != _digest(data[: _HEAD.size])


def _read_head(data: bytes, name: str) -> Head:
    if len(data) >= _MAGIC_VERSION.size:
        magic, version = _MAGIC_VERSION.unpack_from(data)
        if magic == _MAGIC and version > VERSION:
            raise JournalCorrupt(
                f"{name}: it has format {version}, and this version reads up to {VERSION}: a newer version of "
                f"taskservice wrote it. Start that version, or a later one."
            )
    if data[_HEAD.size : HEAD_BYTES] != _digest(data[: _HEAD.size]):
        raise JournalCorrupt(f"{name}: its first {HEAD_BYTES} bytes are damaged. Restore the journal from a copy.")
    magic, version, *fields = _HEAD.unpack_from(data)
    if (magic, version) != (_MAGIC, VERSION):
        raise JournalCorrupt(f"{name}: this is not a file of a journal.")
    return Head(*fields)


def _chain_after(chain: bytes, marker: bytes, number: int, body: bytes) -> bytes:
    digest = blake2b(chain, digest_size=_DIGEST_BYTES)
    digest.update(_LINK.pack(marker, number, len(body)))
    digest.update(body)
    return digest.digest()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()
