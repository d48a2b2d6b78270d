"""Code on its node: each archive is fetched and unpacked once, into a folder that is there whole or not at all.

    <folder>/<boot>/<sha256>/              the files, as they were packed
    <folder>/<boot>/<sha256>.lock          held, shared, by whoever runs code from there; its time is that of the last use
    <folder>/<boot>/.<sha256>.<random>/    being unpacked, and renamed when all is there and is what its name says

Nothing is synced to the disk: what was unpacked before the machine started is not believed. What nobody has used for a while, and nobody holds, is removed when other code comes. Processes agree by locks of files, which
end with whoever held them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from taskservice.code.archive import BadArchive, Entry, checked
from taskservice.code.store import CodeStore
from taskservice.core.specs import Bundle
from taskservice.values import ValueLost

DRAFT_S = 3_600.0
"""What has been half unpacked for so long was left by a crash."""

_FOLDER_MODE = 0o755
"""Handlers run as users of their own, and may read it; what is above it may be closed to them (see `runtime.view`)."""


class HeldCode:
    """A folder of code that stays until this is closed, or the process ends."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = str(path)
        self._lock = lock

    def close(self) -> None:
        """The folder may be removed, once it has not been used for a while."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class CodeCache:
    """One node's folder of code. Any thread and any process may use it."""

    def __init__(self, folder: Path, store: CodeStore, unpacked_bytes_max: int, unused_s: float) -> None:
        self._all = folder
        self._folder = folder / _boot()
        self._store = store
        self._unpacked_bytes_max = unpacked_bytes_max
        self._unused_s = unused_s

    def here(self, bundle: Bundle) -> HeldCode | None:
        """The bundle's code, if it has been unpacked on this node before."""
        path = self._folder / bundle.sha256
        if not path.is_dir():
            return None
        lock = self._locked(bundle.sha256)
        if path.is_dir():  # still: nobody removes it while it is locked
            return HeldCode(path, lock)
        os.close(lock)
        return None

    def fetch(self, bundle: Bundle) -> HeldCode:
        """The bundle's code, fetched and unpacked if it was not here. Raises ValuesAway; or ValueLost if there is no such code, or
        it is not what its name says."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._locked(bundle.sha256)
        try:
            path = self._folder / bundle.sha256
            if not path.is_dir():
                self._unpack(bundle, path)
        except BaseException:
            os.close(lock)
            raise
        self._evict()
        return HeldCode(path, lock)

    def _unpack(self, bundle: Bundle, path: Path) -> None:
        data = self._store.get(bundle.key, bundle.size_bytes)
        draft = self._folder / f".{bundle.sha256}.{uuid.uuid4().hex[:8]}"
        draft.mkdir()
        try:
            draft.chmod(_FOLDER_MODE)
            _write(draft, checked(data, bundle.sha256, self._unpacked_bytes_max))
            with suppress(OSError):  # somebody else was first: it is the same
                draft.rename(path)
        except BadArchive as error:
            raise ValueLost(f"{bundle.key} cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if not path.is_dir():
            raise ValueLost(f"{bundle.key} could not be put in place at {path}")

    def _locked(self, sha256: str) -> int:
        lock = os.open(self._folder / f"{sha256}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(lock)
        return lock

    def _evict(self) -> None:
        """What has not been used for long, and is held by nobody, is gone."""
        now_s = time.time()
        for draft in self._folder.glob(".*"):
            with suppress(OSError):
                if now_s - draft.stat().st_mtime > DRAFT_S:
                    shutil.rmtree(draft, ignore_errors=True)
        for folder in self._all.iterdir():
            with suppress(OSError):
                if folder != self._folder and now_s - folder.stat().st_mtime > self._unused_s:
                    shutil.rmtree(folder, ignore_errors=True)
        for path in self._folder.glob("*.lock"):
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if now_s - os.fstat(lock).st_mtime > self._unused_s:
                    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)


def _boot() -> str:
    """Of the machine as it runs now: another one each time that it starts."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]


def _write(folder: Path, entries: Iterable[Entry]) -> None:
    """The files are in the folder. Their paths are known to lead nowhere else."""
    for entry in entries:
        path = folder / entry.path
        _make(folder, path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(entry.data)
            os.fchmod(descriptor, 0o555 if entry.executable else 0o444)


def _make(root: Path, folder: Path) -> None:
    """The folder is there, and those between it and the root, and everybody may read them, whatever the umask."""
    if folder == root or folder.is_dir():
        return
    _make(root, folder.parent)
    folder.mkdir()
    folder.chmod(_FOLDER_MODE)
