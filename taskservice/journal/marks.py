"""The places in a journal that a table's commits belong to."""

from __future__ import annotations

from taskservice.core.table import Mark
from taskservice.journal import Journal, Segment


def mark_of(journal: Journal, segment: Segment) -> Mark:
    """The place of a segment that was replayed."""
    return Mark("", "", segment.epoch, segment.number)


def mark_before(journal: Journal) -> Mark:
    """The place before the first segment of the epoch that this writer holds."""
    return Mark("", "", journal.epoch, -1)
