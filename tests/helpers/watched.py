"""Worlds of the simulator of which a test sees every lease: machine time over any interval, and what runs at any instant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from taskservice.core.state import State
from taskservice.journal.store.memory import MemoryTable
from taskservice.simulator.machines import START_MS
from taskservice.simulator.meters import Meter
from taskservice.simulator.plan import Plan, plan
from taskservice.simulator.report import Report, report
from taskservice.simulator.scenario import parse_scenario
from taskservice.simulator.sources import Source
from taskservice.simulator.world import World

Look = Callable[[int, "Watched"], None]
"""Is called after each turn: with the moment, in microseconds, and the world."""


class Recorder(Meter):
    """A meter that remembers when its leases got their machines and left them."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter.leaf, meter.need)
        self.changes: list[tuple[int, int]] = []
        """(when, +1 or -1)"""
        self._had_us, self._since_us = 0, 0

    def had_us(self, t_us: int) -> int:
        """Lease-microseconds up to now."""
        self._had_us += self.running * (t_us - self._since_us)
        self._since_us = t_us
        return self._had_us

    def starts(self, t_us: int) -> None:
        self.had_us(t_us)
        super().starts(t_us)
        self.changes.append((t_us, +1))

    def ends(self, t_us: int) -> None:
        self.had_us(t_us)
        super().ends(t_us)
        self.changes.append((t_us, -1))


@dataclass(slots=True)
class RecordingPlan(Plan):
    """What a world runs, and what records it."""

    recorders: list[Recorder] = field(default_factory=list)

    def meter(self, source: Source) -> Meter:
        made = Recorder(Plan.meter(self, source))
        self.recorders.append(made)
        return made


class Watched(World):
    """A world at which somebody looks after each turn."""

    def __init__(self, stated: dict[str, Any], looks: Sequence[Look] = ()) -> None:
        self.scenario = parse_scenario(stated)
        self.table = MemoryTable()
        self.looks = looks
        planned = plan(self.scenario, Path())
        self.recorders: list[Recorder] = []
        recording = RecordingPlan(planned.tenants, planned.handlers, planned.sources, recorders=self.recorders)
        super().__init__(self.scenario, recording, self.table)

    @property
    def state(self) -> State:
        return self.shard.state

    def _turn(self, t_us: int) -> None:
        super()._turn(t_us)
        for look in self.looks:
            look(t_us, self)

    def report(self) -> Report:
        return report(self.scenario, self, self.table)

    def use(self, of: str) -> Use:
        """What leases of one tenant, or of one class, have had."""
        chosen = [each for each in self.recorders if of in (each.leaf.tenant, each.leaf.priority.value)]
        assert chosen, of
        return Use(sorted(change for each in chosen for change in each.changes))

    def starts(self, since_us: int = 0) -> list[str]:
        """The tenants of the leases that began since then, in their order."""
        begun = [(t_us, each.leaf.tenant) for each in self.recorders for t_us, by in each.changes if by > 0]
        return [tenant for t_us, tenant in sorted(begun) if t_us >= since_us]


class Use:
    """Lease-seconds up to any moment. All leases of a tenant take the same here."""

    def __init__(self, changes: Sequence[tuple[int, int]]) -> None:
        self._times_us, self._running, self._sums = [0], [0], [0]
        for t_us, by in changes:
            self._sums.append(self._sums[-1] + self._running[-1] * (t_us - self._times_us[-1]))
            self._times_us.append(t_us)
            self._running.append(self._running[-1] + by)

    def until_s(self, t_us: int) -> float:
        at = bisect_right(self._times_us, t_us) - 1
        return (self._sums[at] + self._running[at] * (t_us - self._times_us[at])) / 1e6

    def running(self, t_us: int) -> int:
        return self._running[bisect_right(self._times_us, t_us) - 1]


def ran(stated: dict[str, Any], *looks: Look) -> Watched:
    """The world of this scenario, at its end."""
    world = Watched(stated, looks)
    world.run()
    return world


def worst_share(
    world: Watched,
    weights: dict[str, float],
    longest_s: dict[str, float],
    tasks: int,
    since_us: int = 0,
    points: int = 300,
):
    """How far shares of machine time are from the weights' at most, and over how many intervals: all between two of so many
    moments in which each had at least as much as so many of its longest tasks."""
    moments = [since_us + (world.end_us - since_us) * at // points for at in range(points + 1)]
    uses = {name: [world.use(name).until_s(t_us) for t_us in moments] for name in weights}
    worst, intervals, whole = 0.0, 0, sum(weights.values())
    for begin, end in combinations(range(points + 1), 2):
        got = {name: sums[end] - sums[begin] for name, sums in uses.items()}
        if all(got[name] >= tasks * longest_s[name] for name in got):
            intervals += 1
            total = sum(got.values())
            worst = max(worst, *(abs(got[name] / total - weights[name] / whole) for name in got))
    return worst, intervals


def now_ms(t_us: int) -> int:
    """The wall clock of a simulated moment."""
    return START_MS + t_us // 1000
