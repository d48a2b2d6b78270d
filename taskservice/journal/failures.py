"""What to tell people when this machine's disk refuses what a journal needs."""

from __future__ import annotations

from pathlib import Path

from taskservice.journal import JournalFailed
from taskservice.objects.disk import FULL


def failed(error: OSError, path: Path) -> JournalFailed:
    """What to tell people when the system refused to write to `path`."""
    if error.errno in FULL:
        return JournalFailed(
            f"The disk is full: {path} cannot grow. Make room, then start again: nothing acknowledged is lost."
        )
    reason = error.strerror or str(error)
    return JournalFailed(f"{path} cannot be written: {reason}. End this process; the next start sees what is there.")
