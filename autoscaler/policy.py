"""The policy: as many machines as the work that may run is worth, soon when it grows, late when it shrinks.

For each shape of work, places for what arrives (`places.for_arrivals`), and more for what waits, so that it has begun within the
time that a machine takes to start: what those that are there will have done by then buys none, and one that is started works for about as
long as that took. A machine that is not needed is kept for as long as one takes to start: who gives it up then
never pays more than twice what the best choice would have cost (the ski-rental bound, Karlin et al., Algorithmica 1988).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from taskservice.autoscaler.explain import why_kind, why_shape
from taskservice.autoscaler.kinds import Kind, ScaleOptions
from taskservice.autoscaler.load import Loads
from taskservice.autoscaler.need import need
from taskservice.autoscaler.packing import ROUNDING, Packed, beyond, pack
from taskservice.autoscaler.plan import Leaving, Plan
from taskservice.autoscaler.surplus import surplus
from taskservice.core.backlog import BacklogAnswer, KindPlan, RunnerUse, ShapePlan

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
        self._since_s: float | None = None
        """When it first looked: what was needed before that is not known, and may have been all that is there."""
        self._kept = {kind.name: _Kept() for kind in options.kinds}

    def plan(self, answer: BacklogAnswer, now_s: float) -> Plan:
        """See `Policy`."""
        options, kinds = self._options, self._options.kinds
        self._since_s = now_s if self._since_s is None else self._since_s
        within_s = max(options.wait_s, *(kind.starts_s for kind in kinds))
        loads = self._loads.look(answer, within_s, now_s)
        runners = {
            kind.name: [one for one in answer.runners if one.node != options.home and kind.owns(one)] for kind in kinds
        }
        owned = {one.id for each in runners.values() for one in each}
        others = [one for one in answer.runners if one.id not in owned]
        needs = {shape: need(load, options.wait_s, within_s) for shape, load in loads.items()}
        packed = pack(beyond({shape: one.places for shape, one in needs.items()}, others), options, answer.off_peak)
        plans = [self._kind(kind, packed, runners[kind.name], now_s) for kind in kinds]
        shapes = tuple(
            ShapePlan(
                str(shape),
                ceil(needs[shape].places - ROUNDING),
                why_shape(load, needs[shape], packed.left.get(shape, 0.0)),
            )
            for shape, load in loads.items()
        )
        gone = tuple(Leaving(one.id, one.node, plan.kind) for plan, retired in plans for one in retired)
        return Plan(tuple(plan for plan, _ in plans), shapes, gone)

    def _kind(
        self, kind: Kind, packed: Packed, runners: list[RunnerUse], now_s: float
    ) -> tuple[KindPlan, list[RunnerUse]]:
        """How many of the kind there are to be, and those that go."""
        kept, needed = self._kept[kind.name], packed.machines[kind.name]
        there = sum(not one.draining for one in runners)
        have = min(kind.machines_max, max(there, kept.wanted))
        if have and needed >= max(PANIC_RATIO * have, have + 2):
            kept.panic_until_s = now_s + PANIC_S
        idle_s = kind.starts_s if self._options.idle_s is None else self._options.idle_s
        kept.needed = [(at_s, number) for at_s, number in kept.needed if now_s - at_s < idle_s and number > needed]
        kept.needed.append((now_s, needed))
        panic = now_s < kept.panic_until_s
        new = self._since_s is None or now_s - self._since_s < idle_s
        lately = have if panic or new else max(number for _, number in kept.needed)
        kept.wanted = max(needed, min(have, lately))
        why = why_kind(kind, packed, stays=kept.wanted > needed, panic=panic)
        gone = surplus(runners, kept.wanted, self._options.drain_s_max)
        stay = there - len(gone)
        return KindPlan(kind.name, kept.wanted, stay, len(runners) - stay, why), gone
