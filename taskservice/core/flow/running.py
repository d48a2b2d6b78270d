"""How many tasks run: of each tenant, each function, and each key of a function that counts by keys. Durable: what the leases say, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from taskservice.core.flow.gate import Reason
from taskservice.core.types import Leaf


@dataclass(slots=True)
class Running:
    """Counts of open attempts; those that are 0 are left out."""

    tenants: dict[str, int] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)

    keys: dict[str, int] = field(default_factory=dict)
    """By `key_name`."""

    def change(self, leaf: Leaf, by: int) -> None:
        """So many more of the leaf's tasks run, or fewer if this is negative."""
        _change(self.tenants, leaf.tenant, by)
        _change(self.functions, leaf.function, by)
        if leaf.key:
            _change(self.keys, key_name(leaf), by)


def key_name(leaf: Leaf) -> str:
    """What tasks of the leaf's key are counted under, whatever their class and lane."""
    return f"{leaf.tenant}/{leaf.function}/{leaf.key}"


def _change(counts: dict[str, int], key: str, by: int) -> None:
    count = counts.get(key, 0) + by
    if count:
        counts[key] = count
    else:
        counts.pop(key, None)


@dataclass(frozen=True, slots=True)
class AtMost:
    """A gate: so many may run at once."""

    name: str
    """What users know it by, e.g. `function.max_running`."""
    counts: Mapping[str, int]
    of: str
    most: int

    def room(self, now_ms: int) -> int:
        """See `Gate`."""
        return max(0, self.most - self.counts.get(self.of, 0))

    def opens_ms(self, now_ms: int) -> int | None:
        """When one of them ends."""
        return now_ms if self.room(now_ms) else None

    def reason(self, now_ms: int) -> Reason:
        return Reason(self.name, self.most, self.counts.get(self.of, 0), self.opens_ms(now_ms))
