"""The policy: as many machines as the work that may run is worth, soon when it grows, late when it shrinks.

For each shape of work, places for what arrives (`places.for_arrivals`), and more for what waits, so that it has begun within the
time that a machine takes to start: one that is started for a backlog then works for at least as long as that took. What those that are
there will have done by then buys none. A machine that is not needed is kept for as long as one takes to start: who gives it up then
never pays more than twice what the best choice would have cost (the ski-rental bound, Karlin et al., Algorithmica 1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from taskservice.autoscaler.explain import why_kind, why_shape
from taskservice.autoscaler.kinds import Kind, ScaleOptions, Shape
from taskservice.autoscaler.load import Loads, ShapeLoad
from taskservice.autoscaler.packing import ROUNDING, Packed, beyond, pack
from taskservice.autoscaler.places import for_arrivals, for_backlog
from taskservice.autoscaler.plan import KindPlan, Plan, ShapePlan
from taskservice.autoscaler.surplus import surplus
from taskservice.core.backlog import BacklogAnswer, RunnerUse

PANIC_RATIO = 2.0
"""More than so many times the machines there are: a burst. Then none goes for a while, whatever the next looks say."""
PANIC_S = 60.0


@dataclass(slots=True)
class _Kept:
    """What is remembered of a kind."""

    wanted: int = 0
    needed: list[tuple[float, int]] = field(default_factory=list)
    """When so many were needed, for as long as it counts."""
    panic_until_s: float = float("-inf")


class BacklogPolicy:
    """Machines by what waits and what arrives."""

    def __init__(self, options: ScaleOptions) -> None:
        self._options = options
        self._loads = Loads()
        self._kept = {kind.name: _Kept() for kind in options.kinds}

    def plan(self, answer: BacklogAnswer, now_s: float) -> Plan:
        """See `Policy`."""
        kinds = self._options.kinds
        starts_s = max((kind.starts_s for kind in kinds), default=60.0)
        within_s = max(self._options.wait_s, starts_s)
        loads = self._loads.look(answer, within_s, now_s)
        runners = {kind.name: [one for one in answer.runners if kind.owns(one)] for kind in kinds}
        owned = {one.id for each in runners.values() for one in each}
        others = [one for one in answer.runners if one.id not in owned]
        arrivals = {shape: self._for_arrivals(load) for shape, load in loads.items()}
        waiting = {shape: for_backlog(load.tasks, load.work_s, within_s) for shape, load in loads.items()}
        left = self._left(loads, others, starts_s)
        soon = {shape: self._needed(loads[shape], arrivals[shape], waiting[shape] * left) for shape in loads}
        keep = {shape: self._needed(loads[shape], arrivals[shape], waiting[shape]) for shape in loads}
        packed_soon = pack(beyond(soon, others), self._options, answer.off_peak)
        packed_keep = pack(beyond(keep, others), self._options, answer.off_peak)
        plans = [self._kind(kind, packed_soon, packed_keep, runners[kind.name], now_s) for kind in kinds]
        gone = [
            (one.id, one.node)
            for kind, plan in zip(kinds, plans, strict=True)
            for one in surplus(runners[kind.name], plan.wanted, self._options.drain_s_max)
        ]
        shapes = tuple(
            ShapePlan(
                str(shape),
                ceil(keep[shape] - ROUNDING),
                why_shape(load, arrivals[shape], waiting[shape], keep[shape], packed_keep.left.get(shape, 0.0)),
            )
            for shape, load in loads.items()
        )
        return Plan(tuple(plans), shapes, tuple(gone))

    def _for_arrivals(self, load: ShapeLoad) -> int:
        return for_arrivals(load.rate, load.each_s, self._options.wait_s)

    def _needed(self, load: ShapeLoad, arrivals: int, waiting: float) -> float:
        """Places for what arrives and for what waits, but none that nothing could use: what comes within `wait_s` is reckoned with."""
        coming = load.free_ratio * load.rate / max(load.each_s, 1e-6) * self._options.wait_s
        return min(max(float(arrivals), load.rate + waiting), load.most + coming)

    def _left(self, loads: Mapping[Shape, ShapeLoad], others: list[RunnerUse], starts_s: float) -> float:
        """The part of what waits that the machines there are, or that are starting, will not have done by the time another one is up."""
        rates = beyond({shape: load.rate for shape, load in loads.items()}, others)
        work_s, spare = 0.0, float(sum(kept.wanted for kept in self._kept.values()))
        for shape, load in loads.items():
            slots = max((kind.places(shape) for kind in self._options.kinds), default=0)
            if slots:
                work_s += load.work_s / slots
                spare -= rates[shape] / slots
        return 1.0 if work_s <= 0 else max(0.0, 1.0 - max(0.0, spare) * starts_s / work_s)

    def _kind(self, kind: Kind, soon: Packed, keep: Packed, runners: list[RunnerUse], now_s: float) -> KindPlan:
        kept = self._kept[kind.name]
        there = sum(not one.draining for one in runners)
        have = min(kind.machines_max, max(there, kept.wanted))
        needed, now = keep.machines[kind.name], soon.machines[kind.name]
        if have and now >= max(PANIC_RATIO * have, have + 2):
            kept.panic_until_s = now_s + PANIC_S
        idle_s = kind.starts_s if self._options.idle_s is None else self._options.idle_s
        kept.needed = [(at_s, number) for at_s, number in kept.needed if now_s - at_s < idle_s and number > needed]
        kept.needed.append((now_s, needed))
        lately = have if now_s < kept.panic_until_s else max(number for _, number in kept.needed)
        kept.wanted = max(now, min(have, lately))
        leaving = len(runners) - there
        return KindPlan(
            kind.name,
            kept.wanted,
            there,
            leaving,
            why_kind(kind, kept.wanted, now, needed, soon, kept.panic_until_s > now_s),
        )
