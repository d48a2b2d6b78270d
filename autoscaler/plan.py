"""What a policy says: how many machines of each kind, which may go, and why."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from taskservice.core.backlog import BacklogAnswer
from taskservice.core.types import RunnerId


class KindPlan(Struct, frozen=True):
    """Machines of one kind."""

    kind: str
    wanted: int
    """That take work."""
    there: int
    """That have joined and take work."""
    leaving: int
    """That take no more."""
    why: str

    @property
    def requested(self) -> int:
        """What whoever starts machines is to keep up: those that leave are no substitute for those that are wanted."""
        return self.wanted + self.leaving


class ShapePlan(Struct, frozen=True):
    """Places for work of one shape."""

    shape: str
    places: int
    why: str


class Plan(Struct, frozen=True):
    """What is to be done now."""

    kinds: tuple[KindPlan, ...] = ()
    shapes: tuple[ShapePlan, ...] = ()
    retire: tuple[tuple[RunnerId, str], ...] = ()
    """Runners that are to get no more work, and their nodes."""


class Policy(Protocol):
    """Decides how many machines there are to be. Knows no clock: it is told the time."""

    def plan(self, answer: BacklogAnswer, now_s: float) -> Plan:
        """What is to be done now, as the shard sees things."""
