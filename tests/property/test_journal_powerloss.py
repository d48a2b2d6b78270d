"""Loss of power, at every point and of every kind: what was acknowledged is there, and what was found once stays."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskservice.journal import JournalFailed
from taskservice.journal.disk import RealDisk
from taskservice.journal.local import LocalJournal

FILE_BYTES_MAX = 300


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


@dataclass(eq=False)
class FragileDisk(RealDisk):
    """A real directory (the page cache, so to speak) and a model of what of it a power loss would leave.

    Contents become durable by `sync`, names by `sync_dir`, in the order in which they were made.
    """

    ends: Ends = Ends.KILLED
    calls_left: int | None = None
    contents: dict[int, Content] = field(default_factory=dict)
    """By inode."""
    names: list[tuple[str, Path, Path]] = field(default_factory=list)
    """What was done to names and is not yet durable: (verb, path, what it was a name of)."""

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
        self.names.append(("make_dir", path, path))

    def create(self, path: Path) -> int:
        self._call()
        fd = super().create(path)
        self.contents[os.fstat(fd).st_ino] = Content()
        self.names.append(("create", path, path))
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
        self._call(sync=Content())
        self.names = [(verb, name, source) for verb, name, source in self.names if name.parent != path]

    def link(self, source: Path, target: Path) -> None:
        self._call()
        super().link(source, target)
        self.names.append(("link", target, source))

    def unlink(self, path: Path) -> None:
        """Never made durable: a name too many is the worst that can remain of it."""
        self._call()
        kept = path.with_name(path.name + ".unlinked")
        path.rename(kept)

    def lose_power(self, data: st.DataObject, root: Path) -> None:
        """The directory is what a start after the loss finds; `data` draws among all that it may be."""
        kept = data.draw(st.integers(0, len(self.names)), "names kept")
        for verb, path, _ in reversed(self.names[kept:]):
            if verb == "make_dir":
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
        self.names.clear()
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            content = self.contents.get(path.stat().st_ino)
            if content is not None:
                path.write_bytes(left_of(content, data))
                content.durable = path.read_bytes()
                content.unsynced.clear()


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


@dataclass(frozen=True)
class Life:
    """One writer: what it wants to append, and after how many calls to the disk it ends."""

    bodies: tuple[bytes, ...]
    calls: int
    ends: Ends


lives = st.builds(
    Life,
    bodies=st.lists(st.binary(max_size=120), max_size=6).map(tuple),
    calls=st.integers(0, 40),
    ends=st.sampled_from(Ends),
)


@dataclass
class Known:
    """What the test knows must be replayed, and the one body that may be."""

    sure: list[bytes] = field(default_factory=list)
    perhaps: list[bytes] = field(default_factory=list)

    def check(self, found: list[bytes]) -> None:
        assert found in (self.sure, self.sure + self.perhaps)
        self.sure, self.perhaps = found, []


def live(directory: Path, disk: FragileDisk, life: Life, known: Known) -> None:
    """One life of a writer, to its end; `known` is checked when it opens, and told of what it does."""
    disk.ends, disk.calls_left = life.ends, life.calls
    journal: LocalJournal | None = None
    try:
        journal = LocalJournal(directory, file_bytes_max=FILE_BYTES_MAX, disk=disk)
        known.check([segment.body for segment in journal.replay()])
        for number, body in enumerate(life.bodies):
            known.perhaps = [body]
            journal.append(number, body)
            known.sure, known.perhaps = [*known.sure, body], []
    except (Died, JournalFailed):
        pass
    finally:
        disk.calls_left = None
        if journal is not None:
            journal.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lives, max_size=5), st.data())
def test_what_was_acknowledged_or_found_is_found_after_any_loss(writers: list[Life], data: st.DataObject):
    known = Known()
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "state" / "journal"
        disk = FragileDisk()
        for life in writers:
            live(directory, disk, life, known)
            if life.ends is Ends.POWER_LOST:
                disk.lose_power(data, Path(root))
        live(directory, disk, Life((b"the end",), 1000, Ends.KILLED), known)
        disk.lose_power(data, Path(root))
        live(directory, disk, Life((), 1000, Ends.KILLED), known)
        assert known.sure[-1] == b"the end"
