"""What to tell people when this machine's disk refuses what a journal needs."""

from __future__ import annotations

import os
from pathlib import Path

from taskservice.journal import JournalFailed
from taskservice.objects.disk import FULL

ROOM_BYTES_MIN = 16 << 20
"""With less, a disk is as good as full: the next few commits would find it so."""


def check_room(path: Path, bytes_min: int = ROOM_BYTES_MIN) -> None:
    """There is room where `path` is, or is to be. Raises JournalFailed if there is not, so that nothing is begun in vain."""
    while not path.exists():
        path = path.parent
    disk = os.statvfs(path)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < bytes_min:
        raise JournalFailed(
            f"The disk is full: {path} has {free_bytes >> 20} MiB left, and {bytes_min >> 20} are needed to start."
            " Make room: nothing acknowledged is lost."
        )


def failed(error: OSError, path: Path) -> JournalFailed:
    """What to tell people when the system refused to write to `path`."""
    if error.errno in FULL:
        return JournalFailed(
            f"The disk is full: {path} cannot grow. Make room, then start again: nothing acknowledged is lost."
        )
    reason = error.strerror or str(error)
    return JournalFailed(f"{path} cannot be written: {reason}. End this process; the next start sees what is there.")
