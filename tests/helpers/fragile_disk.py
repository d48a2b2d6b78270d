"""A disk whose power can be cut: at every point, with every outcome that the rules about fsync allow."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from taskservice.objects.disk import RealDisk


class Ends(StrEnum):
    """How a writer's life ends, at one of its calls to the disk."""

    KILLED = "killed"
    POWER_LOST = "power lost"
    SYNC_FAILED = "sync failed"
    """Then killed. The system drops what it could not write, but goes on showing it until the power is lost."""


class Died(BaseException):
    """The writer's process is no more."""


@dataclass
class Content:
    """What a power loss would leave of one file: the durable bytes, and perhaps some of the unsynced writes."""

    durable: bytes = b""
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)


class Change(NamedTuple):
    """What was done to a name and is not yet durable."""

    verb: str
    path: Path
    kept: Path | None = None
    """A copy of what was unlinked, in case that turns out not to have happened."""


@dataclass(eq=False)
class FragileDisk(RealDisk):
    """A real directory (the page cache, so to speak) and a model of what of it a power loss would leave.

    Contents become durable by `sync`, names by `sync_dir`: in each directory in the order in which they were made, and
    in one directory regardless of the others.
    """

    folder: Path
    """For this disk alone."""
    ends: Ends = Ends.KILLED
    calls_left: int | None = None
    contents: dict[int, Content] = field(default_factory=dict)
    """By inode."""
    names: list[Change] = field(default_factory=list)
    graves: int = 0

    def __post_init__(self) -> None:
        self.root.mkdir()
        (self.folder / "graves").mkdir()

    @property
    def root(self) -> Path:
        """What is on the disk."""
        return self.folder / "root"

    def _call(self, *, sync: Content | None = None) -> None:
        if self.calls_left is None:
            return
        self.calls_left -= 1
        if self.calls_left >= 0:
            return
        if self.ends is not Ends.SYNC_FAILED:
            raise Died
        if sync is not None:
            self.calls_left = None
            sync.unsynced.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _content(self, fd: int) -> Content:
        return self.contents.setdefault(os.fstat(fd).st_ino, Content())

    def make_dir(self, path: Path) -> None:
        self._call()
        super().make_dir(path)
        self.names.append(Change("make_dir", path))

    def remove_dir(self, path: Path) -> None:
        self._call()
        super().remove_dir(path)
        self.names.append(Change("remove_dir", path))

    def create(self, path: Path) -> int:
        self._call()
        fd = super().create(path)
        self.contents[os.fstat(fd).st_ino] = Content()
        self.names.append(Change("create", path))
        return fd

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        self._call()
        self._content(fd).unsynced.append((offset, bytes(data)))
        return super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        content = self._content(fd)
        self._call(sync=content)
        for offset, data in content.unsynced:
            content.durable = patched(content.durable, offset, data)
        content.unsynced.clear()

    def sync_dir(self, path: Path) -> None:
        if not path.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self._call(sync=Content())
        self.names = [change for change in self.names if change.path.parent != path]

    def link(self, source: Path, target: Path) -> None:
        self._call()
        super().link(source, target)
        self.names.append(Change("link", target))

    def unlink(self, path: Path) -> None:
        self._call()
        self.graves += 1
        kept = self.folder / "graves" / str(self.graves)
        shutil.copyfile(path, kept)
        self.contents[kept.stat().st_ino] = self.contents.setdefault(path.stat().st_ino, Content(path.read_bytes()))
        super().unlink(path)
        self.names.append(Change("unlink", path, kept))

    def lose_power(self, data: st.DataObject) -> None:
        """The disk is what a start after the loss finds; `data` draws among all that it may be."""
        places = Counter(change.path.parent for change in self.names)
        kept = {place: data.draw(st.integers(0, most), f"names kept in {place.name}") for place, most in places.items()}
        for change in reversed(self.names):
            place = change.path.parent
            places[place] -= 1
            if places[place] >= kept[place]:
                undo(change)
        self.names.clear()
        for path in sorted(path for path in self.root.rglob("*") if path.is_file()):
            content = self.contents.get(path.stat().st_ino)
            if content is not None:
                path.write_bytes(left_of(content, data))
                content.durable = path.read_bytes()
                content.unsynced.clear()


def undo(change: Change) -> None:
    """As if it had not happened; in a directory that is itself no more, nothing ever has."""
    path = change.path
    if not path.parent.is_dir():
        return
    if change.verb == "make_dir":
        shutil.rmtree(path, ignore_errors=True)
    elif change.verb == "remove_dir":
        path.mkdir()
    elif change.verb == "unlink":
        assert change.kept is not None
        change.kept.rename(path)
    else:
        path.unlink(missing_ok=True)


def patched(content: bytes, offset: int, data: bytes) -> bytes:
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]


def left_of(content: Content, data: st.DataObject) -> bytes:
    """The durable bytes, with as much of each unsynced write as is drawn: a slice of it, the rest zeros or not there."""
    left = content.durable
    for offset, written in content.unsynced:
        start = data.draw(st.integers(0, len(written)), "first byte that reached the disk")
        stop = data.draw(st.integers(start, len(written)), "first byte that did not")
        end = offset + len(written) if data.draw(st.booleans(), "the length reached it") else offset + stop
        if start < stop or end == offset + len(written):
            left = left.ljust(end, b"\0")
        left = patched(left, offset + start, written[start:stop]) if start < stop else left
    return left
