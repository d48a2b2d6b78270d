"""What a scenario is made of: machines, tenants, functions, downstreams, and work."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, RootModel, model_validator

from taskservice.core.specs import Bundle, FunctionSpec, Resources, Tenant
from taskservice.core.types import FunctionName, OutcomeKind, Priority, TenantId
from taskservice.simulator.arrivals import Arrivals
from taskservice.simulator.distributions import Takes
from taskservice.simulator.fields import Count, Described, DurationMs, PositiveMs, Ratio, SizeBytes
from taskservice.simulator.options import resources_of, struct_of

Name = Annotated[str, Field(pattern=r"^[^\s/]{1,100}$")]
"""Without spaces and slashes, so that a gate can speak of it."""
Quantity = Annotated[float, Field(ge=0, le=1e9)]

NOT_DRAWN = (OutcomeKind.SUCCEEDED, OutcomeKind.TIMEOUT, OutcomeKind.LOST)
"""Outcomes that no ratio is given for: they come of everything else, of durations, and of nodes."""


class Machine(Described):
    """A quantity of machine, in the words of `@app.task`."""

    cpus: Quantity = 1.0
    gpus: Quantity = 0.0
    memory: SizeBytes = 0
    resources: dict[str, Quantity] = Field(default_factory=dict)

    @property
    def amount(self) -> Resources:
        return resources_of(self.cpus, self.gpus, self.memory, self.resources)


class Nodes(Machine):
    """Some nodes that are alike and have the same fate."""

    name: Name = "node"
    nodes: Count = 1
    joins: DurationMs = 0
    leaves: DurationMs | None = None
    """Then they get no more leases, and each is gone when those that it has are over."""
    lost: DurationMs | None = None
    """Then they are gone with all that they run."""
    noticed_after: DurationMs = 15_000
    """How long a lost node is not missed."""

    @model_validator(mode="after")
    def _lives(self) -> Self:
        if self.leaves is not None and self.lost is not None:
            raise ValueError("nodes leave or are lost: say one of the two")
        end = self.leaves if self.leaves is not None else self.lost
        if end is not None and end <= self.joins:
            raise ValueError("their end is before they join")
        return self


class Tenants(Described):
    """A tenant, or `count` that are alike: NAME-1, NAME-2 ... What else is said is an option of the core's `Tenant`."""

    model_config = ConfigDict(extra="allow")

    name: Name
    count: Count | None = None

    @model_validator(mode="after")
    def _options(self) -> Self:
        if self._as(self.name).weight <= 0:
            raise ValueError("weight: a tenant has some")
        return self

    def structs(self) -> list[Tenant]:
        """As the core knows them."""
        if self.count is None:
            return [self._as(self.name)]
        return [self._as(f"{self.name}-{number}") for number in range(1, self.count + 1)]

    def _as(self, name: str) -> Tenant:
        return struct_of(Tenant, self.model_extra or {}, id=TenantId(name))


class FunctionOptions(Machine):
    """How attempts of a function go. What else is said is an option of the core's `FunctionSpec`."""

    model_config = ConfigDict(extra="allow")

    failures: dict[Annotated[OutcomeKind, Field(strict=False)], Ratio] = Field(default_factory=dict)
    """How many of its attempts end so."""
    downstream: Name | None = None
    """What each attempt calls while it lasts."""

    @model_validator(mode="after")
    def _outcomes(self) -> Self:
        for kind in self.failures:
            if kind in NOT_DRAWN:
                raise ValueError(f"{kind.value} cannot be drawn: it comes of the rest")
        if sum(self.failures.values()) > 1:
            raise ValueError("the failures come to more than all attempts")
        self.spec("any")
        return self

    def spec(self, name: str) -> FunctionSpec:
        """As the core knows it."""
        options = self.model_extra or {}
        return struct_of(
            FunctionSpec,
            options,
            omit=("result_schema", "doc"),
            name=FunctionName(name),
            bundle=Bundle("simulated", "app", ""),
            payload_schema=b"{}",
            resources=self.amount,
            downstream=self.downstream or "",
            is_async=options.get("concurrency", 1) != 1,
        )


class Function(FunctionOptions):
    """A function, and how long its attempts take."""

    name: Name
    takes: Takes


class Steps(RootModel[dict[DurationMs, Quantity]]):
    """A number that changes: from each of these moments on it is that."""

    @model_validator(mode="before")
    @classmethod
    def _always(cls, given: object) -> object:
        return given if isinstance(given, dict | Steps) else {0: given}

    @model_validator(mode="after")
    def _begins(self) -> Self:
        if 0 not in self.root:
            raise ValueError("it is not said what it is from 0s on")
        return self

    def steps(self) -> list[tuple[int, float]]:
        """(microseconds since the beginning, from then on), in order."""
        return [(ms * 1000, value) for ms, value in sorted(self.root.items())]


class Paces(RootModel[dict[DurationMs, PositiveMs]]):
    """A duration that changes, likewise."""

    @model_validator(mode="before")
    @classmethod
    def _always(cls, given: object) -> object:
        return given if isinstance(given, dict | Paces) else {0: given}

    @model_validator(mode="after")
    def _begins(self) -> Self:
        if 0 not in self.root:
            raise ValueError("it is not said what it is from 0s on")
        return self

    def steps(self) -> list[tuple[int, float]]:
        """(microseconds since the beginning, microseconds from then on), in order."""
        return [(ms * 1000, value * 1000.0) for ms, value in sorted(self.root.items())]


class Downstream(Described):
    """What functions call, and what throttles them above its capacity."""

    name: Name
    concurrent: Steps | None = None
    """Calls that it takes at a time."""
    per_s: Steps | None = None
    """Calls that it takes in a second, evenly spread."""
    refuses_in: DurationMs = 10
    """How long an attempt takes that it throttles."""
    retry_after: PositiveMs | None = None
    """What it tells those whom it throttles."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.concurrent is None and self.per_s is None:
            raise ValueError("give its capacity: concurrent, or per_s")
        return self


class Work(Described):
    """What a tenant hands over."""

    tenant: Name | list[Name]
    """Each of them does: a tenant, or all of a group."""
    function: Name
    arrivals: Arrivals
    priority: Priority | None = Field(None, strict=False)
    tasks: Count = 1
    """In each submit."""
    delay: DurationMs = 0
    """From the submit until it may run."""
    keys: Count | None = None
    """So many keys, of which each task has one by chance; for functions with a `key`."""
    starts: DurationMs = 0
    ends: DurationMs | None = None

    @property
    def groups(self) -> list[str]:
        return [self.tenant] if isinstance(self.tenant, str) else self.tenant
