"""What a scenario says of an autoscaler: its policy, and the machines that it may start.

autoscaler:
policy: backlog                                   or queue_length, utilisation: see `autoscaler/references.py`
machines: [{name: node, cpus: 8, max: 40, starts_in: 60s}]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from taskservice.autoscaler.kinds import Kind, ScaleOptions, Shape
from taskservice.autoscaler.plan import Policy
from taskservice.autoscaler.policy import BacklogPolicy
from taskservice.autoscaler.references import QueueLength, Utilisation
from taskservice.core.resources import amounts
from taskservice.simulator.fields import Count, Described, DurationMs, PositiveMs
from taskservice.simulator.options import settings_of
from taskservice.simulator.parts import Machine, Name


class ScaledMachine(Machine):
    """A kind of machine that may be started."""

    name: Name = "node"
    min: Annotated[int, Field(ge=0)] = 0
    max: Count = 10
    starts_in: DurationMs = 60_000
    price_per_h: Annotated[float, Field(ge=0)] = 1.0
    spot: bool = False

    @property
    def kind(self) -> Kind:
        return Kind(
            self.name,
            tuple(sorted(amounts(self.amount).items())),
            machines_min=self.min,
            machines_max=self.max,
            price_per_h=self.price_per_h,
            starts_s=self.starts_in / 1000,
            spot=self.spot,
        )


class Autoscaler(Described):
    """Who decides how many machines there are."""

    policy: Literal["backlog", "queue_length", "utilisation"] = "backlog"
    interval: PositiveMs = 1_000
    machines: list[ScaledMachine]
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the service's own policy, by their names in `ScaleOptions`."""

    @field_validator("machines")
    @classmethod
    def _some(cls, given: list[ScaledMachine]) -> list[ScaledMachine]:
        if not given:
            raise ValueError("there has to be a kind of machine")
        return given

    @field_validator("options")
    @classmethod
    def _known(cls, given: dict[str, Any]) -> dict[str, Any]:
        settings_of(ScaleOptions, given, omit=("kinds",))
        return given

    def made(self) -> Policy:
        """The policy, at its beginning."""
        kinds = tuple(machine.kind for machine in self.machines)
        if self.policy == "backlog":
            given = settings_of(ScaleOptions, self.options, omit=("kinds",))
            return BacklogPolicy(_with_kinds(given, kinds))
        if self.policy == "queue_length":
            return QueueLength(kinds[0], Shape((("CPU", 1000),)))
        return Utilisation(kinds[0])


def _with_kinds(options: ScaleOptions, kinds: tuple[Kind, ...]) -> ScaleOptions:
    values = {name: getattr(options, name) for name in ScaleOptions.__struct_fields__}
    return ScaleOptions(**{**values, "kinds": kinds})
