"""SQLite's write-ahead log, as far as taking back the last commits needs it: where in the file each commit ends.

A header of 32 bytes, then frames: a header of 24 bytes and the new content of one page each. The frame that ends a commit
says how many pages the database has then; in the others that field is 0. Each frame carries the salt of the log's
header, and a checksum over all before it. The format is SQLite's own and promised never to change
(https://sqlite.org/fileformat2.html#the_write_ahead_log). Bytes in, offsets out: nothing here touches a file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

Buffer = bytes | mmap

HEAD_BYTES = 32
FRAME_HEAD_BYTES = 24

_HEAD = struct.Struct(">8I")
_FRAME_HEAD = struct.Struct(">II8sII")
_MAGIC = 0x377F0682
"""The checksums read what they sum as little-endian words; one more: as big-endian ones."""
_WORD = 0xFFFFFFFF


class Frame(NamedTuple):
    """One page as a commit left it."""

    offset: int
    """Of the frame's header."""
    page: int
    """Its number in the database; the first is 1."""
    commits: bool
    """Whether a commit ends with it."""


class Log:
    """The frames of a log that count. A log that is empty, or whose header is not one, has none."""

    def __init__(self, wal: Buffer) -> None:
        self._wal = wal
        self.page_bytes = 0
        self.commit_ends: list[int] = []
        """The offset at which each commit ends, in order: a file cut there holds it and those before, and no others."""
        if len(wal) < HEAD_BYTES:
            return
        magic, _, self.page_bytes, _, _, _, *checksum = _HEAD.unpack_from(wal)
        self._order = "<" if magic == _MAGIC else ">"
        if magic not in (_MAGIC, _MAGIC + 1) or self._sum((0, 0), 0, HEAD_BYTES - 8) != tuple(checksum):
            return
        self.commit_ends = [frame.offset + self._frame_bytes for frame in self._whole_frames() if frame.commits]
        # A process may have ended in the midst of the last one: its frames are there, and their checksums not yet.
        if self.commit_ends and not self._sums_up(self._start(len(self.commit_ends) - 1), self.commit_ends[-1]):
            self.commit_ends.pop()

    def end_without(self, last: int) -> int | None:
        """Where the log ends without its last so many commits; None if it does not have as many."""
        left = len(self.commit_ends) - last
        return self._start(left) if left >= 0 else None

    def pages_from(self, offset: int) -> dict[int, bytes]:
        """What the commits from there on made of each page that they changed."""
        end = self.commit_ends[-1] if self.commit_ends else offset
        return {
            frame.page: self._wal[frame.offset + FRAME_HEAD_BYTES : frame.offset + self._frame_bytes]
            for frame in self._whole_frames()
            if offset <= frame.offset < end
        }

    @property
    def _frame_bytes(self) -> int:
        return FRAME_HEAD_BYTES + self.page_bytes

    def _start(self, commit: int) -> int:
        """Where the commit of this index begins."""
        return self.commit_ends[commit - 1] if commit else HEAD_BYTES

    def _whole_frames(self) -> Iterator[Frame]:
        """Those that are there whole and carry the log's salt: what follows was left by an earlier use of the file."""
        salt = self._wal[16:24]
        for offset in range(HEAD_BYTES, len(self._wal) - self._frame_bytes + 1, self._frame_bytes):
            page, pages_after, own_salt, _, _ = _FRAME_HEAD.unpack_from(self._wal, offset)
            if own_salt != salt or not page:
                return
            yield Frame(offset, page, pages_after > 0)

    def _sums_up(self, start: int, end: int) -> bool:
        """Whether each frame from `start` to `end` carries the checksum of what is there."""
        before: tuple[int, ...] = _HEAD.unpack_from(self._wal)[6:]
        if start > HEAD_BYTES:
            before = _FRAME_HEAD.unpack_from(self._wal, start - self._frame_bytes)[3:]
        for offset in range(start, end, self._frame_bytes):
            begun = self._sum((before[0], before[1]), offset, 8)
            before = self._sum(begun, offset + FRAME_HEAD_BYTES, self.page_bytes)
            if before != _FRAME_HEAD.unpack_from(self._wal, offset)[3:]:
                return False
        return True

    def _sum(self, before: tuple[int, int], offset: int, count: int) -> tuple[int, int]:
        """The checksum of so many bytes, going on from that of what is before them."""
        words = struct.unpack_from(f"{self._order}{count // 4}I", self._wal, offset)
        first, second = before
        for at in range(0, len(words), 2):
            first = (first + words[at] + second) & _WORD
            second = (second + words[at + 1] + first) & _WORD
        return first, second
