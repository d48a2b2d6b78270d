"""How the shells speak to each other. Ray handles (`ray_port`) and plain objects in one process (tests) both fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskservice.core import callback_events as ce
from taskservice.core import trigger_events as te
from taskservice.core.deploying import AppsAnswer, RolloutAnswer, RolloutMove
from taskservice.core.effects import (
    CatalogAnswer,
    ItemsAnswer,
    OperationAnswer,
    ScheduleAnswer,
    SchedulesAnswer,
    StatusAnswer,
    TaskAnswer,
    TasksAnswer,
)
from taskservice.core.insight import TimelineAnswer, UsageAnswer, WhyAnswer
from taskservice.core.lease_wire import HeldLease
from taskservice.core.metrics import MetricsAnswer
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.schedules import ScheduleId, ScheduleKey, ScheduleSpec
from taskservice.core.specs import ApiKey, Bundle, FunctionSpec, Policy, Tenant
from taskservice.core.triggers import TriggerId, TriggerKey, TriggerSpec
from taskservice.core.types import ListFilter, NewTask, OnConflict, TaskId, TaskNo, TenantId


class DispatcherPort(Protocol):
    """A shard, as gateways, runners and the command line use it.

    Whatever comes back is durable. Raises `BackOffError` while the shard cannot be reached or is starting, and after
    a bound when its journal does not answer; every call can then be made again.
    """

    async def submit(
        self, tenant: TenantId, tasks: Sequence[NewTask], on_conflict: OnConflict = OnConflict.RETURN
    ) -> ItemsAnswer:
        """Each item is accepted, known already, or refused; in the order given."""

    async def get(self, tenant: TenantId, id: TaskId, wait_s: float = 0.0) -> TaskAnswer:
        """The task, once it has ended or `wait_s` have passed, or where it is in history; neither, if the tenant has no such
        task."""

    async def list_tasks(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> TasksAnswer:
        """A page of tasks, and of places of tasks in history, each newest first."""

    async def change(
        self, tenant: TenantId, kind: OperationKind, ids: Sequence[TaskId], resume_ms: int | None = None
    ) -> ItemsAnswer:
        """Each task is cancelled, paused, ..., or says why not. `resume_ms`: when those that are paused are resumed."""

    async def bulk(
        self, kind: OperationKind, wanted: ListFilter, dry_run: bool = False, resume_ms: int | None = None
    ) -> OperationAnswer:
        """An operation on all tasks that pass the filter holds for those that there are; or, for a dry run, how many pass."""

    async def operation(self, tenant: TenantId | None, id: str) -> Operation | None:
        """How far the tenant's operation has come (None: whosever it is); None if it is not known (any more)."""

    async def put_schedule(
        self, tenant: TenantId, id: ScheduleId, spec: ScheduleSpec, version: int | None
    ) -> ScheduleAnswer:
        """The schedule is like that, or why not. `version`: the one that is to be changed; None: it is to be a new one."""

    async def remove_schedule(self, tenant: TenantId, id: ScheduleId) -> ScheduleAnswer:
        """There is no such schedule any more; the answer shows it as it was, if there was one."""

    async def schedule(self, tenant: TenantId, id: ScheduleId) -> ScheduleAnswer:
        """The tenant's schedule as it is now."""

    async def schedules(self, tenant: TenantId | None, after: ScheduleKey | None, limit: int) -> SchedulesAnswer:
        """A page of the tenant's schedules, or of all, by tenant and id; those after `after` if that is given."""

    async def put_trigger(self, tenant: TenantId, id: TriggerId, spec: TriggerSpec) -> te.TriggerAnswer:
        """There is such a trigger, or why not."""

    async def remove_trigger(self, tenant: TenantId, id: TriggerId) -> te.TriggerAnswer:
        """There is no such trigger any more; the answer shows it as it was, if there was one."""

    async def trigger(self, tenant: TenantId, id: TriggerId) -> te.TriggerAnswer:
        """The tenant's trigger as it is now."""

    async def triggers(self, tenant: TenantId | None, after: TriggerKey | None, limit: int) -> te.TriggersAnswer:
        """A page of the tenant's triggers, or of all, by tenant and id; those after `after` if that is given."""

    async def triggers_met(self, tenant: TenantId, types: list[str]) -> te.TriggersAnswer:
        """The tenant's triggers that events of these types may match."""

    async def status(self, tenant: TenantId | None = None) -> StatusAnswer:
        """Counts and runners."""

    async def catalog(self, known_version: int = -1, wait_s: float = 0.0) -> CatalogAnswer | None:
        """Tenants, keys and functions as soon as they are not `known_version`; None if that took over `wait_s`."""

    async def register(self, functions: Sequence[FunctionSpec]) -> None:
        """These functions can be submitted to; one that was known under the same name is replaced."""

    async def put_tenant(self, tenant: Tenant) -> None: ...

    async def put_key(self, key: ApiKey) -> None: ...

    async def put_policy(self, policy: Policy) -> None:
        """The function, the downstream or the class is treated like that from now on."""

    async def why(self, tenant: TenantId, id: TaskId) -> WhyAnswer:
        """What keeps the task, where it stands and when it may start; or where it runs."""

    async def timeline(self, tenant: TenantId, id: TaskId) -> TimelineAnswer:
        """What the task has gone through."""

    async def usage(self, tenant: TenantId | None) -> UsageAnswer:
        """Who has how much of what; the tenant, or everybody."""

    async def metrics(self) -> MetricsAnswer:
        """What was counted and how things stand: of all tenants, and perhaps ahead of the journal by a commit."""

    async def deploy(
        self, app: str, bundle: Bundle, functions: Sequence[FunctionSpec], share: float = 1.0
    ) -> RolloutAnswer:
        """The code is a version of the app, and its new leases run it; with a `share` below 1 that part of them."""

    async def roll(self, app: str, move: RolloutMove, version: int = 0) -> RolloutAnswer:
        """The app's canary is promoted or over, or an earlier version (0: the one before) is current again."""

    async def apps(self, app: str | None = None) -> AppsAnswer:
        """The app with its versions, or all that there are."""

    async def report(self, body: bytes) -> bytes:
        """A runner's report (msgpack of `RunnerReport`) is durable; gives msgpack of `ReportAck`."""

    async def callbacks(self, limit: int, busy: Sequence[ce.Busy]) -> ce.CallbacksAnswer:
        """What can be delivered now, at most so many, beside what is being delivered."""

    async def callbacks_attempted(self, attempts: Sequence[ce.Attempted]) -> None:
        """What came of attempts to deliver is on record."""

    async def callbacks_owed(self, known_version: int, wait_s: float) -> int:
        """Another version than this as soon as there may be something to deliver; the same one if that took over `wait_s`."""

    async def deliveries(self, tenant: TenantId, id: TaskId) -> ce.DeliveriesAnswer:
        """The callbacks of the tenant's task."""

    async def redeliver(self, tenant: TenantId, id: TaskId) -> ce.DeliveriesAnswer:
        """The last of the task's callbacks is owed again; the answer has all of them."""

    async def endpoints(self, tenant: TenantId | None) -> ce.EndpointsAnswer:
        """The endpoints that fail or are disabled: the tenant's, or all."""

    async def enable_endpoint(self, tenant: TenantId, origin: str) -> ce.EndpointsAnswer:
        """The endpoint is told again what it is owed."""

    async def put_secret(self, tenant: TenantId, secret: bytes, rotate: bool) -> ce.SecretAnswer:
        """The tenant's callbacks are signed with this, unless it has a secret and this is not to take its place."""


class RunnerPort(Protocol):
    """A runner, as the fleet uses it."""

    async def list_leases(self) -> list[HeldLease]:
        """What it runs, or has run without being able to report it yet."""
