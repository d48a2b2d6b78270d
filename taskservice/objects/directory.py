"""Objects as files of a directory, on a file system that has hard links and atomic names.

    <path>/log/00000003/0000000042    an object: its key is its path
    <path>/.drafts/                   objects that have no name yet; no key begins with a dot

An object is written and synced as a draft, and then linked to its name, which fails if somebody else has that. So a
name is given once, and never names anything torn. Then all folders between it and `path` are synced, and only then
goes the draft: so a file with a second name may not be durable yet, and whoever finds one syncs its folders before
showing it to anybody. What has been seen stays.

Several processes may use one directory. Two of them can meet at two places, and at both the one that loses begins
again: a folder is removed when its last object is deleted, perhaps between somebody's making it and linking into it;
and drafts that look forgotten are removed at opening, perhaps from somebody who was only slow. A draft's name is
random, so it is never another's; without it the link fails, and is never a link to something else.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from taskservice.objects import NoSuchObject, ObjectInfo, StoreError, StoreRefused, StoreUnavailable
from taskservice.objects.disk import FULL, Disk, RealDisk, make_dir_if_absent, make_dirs_durably, write_durably
from taskservice.objects.keys import check_key, check_prefix, check_range, is_key

DRAFTS = ".drafts"
FORGOTTEN_S = 3600
"""A draft as old as this is removed at opening. Not sooner: to be safe it need not be right, but to be quick it should."""

_NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_PASSING = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ETIMEDOUT, errno.ESTALE, errno.ENOMEM, errno.EINTR)
"""Errors that may be over in a while."""


class DirectoryObjects:
    """An `ObjectStore` in the directory `path`, which is made if it is not there.

    `look_only`: nothing is made, nor removed, nor synced; what is seen may not outlive the power. To be wrapped in
    `readonly.ReadOnlyObjects`. Raises StoreRefused if the directory cannot be made.
    """

    def __init__(self, path: Path, *, disk: Disk | None = None, look_only: bool = False) -> None:
        self._root = path.absolute()
        self._drafts = self._root / DRAFTS
        self._disk = disk or RealDisk()
        self._look_only = look_only
        self._refusal: str | None = None
        """Why nothing can be created any more; None while all is well."""
        if look_only:
            return
        with _as_store_errors(self._root):
            make_dirs_durably(self._disk, self._drafts)
            self._remove_forgotten_drafts()

    trouble = ""

    @property
    def url(self) -> str:
        return str(self._root)

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        path = self._root / check_key(key)
        with _as_store_errors(path):
            while True:
                self._check_syncs()
                draft = self._draft(data)
                try:
                    there = self._link(draft, path, data)
                except OSError:
                    self._unlink(draft)
                    raise
                self._unlink(draft)
                if there is not None:
                    return None if there == data else there

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        check_range(start, end)
        path = self._root / check_key(key)
        with _as_store_errors(path):
            try:
                return self._read(path, start, end)
            except _NO_OBJECT:
                raise NoSuchObject(f"there is no object {key} in {self._root}") from None

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        check_prefix(after)
        folder = prefix.rpartition("/")[0]
        yield from self._walk(f"{folder}/" if folder else "", prefix, after)

    def delete(self, keys: Sequence[str]) -> None:
        paths = [self._root / check_key(key) for key in keys]
        for path in paths:
            with _as_store_errors(path), suppress(*_NO_OBJECT):
                self._disk.unlink(path)
        folders = dict.fromkeys(path.parent for path in paths)
        for folder in folders:
            self._sync_nearest(folder)
        for (
            folder
        ) in folders:  # only now: one may be within another, and no folder is removed that is still to be synced
            self._remove_empty(folder)

    def close(self) -> None:
        """Nothing is kept open."""

    def _draft(self, data: bytes) -> Path:
        """A new file that holds `data`, durably but for its name."""
        draft = self._drafts / secrets.token_hex(16)
        fd = self._disk.create(draft)
        try:
            write_durably(self._disk, fd, data, 0)
        except BaseException:
            self._unlink(draft)
            raise
        finally:
            self._disk.close(fd)
        return draft

    def _link(self, draft: Path, path: Path, data: bytes) -> bytes | None:
        """What is at `path`, durably: the draft's `data`, or what was there. None if nothing stayed there: try again."""
        try:
            self._make_folders(path.parent)
            self._disk.link(draft, path)
        except FileExistsError:
            with suppress(FileNotFoundError):
                return self._read(path, 0, None)
            return None
        except FileNotFoundError:
            return None
        self._sync_folders(path.parent)
        return data

    def _read(self, path: Path, start: int, end: int | None) -> bytes:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_nlink > 1:
                self._sync_folders(path.parent)
            file.seek(start)
            return file.read() if end is None else file.read(end - start)

    def _unlink(self, draft: Path) -> None:
        with suppress(FileNotFoundError):
            self._disk.unlink(draft)

    def _folders(self, folder: Path) -> Sequence[Path]:
        """The folder and those above it, down to the directory itself."""
        return [folder, *folder.parents][: len(folder.parts) - len(self._root.parts) + 1]

    def _make_folders(self, folder: Path) -> None:
        for each in reversed(self._folders(folder)[:-1]):
            if not each.is_dir():
                make_dir_if_absent(self._disk, each)

    def _sync_folders(self, folder: Path) -> None:
        """All names on the way to what is in `folder` are durable, unless it has been deleted since.

        After the link, and all of them each time: only now does the object keep others from removing its folders.
        """
        if self._look_only:
            return
        for each in self._folders(folder):
            with suppress(FileNotFoundError):
                self._sync(each)

    def _sync_nearest(self, folder: Path) -> None:
        """What was deleted from the folder is not in it, durably. If somebody has removed the folder meanwhile, it is that
        which must be durable: the folder above it would else bring it back, with all that was in it."""
        for each in self._folders(folder):
            with suppress(FileNotFoundError, NotADirectoryError):
                self._sync(each)
                return

    def _sync(self, folder: Path) -> None:
        """The names in the folder are durable. If that fails once, nothing can be known by trying again: none ever are."""
        try:
            self._disk.sync_dir(folder)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            if error.errno in _PASSING:
                raise _store_error(error, folder) from error
            self._refusal = f"{_store_error(error, folder)} What was last created there may not be durable."
        self._check_syncs()

    def _check_syncs(self) -> None:
        if self._refusal is not None:
            raise StoreRefused(self._refusal)

    def _remove_empty(self, folder: Path) -> None:
        """Folders that hold nothing any more are gone. One that is not empty says so, and keeps those above it."""
        with suppress(OSError):
            for each in self._folders(folder)[:-1]:
                self._disk.remove_dir(each)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        """`folder` is "" or ends in a slash. In the order of keys: a folder sorts as what its keys begin with."""
        for name in self._names(folder):
            key = folder + name
            if not (key.startswith(prefix) or prefix.startswith(key)) or (key < after and not after.startswith(key)):
                continue
            if name.endswith("/"):
                yield from self._walk(key, prefix, after)
            elif key > after and key.startswith(prefix) and is_key(key):
                yield from self._info(key)

    def _info(self, key: str) -> Sequence[ObjectInfo]:
        path = self._root / key
        with _as_store_errors(path), suppress(FileNotFoundError):
            found = path.stat()
            if found.st_nlink > 1:
                self._sync_folders(path.parent)
            return [ObjectInfo(key, found.st_size, found.st_mtime_ns // 1_000_000)]
        return []

    def _names(self, folder: str) -> Sequence[str]:
        """What is in the folder, sorted; folders end in a slash."""
        path = self._root / folder
        with _as_store_errors(path), suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
            names = [f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
            return sorted(name for name in names if is_key(name.removesuffix("/")))
        return []

    def _remove_forgotten_drafts(self) -> None:
        for draft in list(self._drafts.iterdir()):
            with suppress(FileNotFoundError):
                if draft.stat().st_mtime < time.time() - FORGOTTEN_S:
                    self._remove_forgotten(draft)

    def _remove_forgotten(self, draft: Path) -> None:
        """The draft is gone, and if it has been linked to a name, that is durable."""
        seized = self._drafts / secrets.token_hex(16)
        self._disk.link(draft, seized)
        self._unlink(draft)  # so its writer, should there still be one, cannot link it any more
        if seized.stat().st_nlink > 1:
            for folder, _, _ in os.walk(self._root):
                with suppress(FileNotFoundError):
                    self._sync(Path(folder))
        self._disk.unlink(seized)


@contextmanager
def _as_store_errors(path: Path) -> Iterator[None]:
    """What the system refuses to do to `path` is raised as the store's error."""
    try:
        yield
    except OSError as error:
        raise _store_error(error, path) from error


def _store_error(error: OSError, path: Path) -> StoreError:
    """What happened, and what somebody has to do about it."""
    why = error.strerror or str(error)
    if error.errno in _PASSING:
        return StoreUnavailable(f"{path}: {why}. Come back later.")
    if error.errno in FULL:
        return StoreRefused(f"The disk is full: {path} cannot be written. Make room, and come back.")
    if error.errno == errno.EROFS:
        return StoreRefused(
            f"{path} is on a file system mounted read-only. Mount it for writing, or name another place."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return StoreRefused(
            f"{path}: {why}. Let this user ({os.getuid()}) read, write and link there, or name another directory; some "
            "file systems have no hard links, and cannot hold objects."
        )
    if error.errno in (errno.EISDIR, errno.ENOTDIR):
        return StoreRefused(f"{path}: {why}. A key cannot be the folder of another key.")
    return StoreRefused(f"{path}: {why}. See to the disk, and start again.")
