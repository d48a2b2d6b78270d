"""The bucket, the network before it, and what the owners of a log keep there: the nouns of the model.

The network is a set of requests that only grows. A request, once sent, may reach the store at any later moment, any
number of times, and its answer may be lost. That covers sending again, late arrival and duplication, without counting.

It also makes a slot for which a delete was sent forgetful: the delete, and then any put that was ever sent for the slot,
may arrive between any two looks at it. So what such a slot holds is not kept (it would multiply the states by two for each
object that is collected): whoever looks may find nothing, or any of what was sent for it.
"""

from __future__ import annotations

from typing import NamedTuple

ABSENT = 0
FENCE = -1
DELETED = -2
"""What a slot of the store holds; otherwise a manifest, or for a segment or chunk its writer's number (its nonce)."""


class Chunk(NamedTuple):
    """Where a chunk is, and who made it: tables of two owners are not the same bytes, though they hold the same."""

    slot: int
    writer: int


class Segment(NamedTuple):
    epoch: int
    number: int
    writer: int


class Checkpoint(NamedTuple):
    """A table as of `count` segments of `epoch`. Its index is left out: it is as a chunk that nobody else refers to."""

    epoch: int
    count: int
    chunk: Chunk | None
    """The one chunk it needs: its own, or that of the checkpoint before."""
    holds: tuple[Segment, ...]


GENESIS = Checkpoint(1, 0, None, ())
"""The empty table: stands for a checkpoint that is not there yet. So a manifest always has two."""


class Manifest(NamedTuple):
    epoch: int
    writer: int
    claim: bool
    newer: Checkpoint
    older: Checkpoint


class Bounds(NamedTuple):
    """How far each owner may go, in the order in which they are started."""

    segments: tuple[int, ...]
    checkpoints: tuple[int, ...]
    in_flight: int = 2
    early: bool = False
    """Whether an owner may publish a checkpoint before its first segment."""


class Rules(NamedTuple):
    """What an owner obeys. Each is needed: with any one broken, a promise is (see test_protocol.py)."""

    claims_before_it_seals: bool = True
    signs_its_claim: bool = True
    """With a nonce, so that of two who claim the same epoch each knows whose claim is there."""
    looks_after_its_claim: bool = True
    """Its own manifest must be the highest. Otherwise its claim is void: it has landed where one was removed."""
    seals_all_earlier_epochs: bool = True
    fences_at_the_first_hole: bool = True
    looks_before_it_serves: bool = True
    """After the last read, once more: its own manifest must be the highest. Otherwise what it read, or took for a hole
    and fenced, may have been collected meanwhile."""
    minds_any_later_manifest: bool = True
    """When it looks; not only one of a later epoch. Behind a void claim is its predecessor's, of an earlier epoch."""
    acknowledges_by_prefix: bool = True
    asks_whose_segment_it_is: bool = True
    """Somebody else's object where its own should go: it was sealed. Only its own nonce is a success."""
    asks_whose_manifest_it_is: bool = True
    checkpoints_what_is_durable: bool = True
    publishes_after_its_own: bool = True
    """In the place after its own newest manifest, not after whatever is the highest."""
    collects_after_publishing: bool = True
    """Not before it knows that its manifest is there."""
    keeps_fences: bool = True
    keeps_claims: bool = True
    keeps_what_the_older_needs: bool = True
    collects_chunks_it_knows: bool = True
    """Not whatever a listing shows that its two checkpoints do not need."""
    names_chunks_once: bool = True
    """A chunk's key holds the checkpoint that made it; a key by content alone comes back."""
    names_chunks_by_its_epoch: bool = True
    """A checkpoint before its first segment is at 0 of its own epoch, not at the end of its predecessor's."""


class SecondLine(NamedTuple):
    """What an owner obeys although nothing is lost without it, as long as the rules hold."""

    ends_if_an_object_is_missing: bool = True
    """What should be there and is not was collected by a successor: it looks, and says so if there is none. Whoever
    takes it for the end of the log is found out by the look before it serves."""


class World(NamedTuple):
    store: tuple
    """A value for each slot; DELETED for one that a delete was sent for."""
    sent: frozenset
    """(slot, value): to put if the slot is empty."""
    owners: tuple

    def found(self, slot: int) -> list:
        """What somebody who looks there now may find."""
        if self.store[slot] != DELETED:
            return [self.store[slot]]
        return [ABSENT, *(value for where, value in self.sent if where == slot)]


class Layout:
    """Which slot of the store a key has."""

    def __init__(self, bounds: Bounds) -> None:
        self.owners = len(bounds.segments)
        self.numbers = max(bounds.segments) + 1
        self.manifests = self.owners + sum(bounds.checkpoints)
        epochs = range(1, self.owners + 1)
        self.keys = [("log", epoch, number) for epoch in epochs for number in range(self.numbers)]
        self.keys += [("manifest", number) for number in range(1, self.manifests + 1)]
        self.keys += [("chunk", epoch, count) for epoch in epochs for count in range(self.numbers)]
        self.keys += [("chunk-of-content", content) for content in range(2)]
        self.names = [f"{kind}/{'/'.join(map(str, numbers))}" for kind, *numbers in self.keys]
        self.slots = {key: slot for slot, key in enumerate(self.keys)}

    def log(self, epoch: int, number: int) -> int:
        return (epoch - 1) * self.numbers + number

    def manifest(self, number: int) -> int:
        return self.owners * self.numbers + number - 1

    def chunks(self) -> range:
        return range(self.manifest(self.manifests) + 1, len(self.keys))

    def newest(self, store: tuple) -> tuple[int, Manifest]:
        """The highest manifest and its number. A listing is taken to be atomic; whoever deletes leaves a higher one."""
        first = self.manifest(1)
        for slot in range(first + self.manifests - 1, first - 1, -1):
            if store[slot] not in {ABSENT, DELETED}:
                return slot - first + 1, store[slot]
        raise AssertionError("there is no manifest")


def replaced(values: tuple, place: int, value: object) -> tuple:
    return (*values[:place], value, *values[place + 1 :])
