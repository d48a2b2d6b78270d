"""All that is done to a disk for what must last, in ten verbs: so that tests can fill it, break it and cut its power.

The local journal and the objects in a directory write through it.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when there is no room."""


class Disk(Protocol):
    """Each verb raises OSError if it fails. Nothing is durable before its `sync`, and no name before `sync_dir`."""

    def make_dir(self, path: Path) -> None:
        """A new directory, only for its owner. Raises FileExistsError if it is there."""

    def remove_dir(self, path: Path) -> None:
        """The empty directory is gone. Raises OSError, and does nothing, if it is not empty."""

    def create(self, path: Path) -> int:
        """The descriptor of a new, empty file, only for its owner. Raises FileExistsError if it is there."""

    def open(self, path: Path) -> int:
        """The descriptor of a file that is there, for writing."""

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        """How many bytes of `data` were written at `offset`: at least one."""

    def sync(self, fd: int) -> None:
        """What was written to the file, and its length, are durable."""

    def sync_dir(self, path: Path) -> None:
        """The names in the directory are durable."""

    def link(self, source: Path, target: Path) -> None:
        """The file has a second name. Raises FileExistsError if that is taken."""

    def unlink(self, path: Path) -> None:
        """The file has one name less."""

    def close(self, fd: int) -> None:
        """The descriptor is released; this makes nothing durable."""


class RealDisk:
    """The operating system's file systems."""

    def make_dir(self, path: Path) -> None:
        path.mkdir(mode=0o700)

    def remove_dir(self, path: Path) -> None:
        path.rmdir()

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def close(self, fd: int) -> None:
        os.close(fd)


def write_durably(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """All of `data` is in the file at `offset`, and durable. In one write, unless the system takes less."""
    rest = memoryview(data)
    while rest:
        written = disk.write(fd, rest, offset)
        rest, offset = rest[written:], offset + written
    disk.sync(fd)


def create_durably(disk: Disk, path: Path, data: bytes) -> int:
    """The descriptor of a new file that holds `data`; its content and its name are durable."""
    fd = disk.create(path)
    try:
        write_durably(disk, fd, data, 0)
        disk.sync_dir(path.parent)
    except BaseException:
        disk.close(fd)
        raise
    return fd


def make_dir_if_absent(disk: Disk, path: Path) -> None:
    """The directory is there; perhaps somebody else was faster. What has the name may not be one: using it will tell."""
    with suppress(FileExistsError):
        disk.make_dir(path)


def make_dirs_durably(disk: Disk, path: Path) -> None:
    """The directory is there, with all above it, and their names are durable. `path` is absolute.

    A name that was there already may be the work of somebody who died before the sync, so all are synced: up to the
    mount point, and but for directories that we may not read, which are none that we have made.
    """
    lineage = [path, *path.parents]
    for each in reversed(lineage):
        if not each.is_dir():
            make_dir_if_absent(disk, each)
    for each in lineage:
        if each.is_mount():
            break
        if os.access(each.parent, os.R_OK):
            disk.sync_dir(each.parent)
