"""What goes out: views of the core's structs in the words of the API, and how each is made."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from starlette.responses import Response

from taskservice.core.effects import ItemStatus, StatusAnswer
from taskservice.core.follow_up import follow_up_id, function_after
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.specs import ApiKey, Tenant
from taskservice.core.types import PRESSED_LANES, TERMINAL_STATES, ErrorInfo, Hooks, Priority, Task, TaskState
from taskservice.core.versions import version_of
from taskservice.gateway.amounts import QuotaView, RateView, quota_view, rate_view
from taskservice.gateway.problems import ProblemDocument
from taskservice.gateway.times import iso


class ErrorView(Struct, frozen=True):
    """Why the last attempt ended badly."""

    reason: str
    message: str
    detail: str


class TaskView(Struct, frozen=True, kw_only=True):
    """A task. Times are ISO 8601 in UTC. `payload` and `result` are left out of listings without `values`."""

    id: str
    function: str
    tenant: str
    state: TaskState
    priority: Priority
    tags: dict[str, str]
    created_at: str
    due_at: str
    started_at: str | None
    ended_at: str | None
    expires_at: str | None
    """It ends if it has not started by then; null: never, or it has come back from an attempt."""
    deadline_at: str | None
    """When it is to have ended."""
    deadline_missed: bool
    """It has ended later than that, or has not ended though it is past."""
    off_peak: bool
    """It waits for off-peak hours or an idle pool, or has started in them; false: it has not, or does not any more, because its
    deadline is near."""
    off_peak_until: str | None
    """When it stops waiting for them, so as to meet its deadline; that may be put off. Null: it waits for as long as it takes."""
    paused_until: str | None
    """Of a paused task: when it is resumed by itself, if it is."""
    run: int
    attempt: int
    max_attempts: int
    crashes: int
    memory_bytes: int | None
    """What its next attempt asks for since it ran out of memory; null: what its function says."""
    preempted: int
    """How often it was stopped so that others got what is their own."""
    duration_ms: float | None
    error: ErrorView | None
    version: str | None
    """Of its app: what its last attempt ran, or what it stays on if it has not run; null: neither is known."""
    key: str | UnsetType = UNSET
    """Only if it has one: what its function counts running tasks by."""
    callback_url: str | UnsetType = UNSET
    """Only if it has one; what became of it is at /v1/tasks/{id}/deliveries."""
    on_success: str | UnsetType = UNSET
    on_failure: str | UnsetType = UNSET
    follow_up: str | UnsetType = UNSET
    """The id of the task that follows this one's end; only if one does."""
    payload: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    lost: dict[str, str] | UnsetType = UNSET
    """Only if `payload` or `result` cannot be shown because its object is gone or damaged: why."""
    duplicate: bool | UnsetType = UNSET
    """Only in the answer to a submit."""
    cancelling: bool | UnsetType = UNSET
    """Only, and true, of a task that runs and is cancelled when its attempt has ended; unless that succeeds."""


class TaskValues(NamedTuple):
    """What a whole view has besides: JSON texts, wherever they were."""

    payload: bytes | None = None
    result: bytes | None = None
    lost: Mapping[str, str] = MappingProxyType({})
    """Which of them are lost, and why."""


NO_VALUES = TaskValues()

_NO_HOOKS = Hooks()
_STARTED = (TaskState.RUNNING, *TERMINAL_STATES)


class TaskPage(Struct, frozen=True):
    """Tasks, newest first. `next_cursor` is null on the last page."""

    tasks: list[TaskView]
    next_cursor: str | None


class ItemView(Struct, frozen=True, omit_defaults=True):
    """What became of one item; `id` is null where it could not be read."""

    id: str | None
    status: ItemStatus
    error: ProblemDocument | None = None


class BatchView(Struct, frozen=True):
    """One result per item, in the order given."""

    results: list[ItemView]
    accepted: int
    duplicates: int
    refused: int


class ChangeView(Struct, frozen=True, kw_only=True):
    """One result per id, in the order given; and for how many it was done, under the name of what was done."""

    results: list[ItemView]
    cancelled: int | UnsetType = UNSET
    cancelling: int | UnsetType = UNSET
    """Those that run, and are cancelled when their attempts have ended."""
    paused: int | UnsetType = UNSET
    resumed: int | UnsetType = UNSET
    retried: int | UnsetType = UNSET
    deleted: int | UnsetType = UNSET
    refused: int


class OperationView(Struct, frozen=True, kw_only=True):
    """Something that is done to all tasks that pass a filter."""

    operation: str | None
    """Ask for its progress at /v1/operations/{operation}; null if there is nothing to ask for."""
    kind: OperationKind
    dry_run: bool
    matched: int | None
    """Tasks that passed the filter when it began; null while that is not known."""
    changed: int
    """Of them, those that it has done so far."""
    running: int
    """Tasks that ran when it began and passed the filter otherwise: they are left alone."""
    done: bool
    begun_at: str
    done_at: str | None


class LogLineView(Struct, frozen=True):
    """A line, with its line feed if it has one."""

    at: str | None
    """Null: a remark of the service that has no time."""
    stream: str
    """`stdout`, `stderr`, `output` (both, past Python's streams), a level of logging, or `service`."""
    text: str


class LogView(Struct, frozen=True):
    """What one attempt wrote."""

    run: int
    attempt: int
    text: str
    lines: list[LogLineView]
    """The same, line by line."""


class LogsView(Struct, frozen=True):
    """What the attempts of a task wrote, the first one first."""

    logs: list[LogView]


class RunnerView(Struct, frozen=True):
    """A node's runner."""

    id: str
    node: str
    cpus: float
    cpus_used: float
    leases: int
    draining: bool


class ClusterView(Struct, frozen=True):
    """How the service is: tasks by state, unfinished tasks by function and state, runners (told to admins), deadlines."""

    epoch: int
    counts: dict[str, int]
    functions: dict[str, dict[str, int]]
    runners: list[RunnerView]
    deadlines: dict[str, DeadlinesView]
    """By function, of tasks that had a deadline and have ended by success or as dead letters."""
    machines: list[MachinesView] = []
    """What the autoscaler wants, if there is one (told to admins)."""
    places: list[PlacesView] = []
    """What it wants them for."""


class MachinesView(Struct, frozen=True):
    """Machines of one kind."""

    kind: str
    wanted: int
    there: int
    """That have joined and take work."""
    leaving: int
    why: str


class PlacesView(Struct, frozen=True):
    """Places on machines for work that asks for the same."""

    shape: str
    places: int
    why: str


class DeadlinesView(Struct, frozen=True):
    """How many kept their deadlines, and how many did not."""

    met: int
    missed: int


class TenantView(Struct, frozen=True):
    """A tenant; null: no limit of its own."""

    id: str
    weight: float
    queued_max: int | None
    running_max: int | None
    rate: RateView | None
    """Tasks that may start."""
    submit_rate: RateView | None
    """Tasks that may be submitted."""
    quota: QuotaView


class TenantsView(Struct, frozen=True):
    tenants: list[TenantView]


class KeyView(Struct, frozen=True, kw_only=True):
    """A key's public half."""

    id: str
    tenant: str
    scopes: list[str]
    name: str
    created_at: str
    revoked: bool
    secret: str | UnsetType = UNSET
    """Only in the answer that makes the key; it cannot be shown again."""


class KeysView(Struct, frozen=True):
    keys: list[KeyView]


class HealthView(Struct, frozen=True):
    status: str


MODELS = (
    TaskView, TaskPage, BatchView, ChangeView, OperationView, LogsView, ClusterView, TenantView,
    TenantsView, KeyView, KeysView, HealthView, ProblemDocument,
)  # fmt: skip
"""All that the OpenAPI document describes; what they hold is found by itself."""


def json_answer(view: Struct, status: int = 200) -> Response:
    """The view as an HTTP response."""
    return Response(msgspec.json.encode(view), status, media_type="application/json")


def task_view(
    task: Task,
    now_ms: int,
    values: TaskValues = NO_VALUES,
    duplicate: bool | UnsetType = UNSET,
    *,
    cancelling: bool = False,
) -> TaskView:
    """A task as users see it, with the values that are given."""
    hooks = task.hooks or _NO_HOOKS
    return TaskView(
        id=task.id,
        function=task.function,
        tenant=task.tenant,
        state=task.state,
        priority=task.priority,
        tags=dict(task.tags),
        key=task.key or UNSET,
        created_at=iso(task.created_ms),
        due_at=iso(task.due_ms),
        started_at=None if task.started_ms is None else iso(task.started_ms),
        ended_at=None if task.ended_ms is None else iso(task.ended_ms),
        expires_at=None if task.expires_ms is None else iso(task.expires_ms),
        deadline_at=None if task.deadline_ms is None else iso(task.deadline_ms),
        deadline_missed=task.deadline_ms is not None and (task.ended_ms or now_ms) > task.deadline_ms,
        off_peak=task.lane in PRESSED_LANES,
        off_peak_until=None if task.press_ms is None or task.state in _STARTED else iso(task.press_ms),
        paused_until=None if task.resume_ms is None else iso(task.resume_ms),
        run=task.run,
        attempt=task.attempt,
        max_attempts=task.max_attempts,
        crashes=task.crashes,
        memory_bytes=task.memory_bytes or None,
        preempted=task.preempted,
        version=version_of(task),
        duration_ms=None if task.duration_us is None else task.duration_us / 1000,
        error=None if task.error is None else _error_view(task.error),
        callback_url=hooks.callback_url or UNSET,
        on_success=hooks.on_success or UNSET,
        on_failure=hooks.on_failure or UNSET,
        follow_up=follow_up_id(task) if function_after(task) else UNSET,
        payload=UNSET if values.payload is None else Raw(values.payload),
        result=UNSET if values.result is None else Raw(values.result),
        lost=dict(values.lost) or UNSET,
        duplicate=duplicate,
        cancelling=cancelling or UNSET,
    )


def _error_view(error: ErrorInfo) -> ErrorView:
    return ErrorView(error.reason, error.message, error.detail)


def operation_view(operation: Operation) -> OperationView:
    """An operation as users see it."""
    return OperationView(
        operation=operation.id or None,
        kind=operation.kind,
        dry_run=operation.dry_run,
        matched=operation.matched,
        changed=0 if operation.dry_run else operation.changed,
        running=operation.running,
        done=operation.done_ms is not None,
        begun_at=iso(operation.begun_ms),
        done_at=None if operation.done_ms is None else iso(operation.done_ms),
    )


def cluster_view(status: StatusAnswer, *, runners: bool) -> ClusterView:
    """The service's state; without `runners` for those who may not see the machines."""
    functions = {str(name): dict(counts) for name, counts in status.functions.items()}
    machines = [
        RunnerView(one.runner, one.node, one.cpus, one.cpus_used, one.leases, one.draining)
        for one in (status.runners if runners else ())
    ]
    deadlines = {str(name): DeadlinesView(kept.met, kept.missed) for name, kept in status.deadlines.items()}
    wanted, places = (status.machines, status.places) if runners else ((), ())
    return ClusterView(
        status.epoch,
        status.counts,
        functions,
        machines,
        deadlines,
        [MachinesView(one.kind, one.wanted, one.there, one.leaving, one.why) for one in wanted],
        [PlacesView(one.shape, one.places, one.why) for one in places],
    )


def tenant_view(tenant: Tenant) -> TenantView:
    """A tenant as admins see it."""
    return TenantView(
        tenant.id,
        tenant.weight,
        tenant.queued_max,
        tenant.running_max,
        rate_view(tenant.rate),
        rate_view(tenant.submit_rate),
        quota_view(tenant.quota),
    )


def key_view(key: ApiKey, secret: str | UnsetType = UNSET) -> KeyView:
    """A key without what proves it; `secret` only in the moment that it is made."""
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        scopes=list(key.scopes),
        name=key.name,
        created_at=iso(key.created_ms),
        revoked=key.revoked,
        secret=secret,
    )
