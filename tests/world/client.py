"""Simulated producers: they submit, submit again, cancel and look, and remember all that they were promised."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from taskservice.core.effects import (
    AnswerValue,
    ItemsAnswer,
    ItemStatus,
    OperationAnswer,
    Refusal,
    ScheduleAnswer,
    TaskAnswer,
)
from taskservice.core.events import (
    BulkAsked,
    ChangeAsked,
    Event,
    OperationAsked,
    SchedulePut,
    ScheduleRemoveAsked,
    Submitted,
    TaskAsked,
)
from taskservice.core.operations import OperationKind
from taskservice.core.past import Past
from taskservice.core.schedules import CatchUp, Overlap, ScheduleId, ScheduleSpec
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Tenant
from taskservice.core.types import (
    TERMINAL_STATES,
    Hooks,
    ListFilter,
    NewTask,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    TenantId,
)
from world.clock import Clock
from world.network import Network
from world.workload import BRIEF, FUNCTIONS

Ask = Callable[[Callable[[int], Event], Callable[[AnswerValue], None]], None]

TENANTS = (Tenant(DEFAULT_TENANT), Tenant(TenantId("acme"), weight=3.0), Tenant(TenantId("quiet"), running_max=1))
ASK_AGAIN_MS = 900
CANCELLED_RATIO = 0.2
"""Of submits, those of which a task is cancelled soon."""
ODD = ("number", "odd")
"""A tag that every other task has."""
TIMES_MS = [(None, None), (None, None), (0, None), (500, None), (4_000, None), (None, 200), (None, 3_000), (500, 600)]
"""Delays, and times to live."""
PATIENT = 4
"""One of so many tasks can wait for an idle pool."""
HOOKED = 5
"""One of so many tasks is followed by others, and its end to be told."""
HOOKS = Hooks("https://receiver.example/told", on_success="world.quick", on_failure="world.many")
DEADLINES_MS = (None, 11_000, 13_000, 20_000)
"""Those that they have: ten seconds before, they wait no more."""
STATES = [
    (),
    (),
    (TaskState.QUEUED,),
    (TaskState.SCHEDULED, TaskState.RETRYING),
    (TaskState.PAUSED,),
    (TaskState.FAILED, TaskState.EXPIRED),
]
CANCEL, PAUSE, RESUME, RETRY, DELETE = OperationKind


class SimClient:
    """One producer of one tenant."""

    def __init__(self, name: str, tenant: TenantId, clock: Clock, network: Network, ask: Ask) -> None:
        self.name = name
        self.tenant = tenant
        self.promised: dict[TaskId, NewTask] = {}
        """Tasks that were accepted in an answer that arrived."""
        self.ended: dict[tuple[TaskNo, int], TaskState] = {}
        """Terminal states seen, by number and run; in history the run is not told: 0."""
        self.scheduled: dict[ScheduleId, bool] = {}
        """Schedules that were set in an answer that arrived; and whether they were removed, or may have been."""
        self.outstanding = 0
        """Submits not yet answered."""
        self._clock = clock
        self._network = network
        self._ask = ask
        self._made = 0

    def act(self) -> None:
        """One request of some kind is made."""
        roll = self._clock.rng.random()
        if roll < 0.6 or not self.promised:
            self._submit(self._new_tasks(), again=True)
        elif roll < 0.7:
            known = [self.promised[id] for id in self._some_ids(3)]
            self._submit(tuple(known), again=False)
        elif roll < 0.75:
            self._submit_another()
        elif roll < 0.81:
            self._change_in_bulk()
        elif roll < 0.85:
            self._change_some()
        elif roll < 0.88:
            self._schedule()
        elif roll < 0.89 and self.scheduled:
            self._unschedule(self._clock.rng.choice(list(self.scheduled)))
        else:
            for id in self._some_ids(2):
                self.look(id)

    def look(self, id: TaskId) -> None:
        self._ask(lambda ref: TaskAsked(ref, self.tenant, id), lambda value: self._see_task(value, id))

    def _new_tasks(self) -> tuple[NewTask, ...]:
        rng = self._clock.rng
        function = rng.choice(FUNCTIONS)
        tasks = []
        for _ in range(rng.choice([1, 1, 3, 25])):
            self._made += 1
            delay_ms, ttl_ms = rng.choice(TIMES_MS)
            id = TaskId(f"{self.name}-{self._made}")
            tags = (ODD,) if self._made % 2 else ()
            task = NewTask(id, function.name, b"{}", delay_ms=delay_ms, tags=tags, ttl_ms=ttl_ms)
            if self._made % PATIENT == 0:
                deadline_in_ms = DEADLINES_MS[self._made // PATIENT % len(DEADLINES_MS)]
                task = replace(task, off_peak=True, deadline_in_ms=deadline_in_ms)
            if self._made % HOOKED == 0:
                task = replace(task, hooks=HOOKS)
            tasks.append(task)
        return tuple(tasks)

    def _submit_another(self) -> None:
        """An id that is known, with another payload; unless it may have been deleted."""
        id = self._some_ids(1)[0]
        if self.promised[id].function != BRIEF:
            another = NewTask(id, FUNCTIONS[0].name, b'"another"')
            self._ask(lambda ref: Submitted(ref, self.tenant, (another,)), self._conflict)

    def _change_in_bulk(self) -> None:
        """Something is done to tasks of the own tenant, or now and then of all, by a filter that is drawn."""
        rng = self._clock.rng
        kind = rng.choice([CANCEL, PAUSE, PAUSE, RESUME, RESUME, RETRY, RETRY, DELETE])
        wanted = ListFilter(
            tenant=self.tenant if rng.random() < 0.8 else None,
            states=() if kind is RETRY else rng.choice(STATES),
            function=BRIEF if kind is DELETE else rng.choice([None, FUNCTIONS[0].name, FUNCTIONS[1].name]),
            tag=rng.choice([None, ODD]),
        )
        dry_run, resume_ms = rng.random() < 0.2, self._resume_ms() if kind is PAUSE else None
        self._ask(lambda ref: BulkAsked(ref, kind, wanted, dry_run, resume_ms), self._follow)

    def _change_some(self) -> None:
        kind = self._clock.rng.choice(list(OperationKind))
        ids = self._some_ids(4)
        if kind is DELETE:
            ids = [id for id in ids if self.promised[id].function == BRIEF]
        resume_ms = self._resume_ms() if kind is PAUSE else None
        self._ask(lambda ref: ChangeAsked(ref, self.tenant, kind, tuple(ids), resume_ms), self._see_items)

    def _cancel(self, id: TaskId) -> None:
        """Perhaps it runs by now."""
        self._ask(lambda ref: ChangeAsked(ref, self.tenant, CANCEL, (id,)), self._see_items)

    def _resume_ms(self) -> int | None:
        after_ms = self._clock.rng.choice([None, 50, 1_000, 5_000])
        return None if after_ms is None else self._clock.wall_ms + after_ms

    def _schedule(self) -> None:
        """A schedule that is over after some seconds, by the clock that the dispatcher has then."""
        rng = self._clock.rng
        self._made += 1
        id, begin_ms = ScheduleId(f"{self.name}-s{self._made}"), self._clock.wall_ms
        spec = ScheduleSpec(
            NewTask(TaskId(""), rng.choice(FUNCTIONS).name, b"{}"),
            interval_ms=rng.choice([100, 300, 1_000]),
            overlap=rng.choice(list(Overlap)),
            catch_up=rng.choice(list(CatchUp)),
            jitter_ms=rng.choice([0, 0, 90]),
            starts_ms=begin_ms,
            ends_ms=begin_ms + rng.choice([1_000, 5_000]),
        )

        def answered(value: AnswerValue) -> None:
            assert isinstance(value, ScheduleAnswer)
            if value.refusal is None:
                self.scheduled.setdefault(id, False)
            else:
                assert value.refusal is Refusal.SCHEDULE_INVALID, value  # it came so late that it is over

        self._ask(lambda ref: SchedulePut(ref, self.tenant, id, spec, None), answered)

    def _unschedule(self, id: ScheduleId) -> None:
        def answered(value: AnswerValue) -> None:
            assert isinstance(value, ScheduleAnswer)
            assert value.refusal in (None, Refusal.NOT_FOUND), value

        self.scheduled[id] = True
        self._ask(lambda ref: ScheduleRemoveAsked(ref, self.tenant, id), answered)

    def _follow(self, value: AnswerValue) -> None:
        """Whoever has an operation's name may ask for it for as long as it is not done."""
        assert isinstance(value, OperationAnswer)
        if value.operation is None:
            assert value.refusal is Refusal.OPERATIONS_MAX, value
            return
        id, owner = value.operation.id, value.operation.owner
        self._clock.note("operation", value.operation)
        if id and value.operation.done_ms is None:
            self._clock.after(ASK_AGAIN_MS, lambda: self._ask(lambda ref: OperationAsked(ref, owner, id), self._follow))

    def _some_ids(self, count: int) -> list[TaskId]:
        known = list(self.promised)
        return [self._clock.rng.choice(known) for _ in range(count)]

    def _submit(self, tasks: tuple[NewTask, ...], *, again: bool) -> None:
        """The tasks are submitted until somebody says that they are accepted."""
        answered = False

        def answer(value: AnswerValue) -> None:
            nonlocal answered
            assert isinstance(value, ItemsAnswer)
            self._see_items(value)
            for item, task in zip(value.items, tasks, strict=True):
                if item.refusal is Refusal.OPERATION_AHEAD and task.function == BRIEF:
                    continue
                assert item.status in (ItemStatus.ACCEPTED, ItemStatus.DUPLICATE), item
                self.promised.setdefault(task.id, task)
            if again and not answered:
                answered = True
                self.outstanding -= 1
                if self._clock.rng.random() < CANCELLED_RATIO:
                    self._clock.after(self._clock.rng.randint(0, 2_000), lambda: self._cancel(tasks[0].id))

        def ask() -> None:
            if not answered:
                self._ask(lambda ref: Submitted(ref, self.tenant, tasks), answer)
                if again:
                    self._clock.after(ASK_AGAIN_MS, ask)

        if again:
            self.outstanding += 1
        ask()

    def _conflict(self, value: AnswerValue) -> None:
        assert isinstance(value, ItemsAnswer)
        assert value.items[0].refusal is Refusal.CONFLICT, value

    def _see_items(self, value: AnswerValue) -> None:
        assert isinstance(value, ItemsAnswer)
        for item in value.items:
            self._see(item.task or item.past)

    def _see_task(self, value: AnswerValue, id: TaskId) -> None:
        assert isinstance(value, TaskAnswer)
        known = value.task or value.past
        assert known or self.promised[id].function == BRIEF, f"{self.name}: {id} was promised and is not there"
        self._see(known)

    def _see(self, known: Task | Past | None) -> None:
        if known is None:
            return
        self._clock.note("seen", known.id, known.state)
        run = known.run if isinstance(known, Task) else 0
        # An answer may be late, so an older state may arrive after the end; another end of the same run may not.
        if known.state in TERMINAL_STATES:
            before = self.ended.setdefault((known.no, run), known.state)
            assert before is known.state, f"run {run} of {known.id} had ended as {before} and now as {known.state}"
