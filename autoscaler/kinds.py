"""Kinds of machines that may be started, and by what it is decided how many."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from taskservice.core.backlog import RunnerUse
from taskservice.core.resources import times

GROUP_LABEL = "ray.io/node-group"
"""The label by which a machine says of which kind it is, where whoever has started it has set one."""

Pairs = tuple[tuple[str, int], ...]
Labels = tuple[tuple[str, str], ...]


class Shape(NamedTuple):
    """What a lease takes of a machine, and which machine that has to be: work of one shape may use the same places."""

    need: Pairs
    labels: Labels = ()

    def __str__(self) -> str:
        parts = [amount_text(name, value) for name, value in self.need]
        return ", ".join([*parts, *(f"{key}={value}" for key, value in self.labels)]) or "nothing"


class Kind(Struct, frozen=True):
    """Machines that are alike."""

    name: str
    capacity: Pairs
    """As in the core: thousandths, or bytes for memory."""
    labels: Labels = ()
    machines_min: int = 0
    machines_min_off_peak: int | None = None
    """In off-peak hours; None: as otherwise."""
    machines_max: int = 10
    price_per_h: float = 1.0
    starts_s: float = 60.0
    """From the request to the first task."""
    spot: bool = False
    """It is cheaper, and may be taken away."""

    def places(self, shape: Shape) -> int:
        """How many leases of that shape one of these machines has room for; 0: it does not suit."""
        own = dict(self.labels)
        if any(own.get(key) != value for key, value in shape.labels):
            return 0
        return times(dict(shape.need), dict(self.capacity))

    def unused(self, shape: Shape) -> int:
        """How many special resources it has that the shape does not ask for: GPUs are for who needs them."""
        asked = {name for name, _ in shape.need}
        return sum(name not in asked for name, _ in self.capacity if name not in {"CPU", "memory"})

    def floor(self, off_peak: bool) -> int:
        """So many are kept in any case."""
        return self.machines_min_off_peak if off_peak and self.machines_min_off_peak is not None else self.machines_min

    def owns(self, runner: RunnerUse) -> bool:
        """Whether the runner's machine is of this kind: as its group says; else by its labels, if the kind has some; else it is as large."""
        labels = dict(runner.labels)
        if labels.get(GROUP_LABEL):
            return labels[GROUP_LABEL] == self.name
        if self.labels:
            return all(labels.get(key) == value for key, value in self.labels)
        return _without_memory(runner.capacity) == _without_memory(self.capacity)


class ScaleOptions(Struct, frozen=True):
    """What the operator wants."""

    kinds: tuple[Kind, ...] = ()
    wait_s: float = 1.0
    """Of a hundred tasks, 99 are to wait no longer for a machine, as long as no more comes than usual."""
    idle_s: float | None = None
    """How long what is not needed is kept; None: as long as it takes to start one."""
    drain_s_max: float = 60.0
    """A machine whose tasks are expected to take longer than that is not chosen to go."""
    price_per_h_max: float | None = None
    """What all of them may cost together."""
    home: str = ""
    """The machine that the service itself is on: it is of no kind, and never goes."""
    spot_ratio_max: float = 1.0
    """Of the machines above the floors that could be spot machines, the part that may be."""


def amount_text(name: str, value: int) -> str:
    """An amount as people say it."""
    return f"{value / 2**30:g} GiB {name}" if name == "memory" else f"{value / 1000:g} {name}"


def _without_memory(capacity: Pairs) -> dict[str, int]:
    """What of a machine is said exactly: how much memory it has is measured."""
    return {name: amount for name, amount in capacity if name != "memory"}
