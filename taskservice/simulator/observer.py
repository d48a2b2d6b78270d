"""What is looked at while a world runs, at even distances: shares and entitlement, the fleet's use, queues, waits.

What a tenant asked for between two looks (in an interval) is what it used, and what was left in its queues, at what its tasks
take on average; but no more than it used if it runs as many tasks as it may.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from taskservice.core.resources import Amounts
from taskservice.core.table import TaskTable
from taskservice.core.turns import CLASS_WEIGHTS
from taskservice.core.types import Leaf, Priority, TaskState, TenantId
from taskservice.simulator.agenda import Agenda
from taskservice.simulator.downstream import Called
from taskservice.simulator.histogram import Histogram
from taskservice.simulator.machines import Machines
from taskservice.simulator.meters import Meter
from taskservice.simulator.plan import Plan
from taskservice.simulator.scenario import Scenario
from taskservice.simulator.shares import Demand, entitled

Place = tuple[Priority, TenantId]
K = TypeVar("K")


class Curves:
    """A number for each name in each interval; 0 where a name was not spoken of."""

    def __init__(self) -> None:
        self.points = 0
        self.values: dict[str, array[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """The numbers of one more interval."""
        for name, value in values.items():
            curve = self.values.get(name)
            if curve is None:
                curve = self.values[name] = array("d", bytes(8 * self.points))
            curve.append(value)
        self.points += 1
        for curve in self.values.values():
            if len(curve) < self.points:
                curve.append(0.0)


class Observer:
    """The looks at one world, and what they add up to since the end of the warm-up."""

    def __init__(
        self,
        scenario: Scenario,
        plan: Plan,
        meters: Sequence[Meter],
        machines: Machines,
        downstreams: Sequence[Called],
        table: TaskTable,
    ) -> None:
        self.meters = meters
        self.warm_up_us = scenario.warm_up * 1000
        self.sample_us = scenario.sample_ms * 1000
        self._end_us = scenario.duration * 1000
        self._tenants = plan.tenants
        self._machines = machines
        self._downstreams = downstreams
        self._table = table
        self.class_weights = dict(CLASS_WEIGHTS)
        """As operators have said by now."""
        self._flushed_us = 0
        self._sampled_us = 0
        self._before = {"submitted": 0, "ended": 0}
        """Tasks, as counted at the last look."""
        self._interval: dict[Place, float] = {}
        """Used in this interval, in seconds of the whole fleet's dominant resource."""
        self._interval_used: dict[str, float] = {}
        self._interval_room: dict[str, float] = {}
        """By resource, times seconds: used, and there to be used."""
        self.used: dict[Place, float] = {}
        self.entitled: dict[Place, float] = {}
        self.resources_used: dict[str, float] = {}
        self.resources_room: dict[str, float] = {}
        self.times_us = array("q")
        """When the intervals were over."""
        self.shares = Curves()
        """Of what was used, by tenant."""
        self.queues = Curves()
        """Tasks queued, by tenant."""
        self.waits_p50 = Curves()
        self.waits_p99 = Curves()
        """Of first attempts, in milliseconds, by tenant."""
        self.utilisation = Curves()
        """By resource."""
        self.throughput = Curves()
        """Tasks in a second."""

    def plan(self, agenda: Agenda) -> None:
        """It will look at even distances, at the end of the warm-up, and at the end."""
        if self.warm_up_us:
            agenda.at(self.warm_up_us, self._warm, None)
        for t_us in range(self.sample_us, self._end_us, self.sample_us):
            agenda.at(t_us, self._look, None)
        agenda.at(self._end_us, self._look, None)

    def flush(self, t_us: int) -> None:
        """What was used up to now is reckoned with the fleet as it is until now."""
        seconds = (t_us - self._flushed_us) / 1e6
        self._flushed_us = t_us
        capacity = self._machines.capacity
        for name, amount in capacity.items():
            self._interval_room[name] = self._interval_room.get(name, 0.0) + amount * seconds
        for meter in self.meters:
            area_us = meter.take_area(t_us)
            if not area_us:
                continue
            place = (meter.leaf.priority, meter.leaf.tenant)
            used = area_us / 1e6 * dominant(meter.need, capacity)
            self._interval[place] = self._interval.get(place, 0.0) + used
            meter.counts.used += used
            for name, amount in meter.need.items():
                self._interval_used[name] = self._interval_used.get(name, 0.0) + amount * area_us / 1e6

    def _warm(self, t_us: int, _: None) -> None:
        """What was before does not count."""
        self._look(t_us, None)
        for meter in self.meters:
            meter.begin_anew()
        for called in self._downstreams:
            called.reset(t_us)
        for sums in (self.used, self.entitled, self.resources_used, self.resources_room):
            sums.clear()
        self._before = dict.fromkeys(self._before, 0)

    def _look(self, t_us: int, _: None) -> None:
        """An interval is over."""
        if t_us == self._sampled_us:
            return
        self.flush(t_us)
        queued, running = self._counted()
        self._share(queued, running)
        self._draw(t_us, queued)
        self._sampled_us = t_us
        for sums in (self._interval, self._interval_used, self._interval_room):
            sums.clear()

    def _counted(self) -> tuple[dict[Leaf, int], dict[TenantId, int]]:
        """Tasks that are queued, and such that run."""
        queued: dict[Leaf, int] = {}
        running: dict[TenantId, int] = {}
        for (leaf, state), count in self._table.counts().items():
            if state is TaskState.QUEUED:
                queued[leaf] = count
            elif state is TaskState.RUNNING:
                running[leaf.tenant] = running.get(leaf.tenant, 0) + count
        return queued, running

    def _share(self, queued: Mapping[Leaf, int], running: Mapping[TenantId, int]) -> None:
        """The interval's use and entitlement are added up."""
        asked = dict(self._interval)
        costs = {meter.leaf[:3]: cost for meter in self.meters if (cost := meter.mean_used) is not None}
        for leaf, count in queued.items():
            tenant = self._tenants[leaf.tenant]
            if tenant.running_max is None or running.get(tenant.id, 0) < tenant.running_max:
                place = (leaf.priority, leaf.tenant)
                asked[place] = asked.get(place, 0.0) + costs.get(leaf[:3], float("inf")) * count
        demands = {
            place: Demand(self._interval.get(place, 0.0), amount, self._tenants[place[1]].weight)
            for place, amount in asked.items()
        }
        for place, amount in entitled(demands, self.class_weights).items():
            self.entitled[place] = self.entitled.get(place, 0.0) + amount
        _add(self.used, self._interval)
        _add(self.resources_used, self._interval_used)
        _add(self.resources_room, self._interval_room)

    def _draw(self, t_us: int, queued: Mapping[Leaf, int]) -> None:
        """The curves have a point more."""
        self.times_us.append(t_us)
        total = sum(self._interval.values())
        self.shares.add(_sums((place[1], amount / total) for place, amount in self._interval.items() if total))
        self.queues.add(_sums((leaf.tenant, count) for leaf, count in queued.items()))
        waits: dict[str, Histogram] = {}
        for meter in self.meters:
            recent = meter.take_waits()
            if recent.count:
                waits.setdefault(meter.leaf.tenant, Histogram()).merge(recent)
        self.waits_p50.add({tenant: found.quantile(0.5) / 1000 for tenant, found in waits.items()})
        self.waits_p99.add({tenant: found.quantile(0.99) / 1000 for tenant, found in waits.items()})
        room = self._interval_room
        self.utilisation.add({name: self._interval_used.get(name, 0.0) / room[name] for name in room if room[name]})
        counted = {
            "submitted": sum(meter.counts.submitted for meter in self.meters),
            "ended": sum(sum(meter.counts.ended.values()) for meter in self.meters),
        }
        seconds = (t_us - self._sampled_us) / 1e6
        self.throughput.add({name: (count - self._before[name]) / seconds for name, count in counted.items()})
        self._before = counted


def dominant(need: Mapping[str, int], capacity: Amounts) -> float:
    """What the lease takes of the fleet, by the resource of which it takes most (the dominant one)."""
    return max((amount / capacity[name] for name, amount in need.items() if capacity.get(name)), default=0.0)


def _add(sums: dict[K, float], amounts: Mapping[K, float]) -> None:
    for key, amount in amounts.items():
        sums[key] = sums.get(key, 0.0) + amount


def _sums(amounts: Iterable[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, amount in amounts:
        sums[name] = sums.get(name, 0.0) + amount
    return sums
