"""What was waited for, and from when to when: of each node before a gate, of each demand without room. Volatile and bounded.

Nothing is kept of a single task: what one waited for is found by what its queue did meanwhile (`timeline`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

KEPT_MAX = 2_000
"""Things of which is known when they were kept back; the one that was longest ago is forgotten first."""
STRETCHES_MAX = 12
"""Of each, the last ones."""
JOINED_MS = 1_000
"""A gate that opens for less than that is taken to have been closed all the while."""
LOOKED_AT = 4
"""How many stretches back one is looked for that goes on."""

ROOM = "room"
HELD = "held"
JOURNAL: Hashable = ("journal",)


class Stretch(NamedTuple):
    """A time in which something was kept back by one gate."""

    gate: str
    from_ms: int
    until_ms: int | None
    """None: it is still closed."""


@dataclass(slots=True)
class _Kept:
    stretches: list[Stretch]
    known_since_ms: int


@dataclass(slots=True)
class Waits:
    """The last stretches of everything that was kept back."""

    since_ms: int = 0
    """Nothing before is known."""
    _kept: dict[Hashable, _Kept] = field(default_factory=dict)
    """The one that was kept back last is the last."""
    _now: dict[str, Mapping[Hashable, str]] = field(default_factory=dict)
    """Of each kind that is told whole: those that are kept back now."""

    def closed(self, what: Hashable, gate: str, now_ms: int) -> None:
        """It is kept back by this gate from now on, if it was not before."""
        kept = self._kept.pop(what, None)
        if kept is None:
            self._forget()
            kept = _Kept([], self.since_ms)
        self._kept[what] = kept
        stretches = kept.stretches
        for at in range(len(stretches) - 1, max(-1, len(stretches) - 1 - LOOKED_AT), -1):
            before = stretches[at]
            if before.gate == gate and (before.until_ms is None or now_ms - before.until_ms < JOINED_MS):
                stretches[at] = before._replace(until_ms=None)
                return
        stretches.append(Stretch(gate, now_ms, None))
        if len(stretches) > STRETCHES_MAX:
            gone = stretches.pop(0)
            kept.known_since_ms = now_ms if gone.until_ms is None else gone.until_ms

    def opened(self, what: Hashable, now_ms: int) -> None:
        """Nothing keeps it back any more; nothing happens if nothing did."""
        kept = self._kept.get(what)
        if kept is None:
            return
        for at in range(len(kept.stretches) - 1, -1, -1):
            if kept.stretches[at].until_ms is None:
                kept.stretches[at] = kept.stretches[at]._replace(until_ms=now_ms)

    def only(self, kind: str, gates: Mapping[Hashable, str], now_ms: int) -> None:
        """Of this kind these are kept back now, each by its gate, and no others."""
        before = self._now.get(kind, {})
        for each, gate in before.items():
            if gates.get(each) != gate:
                self.opened((kind, each), now_ms)
        for each, gate in gates.items():
            self.closed((kind, each), gate, now_ms)
        self._now[kind] = gates

    def of(self, what: Hashable) -> Sequence[Stretch]:
        """What is known of it, by the beginnings."""
        kept = self._kept.get(what)
        return () if kept is None else tuple(kept.stretches)

    def known_since_ms(self, what: Hashable) -> int:
        """What kept it back before is not known."""
        kept = self._kept.get(what)
        return self.since_ms if kept is None else kept.known_since_ms

    def _forget(self) -> None:
        """There is place for one more. What is forgotten may have been anything's."""
        if len(self._kept) < KEPT_MAX:
            return
        gone = self._kept.pop(next(iter(self._kept)))
        ends = [stretch.until_ms for stretch in gone.stretches if stretch.until_ms is not None]
        self.since_ms = max([self.since_ms, *ends])
