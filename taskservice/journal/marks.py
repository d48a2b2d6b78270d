"""The places in a journal that a table's commits belong to, named so that no other journal has them."""

from __future__ import annotations

from taskservice.core.table import Mark
from taskservice.journal import Position
from taskservice.journal.manifest import Manifest


def mark_at(manifest: Manifest | None, epoch: int, segment: int) -> Mark:
    """The place just after a segment, `segment` -1: before the first of its epoch.

    Without a manifest, as for journals that live no longer than their process, or for an epoch whose owner it does not
    name any more, the mark can be told from no other: nothing is ever gone on from there.
    """
    if manifest is None:
        return Mark("", "", epoch, segment)
    return Mark(manifest.log, nonce_of(manifest, epoch) or "", epoch, segment)


def nonce_of(manifest: Manifest, epoch: int) -> str | None:
    """The nonce of whoever owned an epoch; None if the manifest does not name them any more."""
    return next((owner.nonce for owner in manifest.owners if owner.epoch == epoch), None)


def surplus(manifest: Manifest, mark: Mark, sealed_segments: int | None) -> int | None:
    """How many of a table's last commits the journal does not have; None if it does not lead from there.

    `mark`: that of the table's last commit. `sealed_segments`: how many segments its epoch has.
    """
    position = Position(mark.epoch, mark.segment)
    known = mark.log == manifest.log and mark.nonce and mark.nonce == nonce_of(manifest, mark.epoch)
    if not known or sealed_segments is None or position[:2] < manifest.start[:2]:
        return None
    return max(0, mark.segment + 1 - sealed_segments)
