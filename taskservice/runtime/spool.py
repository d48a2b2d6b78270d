"""Where logs wait on their node until its runner has stored them, as supervisors write there.

    <home>/logs/tasks/<session>/        a folder for each runner there was
        owner                           locked by that runner for as long as it lives
        open                            a symbolic link that says the place of the bundle that is being gathered
        20261130-1a2b3c4d-17/<pid>      what one process has written for that bundle: framed pieces
        live/<no>-<epoch>-<seq>         the page of an attempt that runs: all that it has written

A writer locks its own file, looks once more which bundle is open, and appends. The runner opens the next bundle, and then locks
each file of the last one: so what it reads is all that is ever written there, and a report that names a place comes true.
"""

from __future__ import annotations

import fcntl
import os
from functools import cache
from pathlib import Path

from taskservice.core.types import TaskNo, Token
from taskservice.logs.pieces import Framed, unframe

OPEN = "open"
OWNER = "owner"
LIVE = "live"
TRIES_MAX = 100
"""A bundle may be closed in just the moment when it is written to; not so often in a row."""


class Spool:
    """The way into a node's spool, for one process. Belongs to one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = ""
        self._descriptor = -1

    def append(self, frames: bytes) -> str:
        """The pieces will be in the bundle of the place that this gives. Raises OSError if they cannot be kept."""
        for _ in range(TRIES_MAX):
            place = self._open()
            try:
                self._turn_to(place)
            except FileNotFoundError:
                continue  # it is stored already, so another one is open
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                if self._open() == place:
                    _write(self._descriptor, frames)
                    return place
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        raise OSError(f"{self._folder}: no bundle stays open")

    def is_stored(self, place: str) -> bool:
        """Whether what was written for that bundle is not on this node any more."""
        return not (self._folder / place).exists()

    def page(self, no: TaskNo, token: Token) -> Path:
        """The file with all that an attempt has written that runs."""
        return page_of(self._folder, no, token)

    def _open(self) -> str:
        """The place of the bundle that is being gathered."""
        return str((self._folder / OPEN).readlink())

    def _turn_to(self, place: str) -> None:
        if place == self._place:
            return
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._folder / place / str(os.getpid()), flags, 0o600)
        self._place = place

    def close(self) -> None:
        """Its file is closed; the next piece opens another one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._place, self._descriptor = "", -1


def page_of(folder: Path, no: TaskNo, token: Token) -> Path:
    """See `Spool.page`."""
    return folder / LIVE / f"{no}-{token.epoch}-{token.seq}"


def read_spooled(folder: Path, place: str) -> list[Framed]:
    """What waits there for that bundle. Raises FileNotFoundError if it is stored, or is in this moment."""
    files = sorted(path for path in (folder / place).iterdir() if not path.name.startswith("."))
    found: list[Framed] = []
    for path in files:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            found += unframe(file.read())
    return found


@cache
def spool_in(folder: str) -> Spool:
    """This process's way into that spool."""
    return Spool(Path(folder))


def _write(descriptor: int, data: bytes) -> None:
    """All of it is at the end of the file, or nothing of it."""
    end = os.fstat(descriptor).st_size
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError:
        os.ftruncate(descriptor, end)
        raise
