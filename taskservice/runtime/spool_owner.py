"""A node's spool of logs in the hands of its runner: which bundle is open, what waits to be stored, and what is too much.

See `spool` for its files. Everything here blocks, and belongs to one thread at a time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from taskservice.core.types import TaskNo, Token
from taskservice.logs.chosen import remark
from taskservice.logs.pieces import Framed, Piece, decode_piece, frame
from taskservice.logs.places import Place, parse_place, place_at
from taskservice.runtime.page import owner_of, read_from
from taskservice.runtime.spool import LIVE, OPEN, OWNER, page_of, read_spooled

SALVAGED_BYTES_MAX = 8 << 20
"""A page that is longer is not put into one piece."""
_STUB = "stub"


class SpoolOwner:
    """The spool of one session, from the moment when this process owns it."""

    def __init__(self, folder: Path, owner: int) -> None:
        """`owner`: the descriptor of the locked file. Use `new_spool`, or `orphans`."""
        self.folder = folder
        self.session = folder.name
        self._owner = owner
        self._number = max((place.number for place in self.places()), default=0)

    def open_next(self, now_ms: int) -> None:
        """What is written from now on is for another bundle."""
        self._number += 1
        place = str(place_at(now_ms, self.session, self._number))
        (self.folder / LIVE).mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / place).mkdir(mode=0o700)
        link = self.folder / f".{OPEN}"
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        link.rename(self.folder / OPEN)

    def is_of_today(self, now_ms: int) -> bool:
        """Whether the bundle that is open was begun today, as its name says; and is there: somebody may have removed the folder."""
        try:
            place = parse_place(str((self.folder / OPEN).readlink()))
        except FileNotFoundError:
            return False
        today = place_at(now_ms, self.session, 0).day
        return place is not None and place.day == today and (self.folder / str(place)).is_dir()

    @property
    def open_bytes(self) -> int:
        """What has been written for the bundle that is open."""
        return _size_of(self.folder / OPEN)

    def places(self) -> list[Place]:
        """The bundles of which something may wait here, the oldest first."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        found = [place for name in names if (place := parse_place(name)) is not None]
        return sorted(found, key=lambda place: place.number)

    def closed(self) -> list[Place]:
        """Those to which nothing is written any more."""
        return [place for place in self.places() if place.number < self._number]

    def read(self, place: Place) -> list[Framed]:
        """What is to be in the bundle. For one that is closed: all of it."""
        return read_spooled(self.folder, str(place))

    def size_bytes(self, place: Place) -> int:
        """What waits here of that bundle."""
        return _size_of(self.folder / str(place))

    def remove(self, place: Place) -> None:
        """Nothing of that bundle waits here. It goes at once: whoever looks must not take it for an empty one."""
        gone = self.folder / f".{place}"
        (self.folder / str(place)).rename(gone)
        shutil.rmtree(gone)

    def is_short(self, place: Place) -> bool:
        """Whether what was written is dropped already."""
        return (self.folder / str(place) / _STUB).exists()

    def shorten(self, place: Place, why: str) -> int:
        """What was written is dropped, and the pieces say so, and why; gives how many bytes they were."""
        folder = self.folder / str(place)
        dropped = 0
        frames: list[bytes] = []
        for each in self.read(place):
            try:
                piece = decode_piece(each.body)
            except msgspec.MsgspecError:
                continue  # what a machine that lost its power left of it
            size = sum(len(written.text) for written in piece.written)
            dropped += size
            said = (remark(f"{size} bytes of this log were dropped: {why}"),) if size else ()
            frames.append(frame(replace(piece, written=said)))
        unfinished = folder / f".{_STUB}"
        unfinished.write_bytes(b"".join(frames))
        unfinished.rename(folder / _STUB)
        for path in folder.iterdir():
            if path.name != _STUB:
                path.unlink()
        return dropped

    def salvage(self, no: TaskNo, token: Token) -> Piece | None:
        """All that is on the page of an attempt whose process has died, as its last piece; None: there is no page, or too long a
        one. The page is gone."""
        path = page_of(self.folder, no, token)
        try:
            piece = owner_of(path)
            written = read_from(path, 0).written if path.stat().st_size <= SALVAGED_BYTES_MAX else ()
            path.unlink()
        except OSError:
            return None
        if piece is None or not written:
            return None
        return replace(piece, part=1 << 30, whole=True, ended=True, written=written)

    def close(self) -> None:
        """It is nobody's any more; if nothing waits in it, it is gone."""
        if not any(self.size_bytes(place) for place in self.places()):
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._owner)


def new_spool(root: Path, session: str, now_ms: int) -> SpoolOwner:
    """A spool of that session, ready to be written to. Raises OSError."""
    draft, folder = root / f".{session}", root / session
    (draft / LIVE).mkdir(mode=0o700, parents=True)
    descriptor = _lock(draft)
    assert descriptor is not None, "a session's name is nobody else's"
    draft.rename(folder)  # locked before anybody can take it for an orphan
    spool = SpoolOwner(folder, descriptor)
    spool.open_next(now_ms)
    return spool


def orphans(root: Path) -> Iterator[SpoolOwner]:
    """The spools of runners of this machine that are dead; ours from now on. All their bundles are closed."""
    for folder in sorted(root.iterdir()):
        if not folder.name.startswith(".") and (folder / OWNER).exists():
            descriptor = _lock(folder)
            if descriptor is not None:
                orphan = SpoolOwner(folder, descriptor)
                orphan._number += 1  # noqa: SLF001 - it is ours
                yield orphan


def waiting_for(root: Path, place: Place, no: TaskNo) -> list[Piece] | None:
    """What a task has in that bundle, which waits on this machine; None: it does not, or not any more."""
    if not (root / place.session / str(place)).is_dir():
        return None
    try:
        spooled = read_spooled(root / place.session, str(place))
    except FileNotFoundError:
        return None  # it has been stored in this moment
    return [decode_piece(each.body) for each in spooled if each.no == no]


def _lock(folder: Path) -> int | None:
    """The descriptor of the folder's owner's file, locked; None if it is somebody's."""
    descriptor = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _size_of(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:
        return 0
