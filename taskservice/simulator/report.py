"""What a run has shown, as plain numbers by name: what `--json` prints, gates look at, and tables and charts are made of.

Everything but the curves is from the end of the warm-up on. A wait is from the moment that a task might run to the beginning
of its first attempt; a task that has not begun by the end of the run counts with its wait so far.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from taskservice.core.effects import Refusal
from taskservice.core.resources import Amounts
from taskservice.core.table import QueueKey, TaskTable
from taskservice.core.types import TERMINAL_STATES, OutcomeKind, TaskState, TenantId
from taskservice.simulator.gates import judge
from taskservice.simulator.histogram import Histogram
from taskservice.simulator.meters import Meter
from taskservice.simulator.observer import Curves, Observer, Place
from taskservice.simulator.scenario import Scenario
from taskservice.simulator.world import World

SHOWN_MAX = 8
"""Tenants that have curves of their own: those that used most. The others have one together."""
OTHERS = "(others)"
PAGE_TASKS = 10_000

Report = dict[str, Any]

K = TypeVar("K", bound=StrEnum)


def report(scenario: Scenario, world: World, table: TaskTable) -> Report:
    """What the run has shown. The world has come to its end."""
    _count_waiting(world, table)
    observer, meters = world.observer, world.observer.meters
    measured_s = (scenario.duration - scenario.warm_up) / 1000
    used = sum(observer.used.values())
    made: Report = {
        "title": scenario.title,
        "seed": scenario.seed,
        "measured_s": measured_s,
        "tasks": _tasks(meters, table, measured_s),
        "fleet": _fleet(observer, world.machines.capacity, len(world.machines.nodes)) | _paid(world),
        "tenants": _tenants(world, used),
        "classes": _classes(observer, used),
        "functions": _groups(meters, lambda meter: meter.leaf.function, used),
        "downstreams": {
            one.name: _rounded(one.figures(world.end_us, observer.warm_up_us)) for one in world.downstreams
        },
        "curves": _curves(observer),
    }
    made["gates"] = [judge(gate, made)._asdict() for gate in scenario.parsed_gates()]
    return made


def _count_waiting(world: World, table: TaskTable) -> None:
    """Tasks that could have begun and have not are counted with their waits so far: else who starves would not be seen."""
    for leaf, state in table.counts():
        if state is TaskState.QUEUED:
            after: QueueKey | None = None
            while keys := table.next_queued(leaf, after, PAGE_TASKS):
                after = keys[-1]
                for task in table.load([key.no for key in keys]):
                    world.still_waits(task.id, task.payload)


def _tasks(meters: Sequence[Meter], table: TaskTable, measured_s: float) -> Report:
    left: dict[str, int] = {}
    for (_, state), count in table.counts().items():
        if state not in TERMINAL_STATES:
            left[state.value] = left.get(state.value, 0) + count
    ended = _sums(TERMINAL_STATES, (meter.counts.ended for meter in meters))
    return {
        "submitted": sum(meter.counts.submitted for meter in meters),
        "refused": _sums(Refusal, (meter.counts.refused for meter in meters)),
        "ended": ended,
        "attempts": _sums(OutcomeKind, (meter.counts.attempts for meter in meters)),
        "leases": sum(meter.counts.leases for meter in meters),
        "left": left,
        "ended_per_s": round(sum(ended.values()) / measured_s, 3),
        "wait_ms": _waits(meters),
    }


def _fleet(observer: Observer, capacity: Amounts, nodes: int) -> Report:
    return {
        "nodes_at_end": nodes,
        "capacity_at_end": dict(capacity),
        "utilisation": {
            name: round(observer.resources_used.get(name, 0.0) / room, 6)
            for name, room in observer.resources_room.items()
            if room
        },
    }


def _paid(world: World) -> Report:
    """What the autoscaler's machines came to, if there is one."""
    return {} if world.scaling is None else dict(world.scaling.figures(world.end_us))


def _tenants(world: World, used: float) -> Report:
    groups = _groups(world.observer.meters, lambda meter: meter.leaf.tenant, used)
    entitled = _by(1, world.observer.entitled)
    for name, figures in groups.items():
        figures["weight"] = world.plan.tenants[TenantId(name)].weight
        figures.update(_against(figures["share"], entitled.get(name, 0.0), used))
    return groups


def _classes(observer: Observer, used: float) -> Report:
    groups = _groups(observer.meters, lambda meter: meter.leaf.priority.value, used)
    entitled = _by(0, observer.entitled)
    for name, figures in groups.items():
        figures.update(_against(figures["share"], entitled.get(name, 0.0), used))
    return groups


def _against(share: float, entitled: float, used: float) -> Report:
    """A share beside what it was entitled to be, and how far it is off, in parts of all that was used."""
    fair = entitled / used if used else 0.0
    return {"entitled_share": round(fair, 6), "share_error": round(share - fair, 6)}


def _by(at: int, amounts: Mapping[Place, float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for place, amount in amounts.items():
        sums[place[at]] = sums.get(place[at], 0.0) + amount
    return sums


def _groups(meters: Sequence[Meter], name_of: Callable[[Meter], str], used: float) -> Report:
    """Figures by the meters' names, in the order in which these first come."""
    groups: dict[str, list[Meter]] = {}
    for meter in meters:
        groups.setdefault(name_of(meter), []).append(meter)
    made: Report = {}
    for name, group in groups.items():
        dominant_s = sum(meter.counts.used for meter in group)
        made[name] = {
            "share": round(dominant_s / used, 6) if used else 0.0,
            "dominant_s": round(dominant_s, 3),
            "submitted": sum(meter.counts.submitted for meter in group),
            "refused": sum(sum(meter.counts.refused.values()) for meter in group),
            "ended": _sums(TERMINAL_STATES, (meter.counts.ended for meter in group)),
            "wait_ms": _waits(group),
        }
    return made


def _waits(meters: Sequence[Meter]) -> Report:
    waits = Histogram()
    for meter in meters:
        waits.merge(meter.counts.waits)
    quantiles = {f"p{round(100 * ratio)}": waits.quantile(ratio) / 1000 for ratio in (0.5, 0.9, 0.99)}
    return {"count": waits.count, **quantiles, "max": waits.max / 1000}


def _sums(names: Iterable[K], counts: Iterable[Mapping[K, int]]) -> dict[str, int]:
    """The sum for each of these names, 0 as well: so that a gate can speak of it."""
    sums = dict.fromkeys(names, 0)
    for each in counts:
        for name, count in each.items():
            sums[name] += count
    return {name.value: count for name, count in sums.items()}


def _rounded(figures: Mapping[str, float | int | None]) -> Report:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}


def _curves(observer: Observer) -> Report:
    """A number for each interval, whose ends are in `seconds`."""
    of_tenants: dict[str, float] = {}
    for (_, tenant), amount in observer.used.items():
        of_tenants[tenant] = of_tenants.get(tenant, 0.0) + amount
    shown = sorted(of_tenants, key=of_tenants.__getitem__, reverse=True)[:SHOWN_MAX]
    return {
        "seconds": [t_us / 1e6 for t_us in observer.times_us],
        "shares": _shown(observer.shares, shown, together=True),
        "queued": _shown(observer.queues, shown, together=True),
        "wait_p50_ms": _shown(observer.waits_p50, shown),
        "wait_p99_ms": _shown(observer.waits_p99, shown),
        "utilisation": _shown(observer.utilisation, list(observer.utilisation.values)),
        "tasks_per_s": _shown(observer.throughput, list(observer.throughput.values)),
    }


def _shown(curves: Curves, names: Sequence[str], *, together: bool = False) -> dict[str, list[float]]:
    """The curves of these names, and the sum of the others if wanted."""
    empty = array("d", bytes(8 * curves.points))
    shown = {name: _points(curves.values.get(name, empty)) for name in names}
    others = [curve for name, curve in curves.values.items() if name not in shown]
    if together and others:
        shown[OTHERS] = _points(map(sum, zip(*others, strict=True)))
    return shown


def _points(values: Iterable[float]) -> list[float]:
    return [round(value, 6) for value in values]
