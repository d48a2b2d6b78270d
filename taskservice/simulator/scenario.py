"""A scenario file, read and checked: what there is, what comes, and what is expected of the report.

`docs/simulator.md` explains each word. Nothing is read here but the file itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import yaml
from msgspec import structs
from pydantic import Field, ValidationError, field_validator, model_validator

from taskservice.core.limits import Limits
from taskservice.core.specs import DownstreamPolicy, FunctionPolicy
from taskservice.errors import RequestError
from taskservice.simulator import gates
from taskservice.simulator.faults import Faults
from taskservice.simulator.fields import Described, DurationMs, PositiveMs
from taskservice.simulator.gates import Gate
from taskservice.simulator.options import settings_of
from taskservice.simulator.overrides import changed
from taskservice.simulator.parts import Downstream, Function, FunctionOptions, Nodes, Paces, Tenants, Work
from taskservice.simulator.policies import Said
from taskservice.simulator.published import Generated
from taskservice.simulator.scaled import Autoscaler
from taskservice.simulator.traces import Trace

SAMPLES = 120
"""Points of a run's curves, unless the scenario says how far they are apart."""

OURS = ("retention_s", "retention_failed_s", "dedup_window_s", "history_keep_s")
"""Limits of the core that are not the scenario's: a simulated task leaves when it has ended, so that memory is bounded."""


class Service(Described):
    """What surrounds the core."""

    commit: Paces = Paces.model_validate("5ms")
    """How long a group commit takes, and how far two turns of the dispatcher are apart while there is work."""
    lease_start: DurationMs = 4
    """From the moment that a lease has its resources to its first attempt."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Limits of the core, by their names among the service's settings."""

    @field_validator("settings")
    @classmethod
    def _known(cls, given: dict[str, Any]) -> dict[str, Any]:
        settings_of(Limits, given, omit=OURS)
        return given

    def limits(self) -> Limits:
        """What the core is bounded by."""
        return structs.replace(settings_of(Limits, self.settings, omit=OURS), **dict.fromkeys(OURS, 0.0))


class Scenario(Described):
    """All that a run is made of."""

    title: str
    about: str = ""
    seed: int = 1
    duration: PositiveMs
    warm_up: DurationMs = 0
    """From the beginning; what happens then is not in the report, but in its curves."""
    sample: PositiveMs | None = None
    """How far two points of the curves are apart."""
    service: Service = Service()
    fleet: list[Nodes] = Field(default_factory=list)
    autoscaler: Autoscaler | None = None
    tenants: list[Tenants] = Field(default_factory=list)
    functions: list[Function] = Field(default_factory=list)
    downstreams: list[Downstream] = Field(default_factory=list)
    workload: list[Work] = Field(default_factory=list)
    traces: list[Trace] = Field(default_factory=list)
    generated: Generated | None = None
    policies: list[Said] = Field(default_factory=list)
    """What operators say in the course of it."""
    faults: Faults = Faults()
    gates: list[str] = Field(default_factory=list)

    @field_validator("gates")
    @classmethod
    def _gates(cls, texts: list[str]) -> list[str]:
        for text in texts:
            gates.parse(text)
        return texts

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.warm_up >= self.duration:
            raise ValueError("warm_up cannot be as long as the whole duration")
        if not self.fleet and self.autoscaler is None:
            raise ValueError("fleet: there has to be a node")
        if not self.workload and not self.traces and self.generated is None:
            raise ValueError("nothing comes: give workload, traces or generated")
        _once("tenants", (tenant.id for group in self.tenants for tenant in group.structs()))
        _once("functions", (function.name for function in self.functions))
        downstreams = _once("downstreams", (downstream.name for downstream in self.downstreams))
        for function in self._functions():
            if function.downstream is not None:
                _one_of("downstream", function.downstream, downstreams)
        for policy in (said.policy for said in self.policies):
            if isinstance(policy, FunctionPolicy):
                _one_of("function", policy.name, [function.name for function in self.functions])
            elif isinstance(policy, DownstreamPolicy):
                _one_of("downstream", policy.name, downstreams)
        groups = _once("tenants", (group.name for group in self.tenants))
        for work in self.workload:
            _one_of("function", work.function, [function.name for function in self.functions])
            for group in work.groups:
                _one_of("tenant", group, groups)
        return self

    def _functions(self) -> list[FunctionOptions]:
        generated = [] if self.generated is None else [self.generated.options]
        return [*self.functions, *(trace.functions for trace in self.traces), *generated]

    @property
    def sample_ms(self) -> int:
        return self.sample or max(1, self.duration // SAMPLES)

    def parsed_gates(self) -> list[Gate]:
        return [gates.parse(text) for text in self.gates]


def _once(what: str, names: Iterable[str]) -> list[str]:
    counts = Counter(names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{what}: {twice[0]!r} is there twice")
    return list(counts)


def _one_of(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise ValueError(f"there is no {what} {name!r}; there is: {', '.join(known) or 'none'}")


def load_scenario(path: Path, changes: Iterable[str] = ()) -> Scenario:
    """The scenario that a YAML file states, with these changes (`PATH=VALUE`) to it. Raises RequestError, which names each
    mistake and where it is."""
    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"The scenario {path} cannot be read: {error}", code="bad_scenario") from error
    return parse_scenario(changed(stated, changes), str(path))


def parse_scenario(stated: object, name: str = "this") -> Scenario:
    """As `load_scenario`, from what the file holds."""
    try:
        return Scenario.model_validate(stated)
    except ValidationError as error:
        lines = "\n".join(_complaints(error))
        raise RequestError(f"{name} is not a scenario:", code="bad_scenario", detail=lines) from error


def _complaints(error: ValidationError) -> list[str]:
    """A line for each mistake: where it is, what is wrong, and what is written there if that is short."""
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        written = "" if isinstance(item["input"], dict | list) else f" (it is {item['input']!r:.60})"
        lines.append(f"{place}: {message}{written}" if place else message)
    return lines
