"""Journals in directories, as a dead writer left them."""

from __future__ import annotations

from pathlib import Path

from taskservice.journal.frames import HEAD_BYTES
from taskservice.journal.local import LocalJournal

BODIES = [b"first", b"second", b"third"]
FRAME_HEADER_BYTES = 44
LAST_FRAME_BYTES = FRAME_HEADER_BYTES + len(BODIES[-1])
TWO_EACH = HEAD_BYTES + FRAME_HEADER_BYTES + len(BODIES[0]) + 1
"""As `file_bytes_max`: two frames to a file."""


def written(directory: Path, *, file_bytes_max: int = 1 << 20) -> Path:
    """A journal whose only writer has died after three appends; gives its last log file."""
    journal = LocalJournal(directory, file_bytes_max=file_bytes_max)
    for number, body in enumerate(BODIES):
        journal.append(number, body)
    journal.close()
    return max(directory.glob("*/*.log"))


def replayed(journal: LocalJournal) -> list[bytes]:
    return [segment.body for segment in journal.replay()]


def reopened(directory: Path) -> list[bytes]:
    """What the next writer finds."""
    journal = LocalJournal(directory)
    try:
        return replayed(journal)
    finally:
        journal.close()
