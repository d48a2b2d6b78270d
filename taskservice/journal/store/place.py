"""Which file a dispatcher keeps its working table in: one that no other process has that lives.

    table-3f9a01bc.sqlite       whoever holds its lock goes on from what is there
    table-3f9a01bc.lock         held for as long as the process lives, even if it is stopped and believed to be dead
    table-3f9a01bc.17.sqlite    of the owner of epoch 17, who found that lock held
    table-3f9a01bc.17.lock

SQLite's own locks do not see to that: they are gone as soon as the process closes any descriptor of the file, as it does
when a checkpoint was made of it. And two who own the log one after another may both live for a while: the second must
not wait for the first, nor lose its table to it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import NamedTuple


class TablePlace(NamedTuple):
    """A file that is this process's alone, there or not."""

    path: Path
    lock_fd: int

    def close(self) -> None:
        """The file is free for the next process."""
        os.close(self.lock_fd)


def take_place(home: Path, state_dir: str, epoch: int) -> TablePlace:
    """Where the owner of `epoch` keeps its table of that state. What dead ones had for one epoch only is gone.

    Raises OSError if the disk does not take the lock's file.
    """
    home.mkdir(parents=True, exist_ok=True)
    name = f"table-{hashlib.sha256(state_dir.encode()).hexdigest()[:8]}"
    fd = _locked(home / f"{name}.lock")
    if fd is not None:
        _sweep(home, name)
        return TablePlace(home / f"{name}.sqlite", fd)
    own = f"{name}.{epoch}"
    fd = _locked(home / f"{own}.lock")
    assert fd is not None, "an epoch has one owner"
    return TablePlace(home / f"{own}.sqlite", fd)


def _sweep(home: Path, name: str) -> None:
    for lock in home.glob(f"{name}.*.lock"):
        fd = _locked(lock)
        if fd is None:
            continue
        for left in home.glob(f"{lock.stem}.sqlite*"):
            left.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        os.close(fd)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed; None if somebody else has one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
