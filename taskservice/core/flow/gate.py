"""A gate: what a task must pass before it may start.

Several gates may stand before a task; it starts when all have room, and each of them is then told (`take`, or `started`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

ROOM_MAX = 1_000_000
"""Room where nothing limits it; no gate has more."""


class Reason(Struct, frozen=True, array_like=True):
    """How a gate stands, for whoever asks why a task waits."""

    gate: str
    """Its name, whose setting it is first: `tenant.rate`, `function.max_running`, `downstream.window`, `function.retries`."""
    limit: int
    """Tasks that it lets through at once."""
    used: int
    """How much of `limit` is taken."""
    clears_ms: int | None = None
    """When it will have room if nothing else happens; None: not by the clock alone."""
    per_s: float | None = None
    """For a rate: how much of `limit` comes back each second."""
    cause: str = ""
    """What keeps it closed, or its limit as it is, where the numbers do not say: `retry_after`, `frozen`."""


class Gate(Protocol):
    """Something that lets so many tasks through now, and no more. Asking it takes nothing."""

    def room(self, now_ms: int) -> int:
        """How many tasks more may start now, at most ROOM_MAX; 0: it is closed."""

    def opens_ms(self, now_ms: int) -> int | None:
        """When there will be room if nothing else happens, `now_ms` if there is; None: something must end first."""

    def reason(self, now_ms: int) -> Reason:
        """How it stands now."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A gate that stays closed until somebody has said otherwise."""

    name: str

    def room(self, now_ms: int) -> int:
        return 0

    def opens_ms(self, now_ms: int) -> int | None:
        """Not by the clock."""
        return None

    def reason(self, now_ms: int) -> Reason:
        return Reason(self.name, 0, 0)
