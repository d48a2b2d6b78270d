"""The dispatcher: one shard's only writer. Gathers events, decides, appends, applies, performs.

    caller -> mailbox -> Shard.handle -> Shard.dispatch -> Journal.append -> Shard.release -> answers, leases, notices

One consumer on one event loop owns the shard; the journal's blocking writes run on one thread of their own, one group
commit at a time, and everything that happens meanwhile is in the next one. Callers see nothing that is not durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TypeVar

import msgspec

from taskservice.actors.bulk import BulkTurns
from taskservice.actors.callback_calls import CallbackCalls
from taskservice.actors.commits import Commits
from taskservice.actors.deploy_calls import DeployCalls
from taskservice.actors.dispatcher_options import Counts, DispatcherOptions
from taskservice.actors.insight_calls import InsightCalls
from taskservice.actors.keeper import Keeper
from taskservice.actors.metrics_calls import Turns, metrics_of
from taskservice.actors.notifier import Notifier
from taskservice.actors.pauses import Pauses
from taskservice.actors.pushes import Push, pushed
from taskservice.actors.remover import Remover
from taskservice.actors.schedule_calls import ScheduleCalls
from taskservice.actors.ticks import Ticks
from taskservice.actors.trigger_calls import TriggerCalls
from taskservice.core import effects as fx
from taskservice.core import events as e
from taskservice.core.lease_wire import LeaseSpec, ReportAck, RunnerReport
from taskservice.core.metrics import MetricsAnswer
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.orders import Order
from taskservice.core.shard import Shard
from taskservice.core.specs import ApiKey, FunctionSpec, Tenant
from taskservice.core.types import TERMINAL_STATES, ListFilter, NewTask, OnConflict, RunnerId, TaskId, TaskNo, TenantId
from taskservice.errors import BackOffError
from taskservice.journal import Journal

log = logging.getLogger(__name__)

A = TypeVar("A")

REST_S_MAX = 1.0
"""A commit that takes longer is not waited for with everything else."""


class Dispatcher(ScheduleCalls, TriggerCalls, InsightCalls, CallbackCalls, DeployCalls):
    """One shard, recovered and open, in its shell. Everything but the journal's writes happens on the loop that calls
    `start`."""

    def __init__(
        self,
        journal: Journal,
        shard: Shard,
        launch: Push,
        on_fatal: Callable[[BaseException], None],
        options: DispatcherOptions | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        rng: Random | None = None,
        keeper: Callable[[Callable[[], None], Callable[[BaseException], None]], Keeper] | None = None,
        remover: Remover | None = None,
        order: Push | None = None,
    ) -> None:
        """`keeper` makes that of the table's file, if it has one, from its own `wake` and `failed`. `remover` removes
        values that nobody refers to; without it they stay. `order`: see `Runner.order`; without it none are given."""
        self.options = options or DispatcherOptions()
        self.heard: dict[RunnerId, float] = {}
        """When each runner last reported, on the monotonic clock, in seconds."""
        self._journal = journal
        self._shard = shard
        self._launch_on = launch
        """See `Runner.launch`; with the runner's id before."""
        self._order_on = order
        self._on_fatal = on_fatal
        self._now_ms = now_ms
        self._rng = rng or Random()
        self._notifier = Notifier()
        self._mailbox: list[e.Event] = []
        self._answers: dict[int, asyncio.Future[fx.AnswerValue]] = {}
        """Callers by the `ref` of their event; each until it is answered or gives up."""
        self._last_ref = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms: int | None = None
        self._commits = Commits(journal, shard, self._wake.set, self._die, self.options.commits)
        self._keeper = keeper(self._wake.set, self._die) if keeper is not None else None
        self._remover = remover
        self._tasks: list[asyncio.Task[None]] = []
        self._turns = Turns()
        self._pauses = Pauses()
        self._ticks = Ticks(shard, self._pauses)
        self._bulk = BulkTurns(shard, self._pauses)
        self._closing = False
        self._fatal: BaseException | None = None

    # Life

    def start(self) -> None:
        """The consumer runs on this loop."""
        self._notifier.catalog.changed(self._shard.state.catalog_version)
        self._notifier.owed.changed(self._journal.epoch << 32)
        self._keep(asyncio.get_running_loop().create_task(self._consume()))
        self._keep(asyncio.get_running_loop().create_task(self._look_after_the_journal()))
        self._wake.set()
        if self._keeper is not None:
            self._keeper.sweep()

    async def close(self) -> None:
        """All that was handed over is durable, or refused; the journal is released. Bulk operations go on with the next one.

        If the journal does not take it within `commit_timeout_s`, whoever waits is told to come back.
        """
        self._closing = True
        give_up_s = time.monotonic() + self.options.commit_timeout_s
        while self._fatal is None and (self._mailbox or not self._commits.idle) and time.monotonic() < give_up_s:
            self._wake.clear()
            self.run_once()
            self._commits.flush()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0.1)
        at_rest = self._fatal is None and self._commits.idle
        self._stop(BackOffError("the service is stopping", retry_after_s=5.0))
        if self._keeper is not None:
            await (self._keeper.close(self._journal.position) if at_rest else self._keeper.stop())
        if self._remover is not None:
            await self._remover.close()
        await asyncio.to_thread(self._commits.close)

    async def _consume(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                self._turns.run(self.run_once)
            except Exception as error:  # a bug: nothing that follows from it may be believed
                log.exception("the shard is in doubt and stops")
                self._die(error)
                return

    def run_once(self) -> Counts:
        """What has arrived is decided, what may run is leased, a commit is under way, what is durable is performed."""
        if self._fatal is not None:
            return Counts(0, 0, 0)
        if self._must_rest():
            released = self._shard.release()
            self._perform(released)
            return Counts(0, 0, len(released))
        now_ms = self._now_ms()
        events, self._mailbox = self._mailbox, []
        for event in events:
            self._shard.handle(event, now_ms, self._rng)
        moments = [self._ticks.run_once(now_ms, self._rng, may=not self._behind())]
        leases = 0
        if self._behind():
            self._shard.hold_back(now_ms)
        else:
            leases = self._shard.dispatch(now_ms)
            moments.append(self._shard.opens_ms)
            if not self._closing:
                moments.append(self._bulk.run_once(now_ms, self._rng))
        self._set_timer(min((ms for ms in moments if ms is not None), default=None), now_ms)
        self._commits.begin()
        released = self._shard.release()
        self._perform(released)
        return Counts(len(events), leases, len(released))

    def _must_rest(self) -> bool:
        """Whether nothing may change until all commits are durable, so that the table's file can be folded.

        It is folded then. While the journal is away that can wait: those who only look are served.
        """
        if self._keeper is None or not self._keeper.wants_rest(self._commits.appended_bytes):
            return False
        if self._commits.waited_s > REST_S_MAX:
            return False
        self._commits.flush()
        if not self._commits.idle:
            return True
        self._keeper.rest(self._journal.position, self._commits.appended_bytes)
        self._pauses.put_off()
        return False

    def _set_timer(self, next_ms: int | None, now_ms: int) -> None:
        if next_ms == self._timer_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_ms = None, next_ms
        if next_ms is not None:
            # At most a minute ahead: the wall clock that tasks are due by may be set while the loop's is not.
            delay_s = min(60.0, max(0.001, (next_ms - now_ms) / 1000))
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._timer_rang)

    def _timer_rang(self) -> None:
        self._timer_ms = None
        self._wake.set()

    async def _look_after_the_journal(self) -> None:
        """Ends this dispatcher if it idles on a journal that is somebody else's by now."""
        while True:
            await asyncio.sleep(self.options.heartbeat_s)
            if self._commits.idle:
                await self._commits.heartbeat()
            self._wake.set()  # a checkpoint may be due

    def _die(self, error: BaseException) -> None:
        self._fatal = error
        self._stop(BackOffError(f"the dispatcher is starting again: {error}", retry_after_s=1.0))
        self._on_fatal(error)

    def _stop(self, answer: BackOffError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(answer)
        self._answers.clear()
        if self._fatal is None:
            self._fatal = answer

    # Effects

    def _perform(self, effects: Iterable[fx.Effect]) -> None:
        launches: dict[RunnerId, list[LeaseSpec]] = {}
        orders: dict[RunnerId, list[Order]] = {}
        for effect in effects:
            match effect:
                case fx.Answer(ref, value):
                    future = self._answers.pop(ref, None)
                    if future is not None and not future.done():
                        future.set_result(value)
                case fx.Launch(runner, lease):
                    launches.setdefault(runner, []).append(lease)
                case fx.Ordered(runner, order):
                    orders.setdefault(runner, []).append(order)
                case fx.Ended(_, tasks) | fx.Deleted(tasks):
                    self._notifier.ended(tasks)
                case fx.CatalogChanged(version):
                    self._notifier.catalog.changed(version)
                case fx.CallbacksOwed():
                    self._notifier.owed.changed(self._notifier.owed.version + 1)
                case fx.ValuesDropped(keys) if self._remover is not None:
                    self._remover.remove(keys)
        for runner, leases in launches.items():
            self._keep(asyncio.get_running_loop().create_task(self._push(self._launch_on, runner, leases)))
        if self._order_on is not None:
            for runner, given in orders.items():
                self._keep(asyncio.get_running_loop().create_task(self._push(self._order_on, runner, given)))

    async def _push(self, push: Push, runner: RunnerId, what: Sequence[LeaseSpec] | Sequence[Order]) -> None:
        """The runner has it, or is lost, and its leases with it."""
        known = self._shard.state.pool.runners.__contains__
        if not await pushed(push, runner, self._journal.epoch, what, known, self.options.launch_retry_s):
            self._die(RuntimeError(f"runner {runner} has served a later epoch than {self._journal.epoch}"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)

    # Callers

    @property
    def waits(self) -> int:
        """How many callers wait for a task to end."""
        return self._notifier.waits

    def emit(self, event: e.Event) -> None:
        """The event will be handled in the next turn."""
        self._mailbox.append(event)
        self._wake.set()

    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        """The answer to an event, once all that it shows is durable."""
        self._check_open()
        self._last_ref += 1
        ref = self._last_ref
        future: asyncio.Future[fx.AnswerValue] = asyncio.get_running_loop().create_future()
        self._answers[ref] = future
        self.emit(make(ref))
        try:
            answer = await asyncio.wait_for(future, self.options.commit_timeout_s)
        except TimeoutError:
            trouble = f": {self._journal.trouble}" if self._journal.trouble else ""
            message = (
                f"the journal did not answer within {self.options.commit_timeout_s} s (commit_timeout_s){trouble}. What was"
                " accepted is safe; send this again later, with the same id."
            )
            raise BackOffError(message, retry_after_s=2.0, code="journal_slow") from None
        finally:
            self._answers.pop(ref, None)
        assert isinstance(answer, kind)
        return answer

    def _check_open(self) -> None:
        if self._fatal is not None:
            raise BackOffError(f"the dispatcher is not available: {self._fatal}", retry_after_s=1.0)
        behind = self._behind()
        if behind:
            raise BackOffError(behind, retry_after_s=2.0, code="journal_slow")

    def _behind(self) -> str:
        """Why nothing new is begun, neither submits nor leases: the journal does not keep up. Empty while it does."""
        waited_s, records = self._commits.waited_s, self._shard.pending_records
        if waited_s <= self.options.commit_timeout_s and records <= self.options.records_max:
            return ""
        trouble = f": {self._journal.trouble}" if self._journal.trouble else ""
        return (
            f"the journal is behind: {waited_s:.1f} s for one commit so far, {records} records wait{trouble}. What was"
            " accepted is safe; send this again later, with the same id."
        )

    async def submit(
        self, tenant: TenantId, tasks: Sequence[NewTask], on_conflict: OnConflict = OnConflict.RETURN
    ) -> fx.ItemsAnswer:
        """See `DispatcherPort`."""
        return await self.ask(lambda ref: e.Submitted(ref, tenant, tuple(tasks), on_conflict), fx.ItemsAnswer)

    async def get(self, tenant: TenantId, id: TaskId, wait_s: float = 0.0) -> fx.TaskAnswer:
        """See `DispatcherPort`."""
        with self._notifier.waiting(tenant, id) as ended:
            answer = await self._task(tenant, id)
            if wait_s <= 0 or answer.task is None or answer.task.state in TERMINAL_STATES:
                return answer
            await asyncio.wait([ended], timeout=wait_s)
        return await self._task(tenant, id)

    async def _task(self, tenant: TenantId, id: TaskId) -> fx.TaskAnswer:
        return await self.ask(lambda ref: e.TaskAsked(ref, tenant, id), fx.TaskAnswer)

    async def list_tasks(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> fx.TasksAnswer:
        """See `DispatcherPort`."""
        return await self.ask(lambda ref: e.TasksListed(ref, wanted, before_no, limit), fx.TasksAnswer)

    async def change(
        self, tenant: TenantId, kind: OperationKind, ids: Sequence[TaskId], resume_ms: int | None = None
    ) -> fx.ItemsAnswer:
        """See `DispatcherPort`."""
        return await self.ask(lambda ref: e.ChangeAsked(ref, tenant, kind, tuple(ids), resume_ms), fx.ItemsAnswer)

    async def bulk(
        self, kind: OperationKind, wanted: ListFilter, dry_run: bool = False, resume_ms: int | None = None
    ) -> fx.OperationAnswer:
        """See `DispatcherPort`."""
        return await self.ask(lambda ref: e.BulkAsked(ref, kind, wanted, dry_run, resume_ms), fx.OperationAnswer)

    async def operation(self, tenant: TenantId | None, id: str) -> Operation | None:
        """See `DispatcherPort`."""
        return (await self.ask(lambda ref: e.OperationAsked(ref, tenant, id), fx.OperationAnswer)).operation

    async def status(self, tenant: TenantId | None = None) -> fx.StatusAnswer:
        """See `DispatcherPort`."""
        return await self.ask(lambda ref: e.StatusAsked(ref, tenant), fx.StatusAnswer)

    async def catalog(self, known_version: int = -1, wait_s: float = 0.0) -> fx.CatalogAnswer | None:
        """See `DispatcherPort`."""
        if known_version >= 0 and not await self._notifier.catalog.other_than(known_version, wait_s):
            return None
        return await self.ask(e.CatalogAsked, fx.CatalogAnswer)

    async def references(self, keys: Sequence[str]) -> Sequence[str]:
        """Those of these keys of values that are referred to."""
        return (await self.ask(lambda ref: e.ReferencesAsked(ref, tuple(keys)), fx.ReferencesAnswer)).keys

    async def register(self, functions: Sequence[FunctionSpec]) -> None:
        """See `DispatcherPort`."""
        await self.ask(lambda ref: e.FunctionsRegistered(ref, tuple(functions)), fx.DoneAnswer)

    async def put_tenant(self, tenant: Tenant) -> None:
        """See `DispatcherPort`."""
        await self.ask(lambda ref: e.TenantPut(ref, tenant), fx.DoneAnswer)

    async def put_key(self, key: ApiKey) -> None:
        """See `DispatcherPort`."""
        await self.ask(lambda ref: e.KeyPut(ref, key), fx.DoneAnswer)

    async def metrics(self) -> MetricsAnswer:
        """See `DispatcherPort`."""
        return await metrics_of(self._shard, self._commits, self._turns, self.waits, self._now_ms())

    async def report(self, body: bytes) -> bytes:
        """See `DispatcherPort`."""
        report = msgspec.msgpack.decode(body, type=RunnerReport)
        self.heard[report.runner] = time.monotonic()
        if not report.leases:
            return msgspec.msgpack.encode(ReportAck())
        return msgspec.msgpack.encode(await self.ask(lambda ref: e.RunnerReported(ref, report), ReportAck))
