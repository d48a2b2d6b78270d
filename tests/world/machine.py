"""A shard in a test's hands: events in, records and effects out, time as given. Checked after every step."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from taskservice.core.check import check
from taskservice.core.deploying import (
    AppDeployed,
    AppsAnswer,
    AppsAsked,
    AppStatus,
    RolloutAnswer,
    RolloutAsked,
    RolloutMove,
)
from taskservice.core.effects import (
    Answer,
    AnswerValue,
    Effect,
    Ended,
    ItemAnswer,
    ItemsAnswer,
    Launch,
    OperationAnswer,
    ScheduleAnswer,
)
from taskservice.core.events import (
    BulkAsked,
    ChangeAsked,
    Event,
    FunctionsRegistered,
    OperationAsked,
    OperationTurn,
    PolicyPut,
    RunnerJoined,
    RunnerLost,
    RunnerReported,
    RunnersSettled,
    SchedulePut,
    ScheduleRemoveAsked,
    Submitted,
    TenantPut,
    Ticked,
)
from taskservice.core.insight import TimelineAnswer, TimelineAsked, UsageAnswer, UsageAsked, WhyAnswer, WhyAsked
from taskservice.core.lease_wire import HeldLease, LeaseReport, LeaseSpec, Outcome, ReportAck, RunnerReport
from taskservice.core.limits import Limits
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.records import Record
from taskservice.core.schedules import Progress, ScheduleId, ScheduleKey, ScheduleSpec
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Bundle, FunctionSpec, Policy, Resources, RetryPolicy, Tenant
from taskservice.core.state import State
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import (
    FunctionName,
    ListFilter,
    NewTask,
    OutcomeKind,
    RunnerId,
    Task,
    TaskId,
    TenantId,
    Token,
)
from taskservice.journal.codec import encode
from taskservice.journal.marks import mark_at
from taskservice.journal.memory import MemoryJournal, MemoryStore
from world.durable import check_restored, check_same, folded

START_MS = 1_000_000


def function(name: str = "app.f", **options: object) -> FunctionSpec:
    """A function with no jitter, so that tests can name times."""
    retry = RetryPolicy(max_attempts=3, base_ms=100, max_ms=1_000, jitter=False)
    given = {"name": FunctionName(name), "bundle": Bundle("m", "a", "/"), "payload_schema": b"{}", "retry": retry}
    return FunctionSpec(**{**given, **options})  # type: ignore[arg-type]


def spec(function: str = "app.f", payload: bytes = b"{}", **said: object) -> ScheduleSpec:
    """What is said of a schedule, and in `task` of its tasks beyond function and payload."""
    options = said.pop("task", {})
    task = NewTask(TaskId(""), FunctionName(function), payload, **options)  # type: ignore[arg-type]
    return ScheduleSpec(task, **said)  # type: ignore[arg-type]


class Machine:
    """The pure service: what a test does to it reads as what happens."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.now_ms = START_MS
        self.store = MemoryStore()
        self.records: list[Record] = []
        """Every record of this epoch, in order."""
        self.launches: list[Launch] = []
        self.ended: list[Ended] = []
        self.released: list[Effect] = []
        """Every effect that could be seen, in order."""
        self._rng = Random(1)
        self._refs = 0
        self._answers: dict[int, AnswerValue] = {}
        self._boot()

    # The process

    def _boot(self) -> None:
        self.journal = MemoryJournal(self.store)
        self.shard = folded(self.journal, self.limits)
        self.records = []
        self.shard.open(mark_at(None, self.journal.epoch, -1), self.now_ms)
        check(self.state)

    def restart(self) -> None:
        """The process dies, with what it had not committed, and another one starts."""
        self._boot()
        self.commit()

    @property
    def state(self) -> State:
        return self.shard.state

    def handle(self, event: Event) -> None:
        """The event is handled, and nothing is committed yet."""
        self.shard.handle(event, self.now_ms, self._rng)
        check(self.state)

    def commit(self) -> list[Effect]:
        """All that is pending is durable; gives what may now be seen."""
        while (cut := self.shard.cut()) is not None:
            self.records.extend(cut.records)
            self.journal.append(cut.number, encode(cut.records))
            self.shard.durable(cut.number)
            if not self.shard.pending_records:
                check_restored(self.state)
        released = self.shard.release()
        self.released += released
        for effect in released:
            if isinstance(effect, Answer):
                self._answers[effect.ref] = effect.value
            elif isinstance(effect, Launch):
                self.launches.append(effect)
            elif isinstance(effect, Ended):
                self.ended.append(effect)
        return released

    def ask(self, event: Event) -> AnswerValue:
        """The event is handled and committed; gives its answer. Its ref must be `next_ref()`."""
        self.handle(event)
        self.commit()
        return self._answers.pop(self._refs)

    def next_ref(self) -> int:
        self._refs += 1
        return self._refs

    # What happens to it

    def register(self, *functions: FunctionSpec) -> None:
        self.ask(FunctionsRegistered(self.next_ref(), functions or (function(),)))

    def deploy(self, code: str, *functions: FunctionSpec, share: float = 1.0, app: str = "app") -> RolloutAnswer:
        """The app has been deployed: this code, with these functions, by default `app.f`."""
        bundle = Bundle("m", "a", "", code, f"code/{code}", 7)
        specs = tuple(replace(each, bundle=bundle) for each in functions or (function(),))
        answer = self.ask(AppDeployed(self.next_ref(), app, bundle, specs, share))
        assert isinstance(answer, RolloutAnswer)
        return answer

    def roll(self, move: RolloutMove, version: int = 0, app: str = "app") -> RolloutAnswer:
        """The app's versions were to change their places."""
        answer = self.ask(RolloutAsked(self.next_ref(), app, move, version))
        assert isinstance(answer, RolloutAnswer)
        return answer

    def app(self, name: str = "app") -> AppStatus:
        """The app as it is told."""
        answer = self.ask(AppsAsked(self.next_ref(), name))
        assert isinstance(answer, AppsAnswer)
        (found,) = answer.apps
        return found

    def tenant(self, id: str, **options: object) -> TenantId:
        tenant = Tenant(TenantId(id), **options)  # type: ignore[arg-type]
        self.ask(TenantPut(self.next_ref(), tenant))
        return tenant.id

    def policy(self, policy: Policy) -> None:
        self.ask(PolicyPut(self.next_ref(), policy))

    def submit(
        self,
        *ids: str,
        function: str = "app.f",
        tenant: TenantId = DEFAULT_TENANT,
        payload: bytes = b"{}",
        **options: object,
    ) -> tuple[ItemAnswer, ...]:
        tasks = tuple(NewTask(TaskId(id), FunctionName(function), payload, **options) for id in ids)  # type: ignore[arg-type]
        answer = self.ask(Submitted(self.next_ref(), tenant, tasks))
        assert isinstance(answer, ItemsAnswer)
        return answer.items

    def cancel(self, *ids: str, tenant: TenantId = DEFAULT_TENANT) -> tuple[ItemAnswer, ...]:
        return self.change(OperationKind.CANCEL, *ids, tenant=tenant)

    def change(
        self, kind: OperationKind, *ids: str, tenant: TenantId = DEFAULT_TENANT, resume_ms: int | None = None
    ) -> tuple[ItemAnswer, ...]:
        """Something is asked to be done to these tasks."""
        named = tuple(TaskId(id) for id in ids)
        answer = self.ask(ChangeAsked(self.next_ref(), tenant, kind, named, resume_ms))
        assert isinstance(answer, ItemsAnswer)
        return answer.items

    def bulk(
        self,
        kind: OperationKind = OperationKind.CANCEL,
        *,
        dry_run: bool = False,
        tenant: TenantId | None = DEFAULT_TENANT,
        resume_ms: int | None = None,
        **wanted: object,
    ) -> Operation:
        """Something is to be done to all tasks that pass; gives the operation as it was answered."""
        wish = ListFilter(tenant=tenant, **wanted)  # type: ignore[arg-type]
        answer = self.ask(BulkAsked(self.next_ref(), kind, wish, dry_run, resume_ms))
        assert isinstance(answer, OperationAnswer)
        assert answer.operation is not None, answer
        return answer.operation

    def operation(self, id: str, tenant: TenantId | None = DEFAULT_TENANT) -> Operation | None:
        answer = self.ask(OperationAsked(self.next_ref(), tenant, id))
        assert isinstance(answer, OperationAnswer)
        return answer.operation

    def put_schedule(
        self, id: str, version: int | None = None, *, tenant: TenantId = DEFAULT_TENANT, **said: object
    ) -> ScheduleAnswer:
        """A schedule is to be like that, by default with the function `app.f`."""
        answer = self.ask(SchedulePut(self.next_ref(), tenant, ScheduleId(id), spec(**said), version))
        assert isinstance(answer, ScheduleAnswer)
        return answer

    def remove_schedule(self, id: str, tenant: TenantId = DEFAULT_TENANT) -> ScheduleAnswer:
        answer = self.ask(ScheduleRemoveAsked(self.next_ref(), tenant, ScheduleId(id)))
        assert isinstance(answer, ScheduleAnswer)
        return answer

    def progress(self, id: str, tenant: TenantId = DEFAULT_TENANT) -> Progress:
        """How far the schedule has come."""
        known = self.state.schedules.find(ScheduleKey(tenant, ScheduleId(id)))
        assert known is not None
        return known.progress

    def catch_up(self) -> int:
        """All that is due by the clock has happened; gives the number of turns that it took."""
        turns = 0
        while (next_ms := next_tick_ms(self.state)) is not None and next_ms <= self.now_ms:
            self.later(0)
            turns += 1
        return turns

    def step(self, times: int = 1) -> None:
        """The bulk operations that are under way have had so many turns."""
        for _ in range(times):
            self.handle(OperationTurn())
            self.commit()

    def finish_bulk(self) -> int:
        """All bulk operations are done; gives the number of turns that it took."""
        turns = 0
        while self.shard.operating:
            self.step()
            turns += 1
        return turns

    def join(self, runner: str = "r1", cpus: int = 1, held: tuple[HeldLease, ...] = ()) -> None:
        self.handle(RunnerJoined(RunnerId(runner), "node", Resources(cpu_m=1000 * cpus), held))

    def lose(self, runner: str) -> None:
        self.handle(RunnerLost(RunnerId(runner)))
        self.commit()

    def settle(self) -> None:
        self.handle(RunnersSettled())
        self.commit()

    def dispatch(self) -> list[LeaseSpec]:
        """What may run is leased and committed; gives the leases that were launched."""
        before = len(self.launches)
        self.shard.dispatch(self.now_ms)
        check(self.state)
        self.commit()
        return [launch.lease for launch in self.launches[before:]]

    def run(self, *ids: str, **options: object) -> LeaseSpec:
        """These tasks are submitted, and leased in one lease."""
        self.submit(*ids, **options)  # type: ignore[arg-type]
        (lease,) = self.dispatch()
        assert [task.id for task in lease.tasks] == list(ids)
        return lease

    def report(
        self,
        token: Token,
        *outcomes: Outcome,
        handed_back: tuple[int, ...] = (),
        done: bool = True,
        runner: str = "r1",
        checkpoints: tuple[tuple[int, bytes], ...] = (),
    ) -> ReportAck:
        report = LeaseReport(token, outcomes, handed_back, done, checkpoints=checkpoints)  # type: ignore[arg-type]
        answer = self.ask(RunnerReported(self.next_ref(), RunnerReport(RunnerId(runner), (report,))))
        assert isinstance(answer, ReportAck)
        return answer

    def succeed(self, lease: LeaseSpec, duration_us: int = 1_000) -> ReportAck:
        """Every task of the lease succeeds, and the lease is over."""
        return self.report(lease.token, *(ok(task.no, duration_us=duration_us) for task in lease.tasks))

    def why(self, id: str, tenant: TenantId = DEFAULT_TENANT) -> WhyAnswer:
        """Why the task waits; asked of the shard's state, as a caller would be told it."""
        answer = self.ask(WhyAsked(self.next_ref(), tenant, TaskId(id)))
        assert isinstance(answer, WhyAnswer)
        return answer

    def closed(self, id: str, tenant: TenantId = DEFAULT_TENANT) -> list[str]:
        """The names of the gates that are closed to the task."""
        return [reason.gate for reason in self.why(id, tenant).closed]

    def timeline(self, id: str, tenant: TenantId = DEFAULT_TENANT) -> TimelineAnswer:
        answer = self.ask(TimelineAsked(self.next_ref(), tenant, TaskId(id)))
        assert isinstance(answer, TimelineAnswer)
        return answer

    def usage(self, tenant: TenantId | None = None) -> UsageAnswer:
        answer = self.ask(UsageAsked(self.next_ref(), tenant))
        assert isinstance(answer, UsageAnswer)
        return answer

    def later(self, ms: int) -> None:
        """Time has passed, and what was due is ready."""
        self.now_ms += ms
        self.handle(Ticked())
        self.commit()

    # What is to be seen

    def task(self, id: str, tenant: TenantId = DEFAULT_TENANT) -> Task:
        found = self.state.table.find(tenant, [TaskId(id)])
        return found[TaskId(id)]

    def states(self) -> dict[str, str]:
        tasks = self.state.table.listing(ListFilter(), None, 1_000)
        return {task.id: task.state.value for task in reversed(tasks)}

    def close(self) -> None:
        """What lives and what replays are the same. Ends the test."""
        self.commit()
        replayed = folded(MemoryJournal(self.store), self.limits)
        check(replayed.state)
        check_same(replayed.state, self.state)


def ok(no: int, result: bytes = b"1", duration_us: int = 1_000) -> Outcome:
    return Outcome(no, OutcomeKind.SUCCEEDED, result=result, duration_us=duration_us)  # type: ignore[arg-type]


def bad(no: int, kind: OutcomeKind = OutcomeKind.HANDLER_ERROR, message: str = "boom", **options: object) -> Outcome:
    return Outcome(no, kind, message=message, **options)  # type: ignore[arg-type]
