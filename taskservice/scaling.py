"""What the setting `autoscaler` says: the kinds of machines that may be started for the service, and by what it is decided how many."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from taskservice.units import parse_bytes

Memory = Annotated[
    int, BeforeValidator(lambda value: parse_bytes(value) if isinstance(value, str) else value), Field(ge=0)
]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MachineKind(_Said):
    """Machines that are alike: a node type of Ray's autoscaler."""

    name: str = Field(min_length=1, description="What Ray calls the node type.")
    cpus: float = Field(1.0, ge=0, description="CPUs of one machine.")
    gpus: float = Field(0.0, ge=0, description="GPUs of one machine.")
    memory: Memory = Field(
        0, description="Memory of one machine, as Ray counts it; only tasks that ask for some need it."
    )
    resources: dict[str, float] = Field(default_factory=dict, description="What else it has for tasks to ask for.")
    labels: dict[str, str] = Field(default_factory=dict, description="Its labels in Ray's file, if it has any.")
    machines_min: int = Field(0, ge=0, description="So many are kept up.")
    machines_min_off_peak: int | None = Field(
        None, ge=0, description="So many in the off-peak windows; null: as otherwise."
    )
    machines_max: int = Field(10, ge=1, description="No more than so many.")
    price_per_h: float = Field(1.0, ge=0, description="What one costs in an hour, in any currency.")
    starts_s: float = Field(60.0, gt=0, description="Seconds from its request to its first task.")
    spot: bool = Field(False, description="Whether it is cheaper, and may be taken away.")


class AutoscalerSettings(_Said):
    """How many machines there are, and by what that is decided."""

    machines: tuple[MachineKind, ...] = Field(min_length=1, description="The kinds of machines that may be started.")
    wait_s: float = Field(
        1.0,
        gt=0,
        description="Seconds; of a hundred tasks 99 wait no longer for a machine while as much comes as usual.",
    )
    idle_s: float | None = Field(
        None, ge=0, description="Seconds that a machine is kept without need; null: as long as one takes to start."
    )
    drain_s_max: float = Field(
        60.0, ge=0, description="Seconds; a machine whose tasks are expected to take longer is not chosen to go."
    )
    price_per_h_max: float | None = Field(None, ge=0, description="What all of them may cost in an hour.")
    spot_ratio_max: float = Field(
        1.0, ge=0, le=1, description="Part of the machines above the floors that may be spot machines."
    )
    interval_s: float = Field(1.0, ge=0.1, description="Seconds between two looks at the backlog.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [kind.name for kind in self.machines]
        for kind in self.machines:
            if names.count(kind.name) > 1:
                raise ValueError(f"machines: {kind.name!r} is there twice")
            if not (kind.cpus or kind.gpus or kind.resources):
                raise ValueError(f"machines: {kind.name!r} has nothing that tasks could use")
            if kind.machines_min > kind.machines_max:
                raise ValueError(f"machines: {kind.name!r}: machines_min is above machines_max ({kind.machines_max})")
        return self
