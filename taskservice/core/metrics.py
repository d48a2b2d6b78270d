"""What those who watch the service are told: the sums of `meters`, and how things stand. A look that changes nothing.

In steps, because queues and tenants may be many: between two of them the shard does other things. So the numbers of one
answer are not of one moment. They may be ahead of the journal by a commit.
"""

from __future__ import annotations

from collections.abc import Generator

from msgspec import Struct

from taskservice.core.histogram import HistogramData
from taskservice.core.meters import Owner, Series
from taskservice.core.state import State
from taskservice.core.types import FunctionName, RunnerId, TaskState, TenantId

STEP_MAX = 5_000
"""Queues or counts that are looked at in one step."""


class OwnerMetrics(Struct, frozen=True, array_like=True):
    """One tenant's tasks of one function, or all that are not shown apart."""

    tenant: TenantId
    function: FunctionName
    tasks: dict[TaskState, int]
    """In the table, by state."""
    oldest_s: float
    """For how long the first queued task has been due; 0: none is queued."""
    accepted: int
    duplicates: int
    refused: dict[str, int]
    attempts: dict[str, int]
    ended: dict[TaskState, int]
    dead: dict[str, int]
    waits: HistogramData
    runs: HistogramData


class WindowMetrics(Struct, frozen=True, array_like=True):
    """A downstream's window."""

    name: str
    limit: int
    in_flight: int


class RunnerMetrics(Struct, frozen=True, array_like=True):
    """A runner, and what its leases take of it."""

    runner: RunnerId
    node: str
    draining: bool
    leases: int
    capacity: dict[str, int]
    used: dict[str, int]


class ShardMetrics(Struct, frozen=True, array_like=True):
    """All that the core tells."""

    epoch: int
    owners: tuple[OwnerMetrics, ...]
    windows: tuple[WindowMetrics, ...]
    runners: tuple[RunnerMetrics, ...]
    queues: int
    """Those that have tasks."""
    operations: int
    """Bulk operations under way."""


class ShellMetrics(Struct, frozen=True, array_like=True):
    """What the dispatcher tells of its journal and of itself."""

    commits: HistogramData
    """How long appends took."""
    segments: HistogramData
    """About how many bytes they had."""
    pending_records: int
    """Records that are in no commit yet."""
    waited_s: float
    """How long the oldest append under way has been so."""
    turns: HistogramData
    """How long turns of the dispatcher's loop took."""
    waits: int
    """Callers that wait for a task to end."""


class MetricsAnswer(Struct, frozen=True, array_like=True):
    """What a dispatcher tells."""

    shard: ShardMetrics
    shell: ShellMetrics


class _Standing:
    """How an owner's tasks stand."""

    __slots__ = ("oldest_ms", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[TaskState, int] = dict.fromkeys(TaskState, 0)
        self.oldest_ms: int | None = None


def gather(state: State, now_ms: int) -> Generator[None, None, ShardMetrics]:
    """The answer; each step takes about as long as `STEP_MAX` queues do."""
    standing: dict[Owner, _Standing] = {}
    yield from _count(state, standing)
    yield from _age(state, standing)
    series = state.meters.all()
    owners = dict.fromkeys([*series, *standing])
    windows = list(state.turns.gates.downstreams.windows.items())[: state.meters.owners_max]
    return ShardMetrics(
        state.epoch,
        tuple(_owner(each, series.get(each), standing.get(each), now_ms) for each in owners),
        tuple(WindowMetrics(name, window.limit, window.in_flight) for name, window in windows),
        tuple(
            RunnerMetrics(each.id, each.node, each.draining, len(each.leases), dict(each.capacity), dict(each.used))
            for each in state.pool.runners.values()
        ),
        len(state.queues),
        len(state.operations.under_way),
    )


def _count(state: State, standing: dict[Owner, _Standing]) -> Generator[None, None, None]:
    seen = 0
    for tenant in list(state.tenants):
        totals = state.table.totals(tenant)
        for (function, task_state), count in totals.items():
            of = _of(state, standing, tenant, function)
            of.tasks[task_state] += count
        seen += 1 + len(totals)
        if seen >= STEP_MAX:
            seen = 0
            yield


def _age(state: State, standing: dict[Owner, _Standing]) -> Generator[None, None, None]:
    for at, queue in enumerate(list(state.queues.values()), 1):
        if queue.head:
            of = _of(state, standing, queue.leaf.tenant, queue.leaf.function)
            due_ms = queue.head[0].due_ms
            if of.oldest_ms is None or due_ms < of.oldest_ms:
                of.oldest_ms = due_ms
        if at % STEP_MAX == 0:
            yield


def _of(state: State, standing: dict[Owner, _Standing], tenant: TenantId, function: FunctionName) -> _Standing:
    owner = state.meters.label(tenant, function)
    found = standing.get(owner)
    if found is None:
        found = standing[owner] = _Standing()
    return found


def _owner(owner: Owner, series: Series | None, standing: _Standing | None, now_ms: int) -> OwnerMetrics:
    series, standing = series or Series(), standing or _Standing()
    return OwnerMetrics(
        *owner,
        standing.tasks,
        0.0 if standing.oldest_ms is None else max(0, now_ms - standing.oldest_ms) / 1000,
        series.accepted,
        series.duplicates,
        dict(series.refused),
        dict(series.attempts),
        dict(series.ended),
        dict(series.dead),
        series.waits.data(),
        series.runs.data(),
    )
