"""Simulated producers: they submit, submit again, cancel and look, and remember all that they were promised."""

from __future__ import annotations

from collections.abc import Callable

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
    CancelAsked,
    Event,
    OperationAsked,
    SchedulePut,
    ScheduleRemoveAsked,
    Submitted,
    TaskAsked,
)
from taskservice.core.operations import OperationKind
from taskservice.core.schedules import CatchUp, Overlap, ScheduleId, ScheduleSpec
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Tenant
from taskservice.core.types import TERMINAL_STATES, ListFilter, NewTask, TaskId, TaskState, TenantId
from world.clock import Clock
from world.network import Network
from world.workload import FUNCTIONS

Ask = Callable[[Callable[[int], Event], Callable[[AnswerValue], None]], None]

TENANTS = (Tenant(DEFAULT_TENANT), Tenant(TenantId("acme"), weight=3.0), Tenant(TenantId("quiet"), running_max=1))
ASK_AGAIN_MS = 900
ODD = ("number", "odd")
"""A tag that every other task has."""


class SimClient:
    """One producer of one tenant."""

    def __init__(self, name: str, tenant: TenantId, clock: Clock, network: Network, ask: Ask) -> None:
        self.name = name
        self.tenant = tenant
        self.promised: dict[TaskId, NewTask] = {}
        """Tasks that were accepted in an answer that arrived."""
        self.ended: dict[TaskId, TaskState] = {}
        """Terminal states seen."""
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
            id = self._some_ids(1)[0]
            self._ask(
                lambda ref: Submitted(ref, self.tenant, (NewTask(id, FUNCTIONS[0].name, b'"another"'),)), self._conflict
            )
        elif roll < 0.8:
            self._cancel_in_bulk()
        elif roll < 0.84:
            ids = tuple(self._some_ids(4))
            self._ask(lambda ref: CancelAsked(ref, self.tenant, ids), self._see_items)
        elif roll < 0.88:
            self._schedule()
        elif roll < 0.89 and self.scheduled:
            self._unschedule(self._clock.rng.choice(list(self.scheduled)))
        else:
            for id in self._some_ids(2):
                self.look(id)

    def look(self, id: TaskId) -> None:
        self._ask(lambda ref: TaskAsked(ref, self.tenant, id), self._see_task)

    def _new_tasks(self) -> tuple[NewTask, ...]:
        rng = self._clock.rng
        function = rng.choice(FUNCTIONS)
        tasks = []
        for _ in range(rng.choice([1, 1, 3, 25])):
            self._made += 1
            delay_ms = rng.choice([None, None, None, 0, 500, 4_000])
            id = TaskId(f"{self.name}-{self._made}")
            tags = (ODD,) if self._made % 2 else ()
            tasks.append(NewTask(id, function.name, b"{}", delay_ms=delay_ms, tags=tags))
        return tuple(tasks)

    def _cancel_in_bulk(self) -> None:
        """Tasks of the own tenant, or now and then of all, by a filter that is drawn."""
        rng = self._clock.rng
        wanted = ListFilter(
            tenant=self.tenant if rng.random() < 0.8 else None,
            states=rng.choice([(), (), (TaskState.QUEUED,), (TaskState.SCHEDULED, TaskState.RETRYING)]),
            function=rng.choice([None, FUNCTIONS[0].name, FUNCTIONS[1].name]),
            tag=rng.choice([None, ODD]),
        )
        dry_run = rng.random() < 0.2
        self._ask(lambda ref: BulkAsked(ref, OperationKind.CANCEL, wanted, dry_run), self._follow)

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
                assert item.status in (ItemStatus.ACCEPTED, ItemStatus.DUPLICATE), item
                self.promised.setdefault(task.id, task)
            if again and not answered:
                answered = True
                self.outstanding -= 1

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
            known = item.task or item.past
            if known is not None:
                self._see(known.id, known.state)

    def _see_task(self, value: AnswerValue) -> None:
        assert isinstance(value, TaskAnswer)
        known = value.task or value.past
        assert known is not None, f"{self.name}: a task that was promised is not there"
        self._see(known.id, known.state)

    def _see(self, id: TaskId, state: TaskState) -> None:
        self._clock.note("seen", id, state)
        before = self.ended.get(id)
        # An answer may be late, so an older state may arrive after the end; another end may not.
        if state in TERMINAL_STATES:
            assert before in (None, state), f"{id} had ended as {before} and now as {state}"
            self.ended[id] = state
