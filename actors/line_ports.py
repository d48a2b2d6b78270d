"""The service's ports over `line`: dispatcher and runners, as their neighbours call them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from taskservice.actors.line import Line, LineServer, Method
from taskservice.actors.ports import DispatcherPort
from taskservice.actors.runner import Runner
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
from taskservice.core.metrics import MetricsAnswer
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.orders import Order
from taskservice.core.schedules import ScheduleId, ScheduleKey, ScheduleSpec
from taskservice.core.specs import ApiKey, Bundle, FunctionSpec, Policy, Tenant
from taskservice.core.triggers import TriggerId, TriggerKey, TriggerSpec
from taskservice.core.types import ListFilter, NewTask, OnConflict, RunnerId, TaskId, TaskNo, TenantId, Token
from taskservice.errors import BackOffError

CALL_TIMEOUT_S = 30.0
"""A callee that has not answered by then counts as away; far above what any call may take."""
RETRY_INTERVAL_S = 0.05

DISPATCHER_METHODS = {
    "submit": Method(tuple[TenantId, list[NewTask], OnConflict], ItemsAnswer),
    "get": Method(tuple[TenantId, TaskId, float], TaskAnswer),
    "list_tasks": Method(tuple[ListFilter, TaskNo | None, int], TasksAnswer),
    "change": Method(tuple[TenantId, OperationKind, list[TaskId], int | None], ItemsAnswer),
    "bulk": Method(tuple[OperationKind, ListFilter, bool, int | None], OperationAnswer),
    "operation": Method(tuple[TenantId | None, str], Operation | None),
    "put_schedule": Method(tuple[TenantId, ScheduleId, ScheduleSpec, int | None], ScheduleAnswer),
    "remove_schedule": Method(tuple[TenantId, ScheduleId], ScheduleAnswer),
    "schedule": Method(tuple[TenantId, ScheduleId], ScheduleAnswer),
    "schedules": Method(tuple[TenantId | None, ScheduleKey | None, int], SchedulesAnswer),
    "put_trigger": Method(tuple[TenantId, TriggerId, TriggerSpec], te.TriggerAnswer),
    "remove_trigger": Method(tuple[TenantId, TriggerId], te.TriggerAnswer),
    "trigger": Method(tuple[TenantId, TriggerId], te.TriggerAnswer),
    "triggers": Method(tuple[TenantId | None, TriggerKey | None, int], te.TriggersAnswer),
    "triggers_met": Method(tuple[TenantId, list[str]], te.TriggersAnswer),
    "status": Method(tuple[TenantId | None], StatusAnswer),
    "catalog": Method(tuple[int, float], CatalogAnswer | None),
    "register": Method(tuple[list[FunctionSpec]], None),
    "put_tenant": Method(tuple[Tenant], None),
    "put_key": Method(tuple[ApiKey], None),
    "put_policy": Method(tuple[Policy], None),
    "why": Method(tuple[TenantId, TaskId], WhyAnswer),
    "timeline": Method(tuple[TenantId, TaskId], TimelineAnswer),
    "usage": Method(tuple[TenantId | None], UsageAnswer),
    "metrics": Method(tuple[()], MetricsAnswer),
    "deploy": Method(tuple[str, Bundle, list[FunctionSpec], float], RolloutAnswer),
    "roll": Method(tuple[str, RolloutMove, int], RolloutAnswer),
    "apps": Method(tuple[str | None], AppsAnswer),
    "report": Method(tuple[bytes], bytes),
    "callbacks": Method(tuple[int, list[ce.Busy]], ce.CallbacksAnswer),
    "callbacks_attempted": Method(tuple[list[ce.Attempted]], None),
    "callbacks_owed": Method(tuple[int, float], int),
    "deliveries": Method(tuple[TenantId, TaskId], ce.DeliveriesAnswer),
    "redeliver": Method(tuple[TenantId, TaskId], ce.DeliveriesAnswer),
    "endpoints": Method(tuple[TenantId | None], ce.EndpointsAnswer),
    "enable_endpoint": Method(tuple[TenantId, str], ce.EndpointsAnswer),
    "put_secret": Method(tuple[TenantId, bytes, bool], ce.SecretAnswer),
}
RUNNER_METHODS = {
    "launch": Method(tuple[int, bytes], bool),
    "order": Method(tuple[int, bytes], bool),
    "orders": Method(tuple[Token, int], list[Order]),
    "report": Method(tuple[bytes], bytes),
}


def dispatcher_socket(run_dir: Path) -> Path:
    """Where the dispatcher answers."""
    return run_dir / "dispatcher.sock"


def runner_socket(run_dir: Path, id: RunnerId) -> Path:
    """Where a runner answers. The end of its id is enough: no two runners have the same."""
    return run_dir / f"runner-{id.rpartition(':')[2]}.sock"


async def serve_dispatcher(dispatcher: DispatcherPort, run_dir: Path) -> LineServer:
    """The dispatcher is called by its neighbours from now on."""
    server = LineServer({name: getattr(dispatcher, name) for name in DISPATCHER_METHODS}, DISPATCHER_METHODS)
    await server.start(dispatcher_socket(run_dir))
    return server


async def refuse_callers(run_dir: Path, why: BackOffError) -> LineServer:
    """Whoever calls the dispatcher is told why there is none."""

    async def refuse(*_: object) -> None:
        raise why

    server = LineServer(dict.fromkeys(DISPATCHER_METHODS, refuse), DISPATCHER_METHODS)
    await server.start(dispatcher_socket(run_dir))
    return server


async def serve_runner(runner: Runner, run_dir: Path) -> LineServer:
    """The runner is called by the dispatcher and by its supervisors from now on."""
    server = LineServer({name: getattr(runner, name) for name in RUNNER_METHODS}, RUNNER_METHODS)
    await server.start(runner_socket(run_dir, runner.id))
    return server


class LineDispatcher:
    """The dispatcher as a `DispatcherPort`. Calls outlive a restart of the dispatcher of up to `patience_s`."""

    def __init__(self, run_dir: Path, patience_s: float = 15.0, line: Line | None = None) -> None:
        """`line`: the way to a dispatcher on another machine."""
        self._line = line or Line(dispatcher_socket(run_dir), DISPATCHER_METHODS)
        self._patience_s = patience_s

    def close(self) -> None:
        """The line is given up; the next call makes a new one."""
        self._line.close()

    async def _ask(self, method: str, *arguments: object, wait_s: float = 0.0) -> Any:
        give_up_s = time.monotonic() + self._patience_s
        while True:
            try:
                return await self._line.call(method, *arguments, timeout_s=CALL_TIMEOUT_S + wait_s)
            except BackOffError as error:
                if error.__cause__ is None:
                    raise  # it is what the dispatcher said
                if time.monotonic() + RETRY_INTERVAL_S > give_up_s:
                    message = "the dispatcher is away, probably starting again; nothing that was accepted is lost"
                    raise BackOffError(message, retry_after_s=2.0, code="dispatcher_away", detail=str(error)) from error
            await asyncio.sleep(RETRY_INTERVAL_S)

    async def submit(
        self, tenant: TenantId, tasks: Sequence[NewTask], on_conflict: OnConflict = OnConflict.RETURN
    ) -> ItemsAnswer:
        """See `DispatcherPort`; so for all that follow."""
        answer: ItemsAnswer = await self._ask("submit", tenant, tasks, on_conflict)
        return answer

    async def get(self, tenant: TenantId, id: TaskId, wait_s: float = 0.0) -> TaskAnswer:
        answer: TaskAnswer = await self._ask("get", tenant, id, wait_s, wait_s=wait_s)
        return answer

    async def list_tasks(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> TasksAnswer:
        answer: TasksAnswer = await self._ask("list_tasks", wanted, before_no, limit)
        return answer

    async def change(
        self, tenant: TenantId, kind: OperationKind, ids: Sequence[TaskId], resume_ms: int | None = None
    ) -> ItemsAnswer:
        answer: ItemsAnswer = await self._ask("change", tenant, kind, ids, resume_ms)
        return answer

    async def bulk(
        self, kind: OperationKind, wanted: ListFilter, dry_run: bool = False, resume_ms: int | None = None
    ) -> OperationAnswer:
        answer: OperationAnswer = await self._ask("bulk", kind, wanted, dry_run, resume_ms)
        return answer

    async def operation(self, tenant: TenantId | None, id: str) -> Operation | None:
        answer: Operation | None = await self._ask("operation", tenant, id)
        return answer

    async def put_schedule(
        self, tenant: TenantId, id: ScheduleId, spec: ScheduleSpec, version: int | None
    ) -> ScheduleAnswer:
        answer: ScheduleAnswer = await self._ask("put_schedule", tenant, id, spec, version)
        return answer

    async def remove_schedule(self, tenant: TenantId, id: ScheduleId) -> ScheduleAnswer:
        answer: ScheduleAnswer = await self._ask("remove_schedule", tenant, id)
        return answer

    async def schedule(self, tenant: TenantId, id: ScheduleId) -> ScheduleAnswer:
        answer: ScheduleAnswer = await self._ask("schedule", tenant, id)
        return answer

    async def schedules(self, tenant: TenantId | None, after: ScheduleKey | None, limit: int) -> SchedulesAnswer:
        answer: SchedulesAnswer = await self._ask("schedules", tenant, after, limit)
        return answer

    async def put_trigger(self, tenant: TenantId, id: TriggerId, spec: TriggerSpec) -> te.TriggerAnswer:
        answer: te.TriggerAnswer = await self._ask("put_trigger", tenant, id, spec)
        return answer

    async def remove_trigger(self, tenant: TenantId, id: TriggerId) -> te.TriggerAnswer:
        answer: te.TriggerAnswer = await self._ask("remove_trigger", tenant, id)
        return answer

    async def trigger(self, tenant: TenantId, id: TriggerId) -> te.TriggerAnswer:
        answer: te.TriggerAnswer = await self._ask("trigger", tenant, id)
        return answer

    async def triggers(self, tenant: TenantId | None, after: TriggerKey | None, limit: int) -> te.TriggersAnswer:
        answer: te.TriggersAnswer = await self._ask("triggers", tenant, after, limit)
        return answer

    async def triggers_met(self, tenant: TenantId, types: list[str]) -> te.TriggersAnswer:
        answer: te.TriggersAnswer = await self._ask("triggers_met", tenant, types)
        return answer

    async def status(self, tenant: TenantId | None = None) -> StatusAnswer:
        answer: StatusAnswer = await self._ask("status", tenant)
        return answer

    async def catalog(self, known_version: int = -1, wait_s: float = 0.0) -> CatalogAnswer | None:
        answer: CatalogAnswer | None = await self._ask("catalog", known_version, wait_s, wait_s=wait_s)
        return answer

    async def register(self, functions: Sequence[FunctionSpec]) -> None:
        await self._ask("register", functions)

    async def put_tenant(self, tenant: Tenant) -> None:
        await self._ask("put_tenant", tenant)

    async def put_key(self, key: ApiKey) -> None:
        await self._ask("put_key", key)

    async def put_policy(self, policy: Policy) -> None:
        await self._ask("put_policy", policy)

    async def why(self, tenant: TenantId, id: TaskId) -> WhyAnswer:
        answer: WhyAnswer = await self._ask("why", tenant, id)
        return answer

    async def timeline(self, tenant: TenantId, id: TaskId) -> TimelineAnswer:
        answer: TimelineAnswer = await self._ask("timeline", tenant, id)
        return answer

    async def usage(self, tenant: TenantId | None) -> UsageAnswer:
        answer: UsageAnswer = await self._ask("usage", tenant)
        return answer

    async def metrics(self) -> MetricsAnswer:
        answer: MetricsAnswer = await self._ask("metrics")
        return answer

    async def deploy(
        self, app: str, bundle: Bundle, functions: Sequence[FunctionSpec], share: float = 1.0
    ) -> RolloutAnswer:
        answer: RolloutAnswer = await self._ask("deploy", app, bundle, functions, share)
        return answer

    async def roll(self, app: str, move: RolloutMove, version: int = 0) -> RolloutAnswer:
        answer: RolloutAnswer = await self._ask("roll", app, move, version)
        return answer

    async def apps(self, app: str | None = None) -> AppsAnswer:
        answer: AppsAnswer = await self._ask("apps", app)
        return answer

    async def report(self, body: bytes) -> bytes:
        answer: bytes = await self._ask("report", body)
        return answer

    async def callbacks(self, limit: int, busy: Sequence[ce.Busy]) -> ce.CallbacksAnswer:
        answer: ce.CallbacksAnswer = await self._ask("callbacks", limit, list(busy))
        return answer

    async def callbacks_attempted(self, attempts: Sequence[ce.Attempted]) -> None:
        await self._ask("callbacks_attempted", list(attempts))

    async def callbacks_owed(self, known_version: int, wait_s: float) -> int:
        answer: int = await self._ask("callbacks_owed", known_version, wait_s, wait_s=wait_s)
        return answer

    async def deliveries(self, tenant: TenantId, id: TaskId) -> ce.DeliveriesAnswer:
        answer: ce.DeliveriesAnswer = await self._ask("deliveries", tenant, id)
        return answer

    async def redeliver(self, tenant: TenantId, id: TaskId) -> ce.DeliveriesAnswer:
        answer: ce.DeliveriesAnswer = await self._ask("redeliver", tenant, id)
        return answer

    async def endpoints(self, tenant: TenantId | None) -> ce.EndpointsAnswer:
        answer: ce.EndpointsAnswer = await self._ask("endpoints", tenant)
        return answer

    async def enable_endpoint(self, tenant: TenantId, origin: str) -> ce.EndpointsAnswer:
        answer: ce.EndpointsAnswer = await self._ask("enable_endpoint", tenant, origin)
        return answer

    async def put_secret(self, tenant: TenantId, secret: bytes, rotate: bool) -> ce.SecretAnswer:
        answer: ce.SecretAnswer = await self._ask("put_secret", tenant, secret, rotate)
        return answer


@contextlib.asynccontextmanager
async def dispatcher_line(run_dir: Path) -> AsyncIterator[LineDispatcher]:
    """The dispatcher, for the length of a block."""
    dispatcher = LineDispatcher(run_dir)
    try:
        yield dispatcher
    finally:
        dispatcher.close()


class LineRunners:
    """The runners of this machine, and of others, as far as leases and orders are given to them."""

    def __init__(self, run_dir: Path, far: Callable[[RunnerId], Line | None] = lambda _: None) -> None:
        """`far`: the way to a runner on another machine; None if it is on this one."""
        self._run_dir = run_dir
        self._far = far
        self._lines: dict[RunnerId, Line] = {}

    async def launch(self, id: RunnerId, epoch: int, body: bytes) -> bool:
        """See `Runner.launch`."""
        return await self._call(id, "launch", epoch, body)

    async def order(self, id: RunnerId, epoch: int, body: bytes) -> bool:
        """See `Runner.order`."""
        return await self._call(id, "order", epoch, body)

    async def _call(self, id: RunnerId, method: str, epoch: int, body: bytes) -> bool:
        line = self._lines.get(id)
        if line is None:
            line = self._lines[id] = self._far(id) or Line(runner_socket(self._run_dir, id), RUNNER_METHODS)
        taken: bool = await line.call(method, epoch, body, timeout_s=CALL_TIMEOUT_S)
        return taken
