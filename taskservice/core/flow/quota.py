"""What somebody takes of the pool at once, and what of it is kept for them, or is the most that they may have."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from taskservice.core.flow.gate import ROOM_MAX, Reason
from taskservice.core.resources import Amounts
from taskservice.core.types import PRESSED_LANES, Leaf, Priority, TenantId, Token

Owner = tuple[str, Hashable]
"""Who has a quota: ("class", priority), ("tenant", id) or ("function", name). And who has none, but is counted: OFF_PEAK."""

OFF_PEAK: Owner = ("lane", "off_peak")
"""All that waits for off-peak hours."""


def owners(leaf: Leaf) -> tuple[Owner, ...]:
    """All to whose quotas the leaf's tasks count."""
    own = ("class", leaf.priority), ("tenant", leaf.tenant), ("function", leaf.function)
    return (*own, OFF_PEAK) if leaf.lane in PRESSED_LANES else own


@dataclass(slots=True)
class Usage:
    """What leases occupy now, by owner. Volatile: told anew after a restart."""

    of: dict[Owner, Amounts] = field(default_factory=dict)
    within: dict[tuple[Priority, TenantId], Amounts] = field(default_factory=dict)
    """What each tenant has in each class; none are left out who have something."""
    places: dict[Leaf, int] = field(default_factory=dict)
    """How many leases of each group of leaves there are; none are left out that have some."""
    _leases: dict[Token, tuple[Leaf, Amounts]] = field(default_factory=dict)

    def occupy(self, token: Token, leaf: Leaf, need: Amounts) -> None:
        """The lease occupies as much, until it is freed."""
        if token in self._leases:
            return
        self._leases[token] = leaf, need
        of, within = self.of, self.within.setdefault((leaf.priority, leaf.tenant), {})
        counted = [within, *[of.setdefault(owner, {}) for owner in owners(leaf)]]
        for name, value in need.items():  # for each lease: `add` would be called four times
            for used in counted:
                used[name] = used.get(name, 0) + value
        group = leaf.group
        self.places[group] = self.places.get(group, 0) + 1

    def free(self, token: Token) -> Leaf | None:
        """The lease occupies nothing any more; gives its leaf, None if it was not known."""
        leaf, need = self._leases.pop(token, (None, {}))
        if leaf is not None:
            place = leaf.priority, leaf.tenant
            within = self.within[place]
            counted = [within, *[self.of[owner] for owner in owners(leaf)]]
            for name, value in need.items():
                for used in counted:
                    used[name] -= value
                    if not used[name]:
                        del used[name]
            if not within:
                del self.within[place]
            group = leaf.group
            self.places[group] -= 1
            if not self.places[group]:
                del self.places[group]
        return leaf

    def leases(self) -> Iterable[tuple[Token, Leaf]]:
        """Those that occupy anything."""
        return ((token, leaf) for token, (leaf, _) in self._leases.items())

    def used(self, owner: Owner) -> Mapping[str, int]:
        return self.of.get(owner, {})

    def used_by_all(self, kind: str) -> int:
        """How much of a resource all of them occupy together."""
        return sum(self.used(("class", priority)).get(kind, 0) for priority in Priority)


@dataclass(frozen=True, slots=True)
class QuotaGate:
    """A gate: a lease of this need is not to bring its owner above the maximum."""

    name: str
    """What users know it by, e.g. `tenant.maximum`."""
    usage: Usage
    owner: Owner
    maximum: Mapping[str, int]
    """A resource that is not in it has no bound."""
    need: Mapping[str, int]

    def room(self, now_ms: int) -> int:
        """A lease may have any number of tasks: they run one after the other."""
        used = self.usage.used(self.owner)
        fits = all(used.get(kind, 0) + self.need.get(kind, 0) <= most for kind, most in self._bounds())
        return ROOM_MAX if fits else 0

    def opens_ms(self, now_ms: int) -> int | None:
        """When one of the owner's leases is over."""
        return None

    def reason(self, now_ms: int) -> Reason:
        """How it stands, in the resource that is nearest to its bound."""
        used = self.usage.used(self.owner)
        part = {kind: (used.get(kind, 0) + self.need.get(kind, 0)) / max(1, most) for kind, most in self._bounds()}
        kind = max(part, key=part.__getitem__)
        return Reason(self.name, self.maximum[kind], used.get(kind, 0), None, cause=kind)

    def _bounds(self) -> Iterable[tuple[str, int]]:
        return ((kind, most) for kind, most in self.maximum.items() if self.need.get(kind))


def within(reserved: Mapping[str, int], used: Mapping[str, int], need: Mapping[str, int]) -> bool:
    """Whether what is kept for somebody has room for the need, in all that the need takes."""
    return all(used.get(kind, 0) + value <= reserved.get(kind, 0) for kind, value in need.items())


def part_of(reserved: Mapping[str, int], used: Mapping[str, int]) -> float:
    """How much of what is kept for somebody they have: the part of the resource of which they have most."""
    return max((used.get(kind, 0) / value for kind, value in reserved.items() if value), default=1.0)
