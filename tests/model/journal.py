"""The protocol of the journal on a bucket: owners, network and store together, and what they promise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from model.bucket import ABSENT, DELETED, FENCE, GENESIS, Bounds, Manifest, Rules, SecondLine, Segment, World, replaced
from model.explore import Result, explore
from model.owner import Owner, Owners, prefix

FOLLOWED = Rules()
KEPT = SecondLine()


class Journal:
    """The state machine. In the first state the first owner serves, and nobody has written anything."""

    def __init__(self, bounds: Bounds, rules: Rules = FOLLOWED, second: SecondLine = KEPT) -> None:
        self.rules, self.acting = rules, Owners(bounds, rules, second)
        self.layout = self.acting.layout
        self.logs = range(self.layout.manifest(1))

    def initial(self) -> World:
        claim = Manifest(1, 1, claim=True, newer=GENESIS, older=GENESIS)
        store = replaced((ABSENT,) * len(self.layout.keys), self.layout.manifest(1), claim)
        first = Owner("serving", epoch=1, at=1, served=True)
        others = (Owner(),) * (self.layout.owners - 1)
        return self.acting.serve(World(store, frozenset(), (first, *others)), 0, first)

    def next_states(self, world: World) -> Iterator[tuple[str, World]]:
        for slot, value in world.sent:
            if world.store[slot] == ABSENT:
                what = "fence" if value == FENCE else "put"
                after = World(replaced(world.store, slot, value), world.sent, world.owners)
                yield f"network: {what} {self.layout.names[slot]} arrives", after
        for me in range(self.layout.owners):
            for step, after in self.acting.steps(world, me):
                yield f"owner {me + 1} {step}", after

    def explored(self) -> Result:
        return explore(self.initial(), self.next_states, self.violation)

    def violation(self, world: World) -> str | None:
        return (
            self.violation_between_owners(world)
            or self.violation_of_newest_manifest(world)
            or self.violation_of_fences(world)
        )

    def acknowledged(self, me: int, owner: Owner) -> tuple[Segment, ...]:
        return acknowledged(me + 1, owner.epoch, owner.durable, self.rules.acknowledges_by_prefix)

    def violation_between_owners(self, world: World) -> str | None:
        """Whoever serves has recovered all that earlier owners acknowledged or will, and what they recovered."""
        if any(owner.phase == "lost" for owner in world.owners):
            return "an object is missing and nobody has claimed later"
        served = [(me, owner) for me, owner in enumerate(world.owners) if owner.served]
        for one, (me, owner) in enumerate(served):
            if not in_order(owner.table):
                return f"owner {me + 1} recovered {owner.table}: not each segment once and in order"
            for other, (they, later) in enumerate(served):
                if one == other or later.epoch < owner.epoch:
                    continue
                if later.epoch == owner.epoch:
                    return f"owners {me + 1} and {they + 1} both serve epoch {owner.epoch}"
                if not all(segment in later.table for segment in self.acknowledged(me, owner)):
                    return f"owner {me + 1} acknowledged what owner {they + 1} has not recovered"
                if tuple(segment for segment in later.table if segment.epoch < owner.epoch) != owner.table:
                    return f"owners {me + 1} and {they + 1} recovered different pasts"
        return None

    def violation_of_newest_manifest(self, world: World) -> str | None:
        """From either checkpoint of the newest manifest all that was acknowledged can be recovered."""
        number, manifest = self.layout.newest(world.store)
        for checkpoint in (manifest.newer, manifest.older):
            where = f"the checkpoint at {checkpoint.epoch}/{checkpoint.count} in manifest {number}"
            chunk = checkpoint.chunk
            if chunk and world.store[chunk.slot] != chunk.writer:
                return f"{where} has lost {self.layout.names[chunk.slot]}"
            for me, owner in enumerate(world.owners):
                if not owner.durable:
                    continue
                for segment in self.acknowledged(me, owner):
                    kept = world.store[self.layout.log(segment.epoch, segment.number)] == segment.writer
                    if not kept and segment not in checkpoint.holds:
                        return f"{where} has lost log/{segment.epoch}/{segment.number}"
        return None

    def violation_of_fences(self, world: World) -> str | None:
        """No owner is stopped without an heir."""
        newest = self.layout.newest(world.store)[1]
        for slot in self.logs[self.layout.log(newest.epoch, 0) :]:
            if world.store[slot] == FENCE or (world.store[slot] == DELETED and (slot, FENCE) in world.sent):
                return f"{self.layout.names[slot]} is a fence and nobody has claimed a later epoch"
        return None


@cache
def acknowledged(writer: int, epoch: int, durable: int, by_prefix: bool) -> tuple[Segment, ...]:
    count = prefix(durable) if by_prefix else durable.bit_length()
    return tuple(Segment(epoch, number, writer) for number in range(count) if durable >> number & 1)


@cache
def in_order(table: tuple[Segment, ...]) -> bool:
    """Epochs ascend, and each has its segments from the first on."""
    expected = {}
    for epoch, number, _ in table:
        if number != expected.get(epoch, 0) or epoch < max(expected, default=0):
            return False
        expected[epoch] = number + 1
    return True
