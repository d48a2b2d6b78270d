"""What a policy says: how many machines there are to be, which may go, and why."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from taskservice.core.backlog import BacklogAnswer, KindPlan, ShapePlan
from taskservice.core.types import RunnerId


class Leaving(Struct, frozen=True):
    """A runner that is to get no more work."""

    runner: RunnerId
    node: str
    kind: str


class Plan(Struct, frozen=True):
    """What is to be done now."""

    kinds: tuple[KindPlan, ...] = ()
    shapes: tuple[ShapePlan, ...] = ()
    retire: tuple[Leaving, ...] = ()


class Policy(Protocol):
    """Decides how many machines there are to be. Knows no clock: it is told the time."""

    def plan(self, answer: BacklogAnswer, now_s: float) -> Plan:
        """What is to be done now, as the shard sees things."""
