"""What an autoscaler asks a shard, and what it is told: how much work waits, what of it may run at all, and what the runners do."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.types import FunctionName, RunnerId, TenantId


class BacklogAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know what machines would be good for."""

    ref: int


class Cap(Struct, frozen=True):
    """A gate that bounds how much of some work may run at once, however many machines there are."""

    gate: str
    """Its name, as users know it: `tenant.running_max`, `downstream.window`."""
    of: str
    """Whose it is: a tenant, a function, a downstream, a class."""
    tasks_max: int | None = None
    """Tasks that it lets run at once."""
    per_s: float | None = None
    """Tasks that it lets start in a second."""
    amounts: tuple[tuple[str, int], ...] = ()
    """What they may take at once, as in `Quota`."""


class Work(Struct, frozen=True):
    """What waits and runs of the leaves that differ in their keys only."""

    tenant: TenantId
    function: FunctionName
    name: str
    """Of all works the only one that is called so."""
    need: tuple[tuple[str, int], ...]
    """What a lease of it takes of a machine, as `Demand.need`."""
    labels: tuple[tuple[str, str], ...]
    """What the machine must have among its labels."""
    queued: int
    """Tasks that only wait for a place, or for one of `caps`."""
    held: tuple[tuple[str, int], ...]
    """Gates of its own that are closed, and how many tasks wait there: no machine helps them."""
    each_s: float
    """How long a task keeps a place, about; while that is not known, twice what one has lasted by now."""
    known: bool
    """Whether that was measured."""
    concurrency: int
    """Tasks that run in a place at once."""
    places: int
    """Leases that it has now."""
    places_max: int | None
    """By its keys, of which each may run so many at once."""
    fills: bool
    """It makes do with what others leave: no machine is started for it, nor kept."""
    caps: tuple[int, ...]
    """Gates that it shares with others: their places in `BacklogAnswer.caps`, the narrowest first."""


class RunnerUse(Struct, frozen=True):
    """What a runner has and does."""

    id: RunnerId
    node: str
    capacity: tuple[tuple[str, int], ...]
    labels: tuple[tuple[str, str], ...]
    draining: bool
    leases: int
    busy_ms: int
    """How long it is expected to take until all of them are over."""


class BacklogAnswer(Struct, frozen=True):
    """What waits, what bounds it, and what there is."""

    works: tuple[Work, ...]
    caps: tuple[Cap, ...]
    runners: tuple[RunnerUse, ...]
    off_peak: bool
    """Whether it is off-peak, by the hours that are set."""


class KindPlan(Struct, frozen=True):
    """Machines of one kind."""

    kind: str
    wanted: int
    """That take work."""
    there: int
    """That have joined and take work."""
    leaving: int
    """That take no more, and are there until what they run is over: no substitute for those that are wanted."""
    why: str


class ShapePlan(Struct, frozen=True):
    """Places for work of one shape."""

    shape: str
    places: int
    why: str
