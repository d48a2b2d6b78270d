"""Folders for what handlers write and nobody keeps: one for each child, gone with it.

    <root>/<supervisor>.lock            locked for as long as the supervisor lives
    <root>/<supervisor>/<child>/tmp     the child's TMPDIR, emptied when no attempt runs
    <root>/<supervisor>/<child>/home    HOME of a child that has a user of its own

Others can pass through the upper folders but not look into them; a child's own is open to its user alone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from taskservice.runtime.options import RuntimeOptions

FILE_TIME_NS = 50_000_000
"""How far apart two changes of a folder are, at least, to be told apart by its time."""
_PASSABLE = 0o711


def scratch_root(options: RuntimeOptions) -> Path:
    """Where the folders of a service are on this machine."""
    return Path(options.temp_dir or tempfile.gettempdir()) / f"taskservice-{os.geteuid()}-tmp"


class Scratch:
    """The folders of one supervisor."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own: Path | None = None
        self._lock = -1
        self._made = 0

    def make(self, uid: int) -> Path:
        """A new folder with `tmp` and `home` in it, which belong to this user; 0: to ours.

        Raises OSError, also if the root is somebody else's.
        """
        if self._own is None:
            self._own = self._begin()
        self._made += 1
        folder = self._own / str(self._made)
        folder.mkdir()
        folder.chmod(0o755)
        for path in (folder / "tmp", folder / "home"):
            path.mkdir(mode=0o700)
            if uid:
                os.chown(path, uid, uid)
        return folder

    def _begin(self) -> Path:
        self._root.mkdir(mode=_PASSABLE, parents=True, exist_ok=True)
        found = self._root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(f"{self._root} is not a folder that only this user can write: remove it (temp_dir)")
        self._root.chmod(_PASSABLE)
        name = secrets.token_hex(4)
        unlocked = self._root / f"{name}.new"
        self._lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unlocked.rename(self._root / f"{name}.lock")  # nobody has ever found it unlocked
        own = self._root / name
        own.mkdir()
        own.chmod(_PASSABLE)
        return own

    def sweep(self) -> int:
        """What supervisors that were killed have left is gone. Gives how many there were."""
        swept = 0
        for lock in self._root.glob("*.lock"):
            with suppress(OSError):
                descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove(lock.with_suffix(""))
                    lock.unlink()
                    swept += 1
                finally:
                    os.close(descriptor)
        return swept

    def close(self) -> None:
        """Nothing is left of what was made here."""
        if self._own is not None:
            remove(self._own)
            self._own.with_suffix(".lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._own = None


class Emptied:
    """A child's folder of temporary files, between its attempts."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._empty_since_ns = 0
        """When it was changed last before it was found empty; 0: it might have been changed again at the same time."""

    def again(self) -> None:
        """Nothing is in it, as after `empty`. Most attempts write no files: then all that it takes is a look at its time."""
        with suppress(OSError):
            if os.stat(self._folder).st_mtime_ns == self._empty_since_ns:  # noqa: PTH116 - after each attempt
                return
        empty(self._folder)
        self._empty_since_ns = 0
        with suppress(OSError):
            changed_ns = os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - likewise
            if time.time_ns() - changed_ns > FILE_TIME_NS and not _names(self._folder):
                self._empty_since_ns = changed_ns


def empty(folder: str) -> None:
    """Nothing is in the folder any more, as far as this process may remove it; a folder that is gone is there again."""
    try:
        names = _names(folder)
    except FileNotFoundError:
        with suppress(OSError):
            os.mkdir(folder, 0o700)  # noqa: PTH102
        return
    if names:
        _clear(folder)


def remove(path: Path) -> None:
    """The file or folder is gone, with all that is in it, as far as this process may remove it. Links are not followed."""
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        _clear(str(path))
        path.rmdir()


def _names(folder: str | int) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 - a descriptor, or often


def _clear(folder: str) -> None:
    """Folders in it are emptied one by one, and what folders are in those is moved up before: however deep they are, no path is
    long, and nobody recurses."""
    with suppress(OSError):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        mark, moved = secrets.token_hex(4), 0
        try:
            names = _names(top)
            while names:
                for name in names:
                    if not _unlinked(name, top):
                        moved += _dissolve(name, top, f"{mark}.{moved}")
                before, names = names, _names(top)
                if names == before:
                    return  # not ours to remove
        finally:
            os.close(top)


def _dissolve(name: str, top: int, mark: str) -> int:
    """The folder is gone. What folders were in it are in `top` now, under names with the mark; gives how many there were."""
    moved = 0
    with suppress(OSError):
        _open_up(name, top)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        try:
            for each in _names(inner):
                if not _unlinked(each, inner):
                    _open_up(each, inner)
                    os.rename(each, f"{mark}.{moved}", src_dir_fd=inner, dst_dir_fd=top)
                    moved += 1
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
    return moved


def _unlinked(name: str, folder: int) -> bool:
    """Whether it was no folder, and is gone or cannot be removed."""
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):  # the latter on systems other than Linux
        return not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        pass
    return True


def _open_up(name: str, folder: int) -> None:
    """A folder that its owner has closed to itself is open again. Root needs no such thing, and follows no link here."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=folder)


def taken(folder: str, files_max: int) -> tuple[int, int]:
    """The bytes on disk of all that is in the folder, and how many entries; not looked at further than `files_max` of those."""
    total = count = 0
    for entry in _entries(folder):
        count += 1
        with suppress(OSError):
            total += entry.stat(follow_symlinks=False).st_blocks * 512
        if count > files_max:
            break
    return total, count


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    waiting = [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
