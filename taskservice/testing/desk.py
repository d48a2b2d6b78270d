"""The core behind the gateway of a test's service: a shard with its table in memory, and a clock that stands until it is moved.

As `Dispatcher`, without anything to wait for: what an event brings about is durable at once, and its answer is there when
`ask` returns. Leases are made by `settle` alone, which the service calls when the test lets things run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from taskservice.actors.callback_calls import CallbackCalls
from taskservice.actors.deploy_calls import DeployCalls
from taskservice.actors.insight_calls import InsightCalls
from taskservice.actors.notifier import Notifier
from taskservice.actors.schedule_calls import ScheduleCalls
from taskservice.core import effects as fx
from taskservice.core import events as e
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, RunnerReport
from taskservice.core.limits import Limits
from taskservice.core.metrics import MetricsAnswer
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.orders import Order
from taskservice.core.shard import Shard
from taskservice.core.specs import ApiKey, FunctionSpec, Resources, Tenant
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import ListFilter, NewTask, OnConflict, RunnerId, TaskId, TaskNo, TenantId
from taskservice.errors import RequestError
from taskservice.journal.store.memory import MemoryTable

RUNNER = RunnerId("memory")
"""The one machine."""

LIMITS = Limits(lease_tasks_max=1, lease_ahead_max=0)
"""One task to a lease, so that tests see the order in which the scheduler would have them."""

A = TypeVar("A")

Run = Callable[[LeaseSpec], LeaseReport]
"""Makes the attempts of a lease, and says what came of them."""


class Desk(ScheduleCalls, InsightCalls, CallbackCalls, DeployCalls):
    """A `DispatcherPort` on a clock of its own."""

    def __init__(self, now_ms: int, rng: Random, run: Run, order: Callable[[Order], object]) -> None:
        """`order` is told what a lease that runs is to do."""
        self.now_ms = now_ms
        self._rng = rng
        self._run = run
        self._order = order
        self._notifier = Notifier()
        self._shard = Shard(State(MemoryTable(), LIMITS))
        self._answers: dict[int, fx.AnswerValue] = {}
        self._last_ref = 0
        self._launched: list[LeaseSpec] = []
        self._shard.open(Mark("", "", 1, -1), now_ms)
        self._commit()

    # The clock

    def join(self, capacity: Resources, labels: tuple[tuple[str, str], ...]) -> None:
        """There is a machine."""
        self._tell(e.RunnerJoined(RUNNER, RUNNER, capacity, labels=labels))
        self._tell(e.RunnersSettled())

    def settle(self, attempts_max: int) -> int:
        """All that can happen now has happened; gives the number of leases that ran. Raises RuntimeError after `attempts_max`."""
        leases = 0
        while self._turn():
            while self._launched:
                leases += 1
                if leases > attempts_max:
                    message = f"{attempts_max} attempts were made and there are more to make: do tasks submit each other without end?"
                    raise RuntimeError(message)
                report = self._run(self._launched.pop(0))
                self._tell(e.RunnerReported(0, RunnerReport(RUNNER, (report,))))
        return leases

    def _turn(self) -> bool:
        """What is due is done and what has room is leased; whether there is anything to run, or more to do now."""
        due_ms = next_tick_ms(self._shard.state)
        due = due_ms is not None and due_ms <= self.now_ms
        if due:
            self._tell(e.Ticked())
        operating = self._shard.operating
        if operating:
            self._tell(e.OperationTurn())
        self._shard.dispatch(self.now_ms)
        self._commit()
        return due or operating or bool(self._launched)

    @property
    def next_ms(self) -> int | None:
        """When the clock brings something about next, later than now; None: never."""
        moments = (next_tick_ms(self._shard.state), self._shard.opens_ms)
        next_ms = min((ms for ms in moments if ms is not None), default=None)
        return None if next_ms is None else max(next_ms, self.now_ms + 1)

    def _tell(self, event: e.Event) -> None:
        self._shard.handle(event, self.now_ms, self._rng)
        self._commit()

    def _commit(self) -> None:
        while (cut := self._shard.cut()) is not None:
            self._shard.durable(cut.number)
        for effect in self._shard.release():
            match effect:
                case fx.Answer(ref, value):
                    self._answers[ref] = value
                case fx.Launch(_, lease):
                    self._launched.append(lease)
                case fx.Ordered(_, order):
                    self._order(order)
                case fx.CatalogChanged(version):
                    self._notifier.catalog.changed(version)

    # Callers: see `DispatcherPort`

    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        """The answer to an event."""
        self._last_ref += 1
        self._tell(make(self._last_ref))
        answer = self._answers.pop(self._last_ref)
        assert isinstance(answer, kind)
        return answer

    async def submit(
        self, tenant: TenantId, tasks: Sequence[NewTask], on_conflict: OnConflict = OnConflict.RETURN
    ) -> fx.ItemsAnswer:
        return await self.ask(lambda ref: e.Submitted(ref, tenant, tuple(tasks), on_conflict), fx.ItemsAnswer)

    async def get(self, tenant: TenantId, id: TaskId, wait_s: float = 0.0) -> fx.TaskAnswer:
        """The task as it is now: nobody waits here, for the clock stands."""
        return await self.ask(lambda ref: e.TaskAsked(ref, tenant, id), fx.TaskAnswer)

    async def list_tasks(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> fx.TasksAnswer:
        return await self.ask(lambda ref: e.TasksListed(ref, wanted, before_no, limit), fx.TasksAnswer)

    async def change(
        self, tenant: TenantId, kind: OperationKind, ids: Sequence[TaskId], resume_ms: int | None = None
    ) -> fx.ItemsAnswer:
        return await self.ask(lambda ref: e.ChangeAsked(ref, tenant, kind, tuple(ids), resume_ms), fx.ItemsAnswer)

    async def bulk(
        self, kind: OperationKind, wanted: ListFilter, dry_run: bool = False, resume_ms: int | None = None
    ) -> fx.OperationAnswer:
        return await self.ask(lambda ref: e.BulkAsked(ref, kind, wanted, dry_run, resume_ms), fx.OperationAnswer)

    async def operation(self, tenant: TenantId | None, id: str) -> Operation | None:
        return (await self.ask(lambda ref: e.OperationAsked(ref, tenant, id), fx.OperationAnswer)).operation

    async def status(self, tenant: TenantId | None = None) -> fx.StatusAnswer:
        return await self.ask(lambda ref: e.StatusAsked(ref, tenant), fx.StatusAnswer)

    async def catalog(self, known_version: int = -1, wait_s: float = 0.0) -> fx.CatalogAnswer | None:
        if known_version >= 0 and not await self._notifier.catalog.other_than(known_version, wait_s):
            return None
        return await self.ask(e.CatalogAsked, fx.CatalogAnswer)

    async def register(self, functions: Sequence[FunctionSpec]) -> None:
        await self.ask(lambda ref: e.FunctionsRegistered(ref, tuple(functions)), fx.DoneAnswer)

    async def put_tenant(self, tenant: Tenant) -> None:
        await self.ask(lambda ref: e.TenantPut(ref, tenant), fx.DoneAnswer)

    async def put_key(self, key: ApiKey) -> None:
        await self.ask(lambda ref: e.KeyPut(ref, key), fx.DoneAnswer)

    async def metrics(self) -> MetricsAnswer:
        """Raises RequestError: there are none."""
        raise RequestError("A service in memory keeps no metrics: ask `usage()` or `status()`.", code="no_metrics")

    async def report(self, body: bytes) -> bytes:
        """Raises RequestError: its own machine is the only one."""
        raise RequestError("A service in memory has no runners but its own.", code="no_runners")
