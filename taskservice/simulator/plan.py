"""From what a scenario states to what a world runs: tenants and functions for the core, and the sources of work.

Each source draws from a generator of its own, seeded by the scenario's seed and the source's place. So a scenario with
other weights, or another fleet, has the same tasks with the same durations at the same times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, takewhile
from pathlib import Path
from random import Random

from taskservice.core.resources import amounts
from taskservice.core.specs import FunctionSpec, Tenant
from taskservice.core.types import FunctionName, Leaf, OutcomeKind, TenantId
from taskservice.errors import RequestError
from taskservice.simulator.meters import Meter
from taskservice.simulator.parts import FunctionOptions, Work
from taskservice.simulator.published import generate
from taskservice.simulator.scenario import Scenario
from taskservice.simulator.sources import Source
from taskservice.simulator.traces import Trace, read


@dataclass(frozen=True, slots=True)
class Handler:
    """A function, and how its attempts go."""

    spec: FunctionSpec
    failures: tuple[tuple[float, OutcomeKind], ...]
    """Outcomes, each with the ratio of attempts that end so or like one before it."""
    downstream: str | None


@dataclass(slots=True)
class Plan:
    """What a world runs."""

    tenants: dict[TenantId, Tenant] = field(default_factory=dict)
    handlers: dict[FunctionName, Handler] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)

    def add_tenant(self, name: str) -> TenantId:
        """There is such a tenant, one as any other if the scenario does not name it."""
        id = TenantId(name)
        self.tenants.setdefault(id, Tenant(id))
        return id

    def add_handler(self, name: str, options: FunctionOptions) -> Handler:
        """There is such a function: as the scenario states it, or else with these options."""
        handler = self.handlers.get(FunctionName(name))
        if handler is None:
            ratios = accumulate(options.failures.values())
            failures = tuple(zip(ratios, options.failures, strict=True))
            handler = Handler(options.spec(name), failures, options.downstream)
            self.handlers[handler.spec.name] = handler
        return handler

    def meter(self, source: Source) -> Meter:
        """What counts what becomes of the source's work."""
        leaf = Leaf(source.tenant, source.function, source.priority)
        return Meter(leaf, amounts(self.handlers[source.function].spec.resources))


def plan(scenario: Scenario, folder: Path) -> Plan:
    """What the scenario means; traces are read from below `folder`. Raises RequestError if one cannot be."""
    made = Plan()
    for group in scenario.tenants:
        made.tenants.update((tenant.id, tenant) for tenant in group.structs())
    for function in scenario.functions:
        made.add_handler(function.name, function)
    for number, work in enumerate(scenario.workload):
        _add_work(made, scenario, work, number)
    for number, trace in enumerate(scenario.traces):
        _add_trace(made, scenario, trace, folder, Random(f"{scenario.seed}/trace/{number}"))
    if scenario.generated is not None:
        _add_generated(made, scenario, Random(f"{scenario.seed}/generated"))
    return made


def _add_work(made: Plan, scenario: Scenario, work: Work, number: int) -> None:
    function = next(function for function in scenario.functions if function.name == work.function)
    handler = made.handlers[FunctionName(function.name)]
    until_us = (scenario.duration if work.ends is None else min(work.ends, scenario.duration)) * 1000
    groups = [group for group in scenario.tenants if group.name in work.groups]
    for tenant in (tenant for group in groups for tenant in group.structs()):
        rng = Random(f"{scenario.seed}/source/{number}/{tenant.id}")
        times: Iterator[int]
        closed, cron = work.arrivals.closed, work.arrivals.cron
        starts_us = work.starts * 1000
        if cron is not None:
            times, thinks = iter(()), None
        elif closed is None:
            times = work.arrivals.only.times_us(rng, starts_us, until_us)
            thinks = None
        else:
            thinks = closed.thinks.distribution.sampler(rng)
            times = iter(sorted(starts_us + thinks() for _ in range(closed.clients)))
        made.sources.append(
            Source(
                tenant.id,
                handler.spec.name,
                work.priority or handler.spec.priority,
                function.takes.distribution.sampler(Random(rng.getrandbits(64))),
                times,
                work.tasks if cron is None else cron.schedules,
                work.delay * 1000,
                thinks,
                until_us,
                None if work.keys is None else partial(_key, Random(rng.getrandbits(64)), work.keys),
                None if cron is None else cron.at,
            )
        )


def _key(rng: Random, keys: int) -> str:
    return f"k{rng.randrange(keys)}"


def _add_trace(made: Plan, scenario: Scenario, trace: Trace, folder: Path, rng: Random) -> None:
    takes_of = {function.name: function.takes.distribution for function in scenario.functions}
    for recorded in read(trace, folder, rng):
        handler = made.add_handler(recorded.function, trace.functions)
        takes = recorded.takes
        if takes is None and recorded.function in takes_of:
            takes = takes_of[recorded.function].sampler(Random(rng.getrandbits(64)))
        if takes is None:
            message = (
                f"How long does {recorded.function!r} take? Neither the trace says so, nor a function of that name."
            )
            raise RequestError(message, code="bad_trace")
        priority = trace.priority or handler.spec.priority
        tenant = made.add_tenant(recorded.tenant)
        times = recorded.times
        if trace.ends is not None:
            times = takewhile((trace.ends * 1000).__gt__, times)
        made.sources.append(Source(tenant, handler.spec.name, priority, takes, times))


def _add_generated(made: Plan, scenario: Scenario, rng: Random) -> None:
    spec = scenario.generated
    assert spec is not None
    for function in generate(spec, rng, scenario.duration * 1000):
        handler = made.add_handler(function.name, spec.options)
        tenant = made.add_tenant(function.app)
        priority = handler.spec.priority
        made.sources.append(Source(tenant, handler.spec.name, priority, function.takes, function.times))
