"""Ending an epoch of a log in a bucket: a fence at its first hole, once and for ever.

The first hole, and nothing behind it: an owner whose last words were on their way may still put them there, and would
have been acknowledged for what nobody reads. What is found in the place of the fence is either such words, which
count then, or the fence of somebody who was faster.
"""

from __future__ import annotations

from typing import NamedTuple

from taskservice.journal import JournalCorrupt
from taskservice.journal.segments import (
    FENCE_VERSION,
    Fence,
    encode_fence,
    is_fence,
    key_of,
    may_be_fence,
    open_segment,
    place_if_any,
)
from taskservice.objects import NoSuchObject, ObjectStore


class Sealed(NamedTuple):
    """An epoch that has ended."""

    epoch: int
    first: int
    """Number of the first segment that is needed: those before it are covered by a checkpoint."""
    segments: int
    """How many it has, from number 0 on; also the number of its fence."""
    chain_before: bytes
    """The chain before segment `first`."""
    chain: bytes
    """The chain after the last segment."""


def seal(store: ObjectStore, epoch: int, first: int, chain: bytes, by_epoch: int) -> Sealed:
    """The epoch ends at its first hole from number `first` on, where `chain` is the chain; nothing can be added to it.

    The claim of a later epoch must be durable before. May be repeated, and be done by several at once: all find the
    same end. Raises JournalCorrupt if a segment before the fence that is there already is not (any more).
    """
    number = _first_hole(store, epoch, first)
    while not _is_sealed_at(store, epoch, number, by_epoch):
        number += 1
    return Sealed(epoch, first, number, chain, _chain_at_end(store, epoch, first, number, chain))


def _first_hole(store: ObjectStore, epoch: int, first: int) -> int:
    """Where there is no segment from number `first` on, as far as a listing shows."""
    prefix = key_of(epoch, first).rpartition("/")[0] + "/"
    after = key_of(epoch, first - 1) if first else ""
    number = first
    for info in store.list(prefix, after):
        place = place_if_any(info.key)
        if place is None:
            continue
        if may_be_fence(info.size_bytes):  # behind it there may be what a zombie put there
            _check_there(store, epoch, number, place.number)
            break
        number += place.number == number
    return number


def _check_there(store: ObjectStore, epoch: int, number: int, fence: int) -> None:
    """All segments from `number` up to a fence were there when it was put. The listing may have been too early to see
    them; but if one is lost, a new fence in its place would drop all behind it without a word."""
    for each in range(number, fence):
        try:
            store.get(key_of(epoch, each), 0, 1)
        except NoSuchObject:
            raise JournalCorrupt(
                f"{store.url}: {key_of(epoch, each)} is missing: epoch {epoch} was ended by {key_of(epoch, fence)}. Restore"
                " the state from a copy."
            ) from None


def _is_sealed_at(store: ObjectStore, epoch: int, number: int, by_epoch: int) -> bool:
    """Whether the fence is here now; False if there is a segment."""
    fence = encode_fence(Fence(FENCE_VERSION, epoch, number, by_epoch))
    other = store.put_if_absent(key_of(epoch, number), fence)
    return other is None or is_fence(other)


def _chain_at_end(store: ObjectStore, epoch: int, first: int, segments: int, chain: bytes) -> bytes:
    if segments == first:
        return chain
    key = key_of(epoch, segments - 1)
    scan = open_segment(store.get(key), key)
    for _ in scan:
        pass
    return scan.chain
