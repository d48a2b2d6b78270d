"""The steps of one owner of the log, from its first look at the manifests to its end.

A crash needs no step of its own: an owner that crashed is one that takes no further step, and one that was only
believed dead is one that takes them later. All orders of all steps are explored, so both are covered.

An owner is answered by what is in the slot that it asked for; it waits while the slot is empty. An answer that takes
longer is one that is lost, and another to the same request sent again.

What may be sent is sent at once, and what may be acknowledged is. A request may take any time to arrive, which covers one
sent later; and a promise about acknowledged segments is the stricter the more there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from model.bucket import (
    ABSENT,
    DELETED,
    FENCE,
    GENESIS,
    Bounds,
    Checkpoint,
    Chunk,
    Layout,
    Manifest,
    Rules,
    SecondLine,
    Segment,
    World,
    replaced,
)


class Owner(NamedTuple):
    phase: str = "off"
    epoch: int = 0
    at: int = 0
    """The number of its newest manifest that it knows to be there; while it claims, of the one it asks for."""
    newer: Checkpoint = GENESIS
    older: Checkpoint = GENESIS
    """The checkpoints of that manifest."""
    base: Checkpoint = GENESIS
    """The checkpoint that it started from, then the newest that it made: the one it trusts."""
    cursor: tuple[int, int] = (0, 0)
    """The epoch and number that it seals or reads next."""
    seals: tuple[tuple[int, int], ...] = ()
    """(epoch, segments) of the epochs it has sealed."""
    table: tuple[Segment, ...] = ()
    """What it has recovered, in the order in which it was applied."""
    durable: int = 0
    """A bit for each own segment that it knows to be there."""
    pending: Manifest | int = ABSENT
    published: int = 0
    served: bool = False


Steps = Iterator[tuple[str, World]]


class Owners:
    """What each owner may do next, by the rules."""

    def __init__(self, bounds: Bounds, rules: Rules, second: SecondLine) -> None:
        self.bounds, self.rules, self.second, self.layout = bounds, rules, second, Layout(bounds)

    def steps(self, world: World, me: int) -> Steps:
        return getattr(self, world.owners[me].phase)(world, me, world.owners[me])

    def off(self, world: World, me: int, owner: Owner) -> Steps:
        """Owners start in their order, which chooses between equals: who comes first is called the second owner."""
        if owner.at == 0 and world.owners[me - 1].phase == "off" and world.owners[me - 1].at == 0:
            return
        number, manifest = self.layout.newest(world.store)
        after = Owner("claiming", manifest.epoch + 1, number + 1, manifest.newer, manifest.older)
        if self.rules.claims_before_it_seals:
            yield f"sees manifest {number}", self.claim(world, me, after)
        else:
            yield f"sees manifest {number}", self.begin_sealing(world, me, after)

    def claim(self, world: World, me: int, owner: Owner) -> World:
        slot = self.layout.manifest(owner.at)
        return self.send(world, me, owner._replace(phase="claiming"), (slot, self.claim_of(me, owner)))

    def claim_of(self, me: int, owner: Owner) -> Manifest:
        nonce = me + 1 if self.rules.signs_its_claim else 0
        return Manifest(owner.epoch, nonce, claim=True, newer=owner.newer, older=owner.older)

    def claiming(self, world: World, me: int, owner: Owner) -> Steps:
        manifest = self.claim_of(me, owner)
        for found in world.found(self.layout.manifest(owner.at)):
            if found == ABSENT:
                continue
            if found != manifest and self.rules.asks_whose_manifest_it_is:
                yield f"finds manifest {owner.at} taken", self.become(world, me, Owner(at=owner.at))
            elif not self.rules.claims_before_it_seals:
                yield f"has claimed epoch {owner.epoch}", self.become(world, me, owner._replace(phase="loading"))
            elif self.rules.looks_after_its_claim:
                yield f"has put claim {owner.at}", self.become(world, me, owner._replace(phase="claimed"))
            else:
                yield f"has put claim {owner.at}", self.begin_sealing(world, me, owner)

    def claimed(self, world: World, me: int, owner: Owner) -> Steps:
        if self.is_newest(world, owner):
            yield f"owns epoch {owner.epoch}", self.begin_sealing(world, me, owner)
        else:
            yield "sees its claim void", self.end(world, me, owner)

    def is_newest(self, world: World, owner: Owner) -> bool:
        number, manifest = self.layout.newest(world.store)
        return number == owner.at if self.rules.minds_any_later_manifest else manifest.epoch <= owner.epoch

    # Sealing: from the older checkpoint on, so that whichever of the two it loads, the ends are known.

    def begin_sealing(self, world: World, me: int, owner: Owner) -> World:
        start = (owner.older.epoch, owner.older.count)
        if not self.rules.seals_all_earlier_epochs:
            while start[0] < owner.epoch - 1:
                owner = owner._replace(seals=(*owner.seals, (start[0], self.end_of_data(world.store, *start))))
                start = (start[0] + 1, 0)
        return self.seal_at(world, me, owner, *start)

    def seal_at(self, world: World, me: int, owner: Owner, epoch: int, number: int) -> World:
        """A fence is on its way to this number; or all is sealed."""
        if epoch >= owner.epoch:
            sealed = owner._replace(cursor=(0, 0))
            if self.rules.claims_before_it_seals:
                return self.become(world, me, sealed._replace(phase="loading"))
            return self.claim(world, me, sealed)
        if not self.rules.fences_at_the_first_hole:
            while any(world.store[self.layout.log(epoch, n)] != ABSENT for n in range(number, self.layout.numbers)):
                number += 1
            number = min(number, self.layout.numbers - 1)
        sealing = owner._replace(phase="sealing", cursor=(epoch, number))
        return self.send(world, me, sealing, (self.layout.log(epoch, number), FENCE))

    def sealing(self, world: World, me: int, owner: Owner) -> Steps:
        epoch, number = owner.cursor
        for found in world.found(self.layout.log(epoch, number)):
            if found == FENCE:
                first = owner.older.count if epoch == owner.older.epoch else 0
                hole = number if self.rules.fences_at_the_first_hole else self.end_of_data(world.store, epoch, first)
                sealed = owner._replace(seals=(*owner.seals, (epoch, hole)))
                yield f"has sealed epoch {epoch} at {hole}", self.seal_at(world, me, sealed, epoch + 1, 0)
            elif found != ABSENT:
                yield f"finds data at {epoch}/{number}", self.seal_at(world, me, owner, epoch, number + 1)

    def end_of_data(self, store: tuple, epoch: int, number: int) -> int:
        while store[self.layout.log(epoch, number)] > ABSENT:
            number += 1
        return number

    # Recovery: a checkpoint, then the segments behind it, one read a step.

    def loading(self, world: World, me: int, owner: Owner) -> Steps:
        """Either of the two: the newer may turn out to be damaged."""
        for base in dict.fromkeys((owner.newer, owner.older)):
            found = [None] if base.chunk is None else world.found(base.chunk.slot)
            if ABSENT in found:
                yield f"misses {self.layout.names[base.chunk.slot]}", self.missing(world, me, owner)
            if found != [ABSENT]:
                start = owner._replace(base=base, table=base.holds)
                step = f"loads the checkpoint at {base.epoch}/{base.count}"
                yield step, self.read_at(world, me, start, base.epoch, base.count)

    def read_at(self, world: World, me: int, owner: Owner, epoch: int, number: int) -> World:
        seals = dict(owner.seals)
        while epoch < owner.epoch and number >= seals[epoch]:
            epoch, number = epoch + 1, 0
        if epoch >= owner.epoch:
            return self.become(world, me, owner._replace(phase="recovered", cursor=(0, 0)))
        return self.become(world, me, owner._replace(phase="reading", cursor=(epoch, number)))

    def reading(self, world: World, me: int, owner: Owner) -> Steps:
        epoch, number = owner.cursor
        for found in world.found(self.layout.log(epoch, number)):
            if found > ABSENT:
                read = owner._replace(table=(*owner.table, Segment(epoch, number, found)))
                yield f"reads {epoch}/{number}", self.read_at(world, me, read, epoch, number + 1)
            elif self.second.ends_if_an_object_is_missing:
                yield f"misses {epoch}/{number}", self.missing(world, me, owner)
            else:
                yield f"takes {epoch}/{number} for the end", self.read_at(world, me, owner, epoch + 1, 0)

    def missing(self, world: World, me: int, owner: Owner) -> World:
        """It was collected by a successor; if there is none, it is lost."""
        return self.become(world, me, Owner("lost")) if self.is_newest(world, owner) else self.end(world, me, owner)

    def recovered(self, world: World, me: int, owner: Owner) -> Steps:
        if self.rules.looks_before_it_serves and not self.is_newest(world, owner):
            yield "sees a later manifest", self.end(world, me, owner)
        else:
            yield "serves", self.serve(world, me, owner._replace(phase="serving", seals=(), served=True))

    # Service: segments, checkpoints, collection.

    def serve(self, world: World, me: int, owner: Owner) -> World:
        """The segments that may be in flight are."""
        first = prefix(owner.durable)
        numbers = range(first, min(first + self.bounds.in_flight, self.bounds.segments[me]))
        return self.send(world, me, owner, *((self.layout.log(owner.epoch, number), me + 1) for number in numbers))

    def serving(self, world: World, me: int, owner: Owner) -> Steps:
        first = prefix(owner.durable)
        for number in range(first, min(first + self.bounds.in_flight, self.bounds.segments[me])):
            if owner.durable >> number & 1:
                continue
            for found in world.found(self.layout.log(owner.epoch, number)):
                if found == ABSENT:
                    continue
                if found == me + 1 or not self.rules.asks_whose_segment_it_is:
                    after = owner._replace(durable=owner.durable | 1 << number)
                    yield f"has {owner.epoch}/{number} durable", self.serve(world, me, after)
                else:
                    yield f"is fenced at {owner.epoch}/{number}", self.end(world, me, owner)
        yield from self.published(world, me, owner) if owner.pending else self.publishing(world, me, owner)

    def publishing(self, world: World, me: int, owner: Owner) -> Steps:
        """A chunk is uploaded if the one before will not do; then the manifest is on its way."""
        if owner.published == self.bounds.checkpoints[me]:
            return
        if not self.rules.publishes_after_its_own:
            owner = owner._replace(at=self.layout.newest(world.store)[0])
        epoch, count, holds = self.position(me, owner)
        if (epoch, count) <= (owner.base.epoch, owner.base.count) or (count == 0 and not self.bounds.early):
            return
        chunks = [Chunk(self.layout.slots["chunk", epoch, count], me + 1)]
        if not self.rules.names_chunks_once:
            chunks = [Chunk(self.layout.slots["chunk-of-content", content], content + 1) for content in range(2)]
        for chunk in chunks + [owner.base.chunk] * (owner.base.chunk is not None):
            checkpoint = Checkpoint(epoch, count, chunk, holds)
            manifest = Manifest(owner.epoch, me + 1, claim=False, newer=checkpoint, older=owner.base)
            after = owner._replace(pending=manifest)
            requests = ((chunk.slot, chunk.writer), (self.layout.manifest(owner.at + 1), manifest))
            publishes = self.send(self.upload(world, chunk), me, after, *requests)
            step = f"publishes {epoch}/{count} with {self.layout.names[chunk.slot]}"
            yield step, publishes if self.rules.collects_after_publishing else self.collect(publishes, after)

    def position(self, me: int, owner: Owner) -> tuple[int, int, tuple[Segment, ...]]:
        """Epoch, segments of it, and all that a checkpoint would hold now."""
        count = prefix(owner.durable)
        if not self.rules.checkpoints_what_is_durable:
            count = min(count + self.bounds.in_flight, self.bounds.segments[me])
        if count == 0 and owner.table and not self.rules.names_chunks_by_its_epoch:
            return owner.table[-1].epoch, owner.table[-1].number + 1, owner.table
        own = tuple(Segment(owner.epoch, number, me + 1) for number in range(count))
        return owner.epoch, count, owner.table + own

    def upload(self, world: World, chunk: Chunk) -> World:
        """The chunk is there, unless somebody sent a delete for it."""
        if world.store[chunk.slot] != ABSENT:
            return world
        return world._replace(store=replaced(world.store, chunk.slot, chunk.writer))

    def published(self, world: World, me: int, owner: Owner) -> Steps:
        number, pending = owner.at + 1, owner.pending
        for found in world.found(self.layout.manifest(number)):
            if found == ABSENT:
                continue
            if found != pending and self.rules.asks_whose_manifest_it_is:
                yield f"finds manifest {number} taken", self.end(world, me, owner)
                continue
            after = owner._replace(at=number, newer=pending.newer, older=pending.older, base=pending.newer)
            after = after._replace(pending=ABSENT, published=owner.published + 1)
            yield f"has published manifest {number}, collects", self.become(self.collect(world, owner), me, after)

    def collect(self, world: World, owner: Owner) -> World:
        """The deletes are on their way that the pending manifest allows."""
        store = list(world.store)
        for slot in self.garbage(world, owner):
            store[slot] = DELETED
        return world._replace(store=tuple(store))

    def garbage(self, world: World, owner: Owner) -> list[int]:
        newer, older = owner.pending.newer, owner.pending.older
        covering = older if self.rules.keeps_what_the_older_needs else newer
        slots = [self.layout.log(segment.epoch, segment.number) for segment in covering.holds]
        if not self.rules.keeps_fences:
            logs = range(self.layout.log(covering.epoch, 0))
            slots += [slot for slot in logs if world.store[slot] == FENCE]
        for number in range(1, owner.at + 1):
            slot = self.layout.manifest(number)
            if isinstance(world.store[slot], Manifest) and not (self.rules.keeps_claims and world.store[slot].claim):
                slots.append(slot)
        chunks = {chunk.slot for chunk in (owner.newer.chunk, owner.older.chunk) if chunk}
        if not self.rules.collects_chunks_it_knows:
            chunks |= {slot for slot in self.layout.chunks() if world.store[slot] > ABSENT}
        return slots + sorted(chunks - {chunk.slot for chunk in (newer.chunk, older.chunk) if chunk})

    # What steps are made of.

    def become(self, world: World, me: int, owner: Owner) -> World:
        return World(world.store, world.sent, replaced(world.owners, me, owner))

    def send(self, world: World, me: int, owner: Owner, *requests: tuple[int, object]) -> World:
        return World(world.store, world.sent.union(requests), replaced(world.owners, me, owner))

    def end(self, world: World, me: int, owner: Owner) -> World:
        """Its process ends. What it has acknowledged, and what it sent, remain."""
        kept = Owner("gone", owner.epoch, table=owner.table, durable=owner.durable, served=True)
        return self.become(world, me, kept if owner.served else Owner("gone"))

    def gone(self, world: World, me: int, owner: Owner) -> Steps:
        return iter(())

    lost = gone


@cache
def prefix(durable: int) -> int:
    """How many segments from the first on are durable without a gap."""
    count = 0
    while durable >> count & 1:
        count += 1
    return count
