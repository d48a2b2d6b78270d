"""Ending an epoch of a log in a bucket: a fence at its first hole, once and for ever.

The first hole, and nothing behind it: an owner whose last words were on their way may still put them there, and would
have been acknowledged for what nobody reads. What is found in the place of the fence is either such words, which
count then, or the fence of somebody who was faster.
"""

from __future__ import annotations

from typing import NamedTuple

from taskservice.journal.segments import (
    FENCE_VERSION,
    Fence,
    encode_fence,
    is_fence,
    key_of,
    may_be_fence,
    open_segment,
    place_of,
)
from taskservice.objects import ObjectStore


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
    same end.
    """
    prefix = key_of(epoch, first).rpartition("/")[0] + "/"
    after = key_of(epoch, first - 1) if first else ""
    number = first
    for info in store.list(prefix, after):
        if place_of(info.key).number != number or may_be_fence(info.size_bytes):
            break  # behind a fence there may be what a zombie put there
        number += 1
    while not _is_sealed_at(store, epoch, number, by_epoch):
        number += 1
    return Sealed(epoch, first, number, chain, _chain_at_end(store, epoch, first, number, chain))


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
