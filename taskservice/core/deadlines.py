"""How many deadlines were kept and how many were missed: of each tenant's tasks of each function. Durable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from taskservice.core.types import FunctionName, Leaf, TenantId


class Kept(Struct, frozen=True, array_like=True):
    """Tasks that have ended and had a deadline. A field is added at the end with a default, never removed or moved."""

    met: int = 0
    missed: int = 0
    """They ended after their deadline."""


@dataclass(slots=True)
class Deadlines:
    """The counts of a shard."""

    by_owner: dict[tuple[TenantId, FunctionName], Kept] = field(default_factory=dict)

    def ended(self, leaf: Leaf, deadlines_ms: Iterable[int | None], at_ms: int) -> Kept | None:
        """Tasks of the leaf with these deadlines have ended; gives the counts if they have changed."""
        met = missed = 0
        for deadline_ms in deadlines_ms:
            if deadline_ms is not None:
                missed += at_ms > deadline_ms
                met += at_ms <= deadline_ms
        if not met and not missed:
            return None
        before = self.by_owner.get((leaf.tenant, leaf.function), Kept())
        after = self.by_owner[leaf.tenant, leaf.function] = Kept(before.met + met, before.missed + missed)
        return after

    def of(self, tenant: TenantId | None) -> dict[FunctionName, Kept]:
        """The counts by function: the tenant's, or everybody's."""
        found: dict[FunctionName, Kept] = {}
        for (owner, function), kept in self.by_owner.items():
            if tenant in (None, owner):
                before = found.get(function, Kept())
                found[function] = Kept(before.met + kept.met, before.missed + kept.missed)
        return found
