"""A simulated dispatcher: the real shard and the real codec over a journal in RAM, with commits that take time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from taskservice.core.bulk import deletions
from taskservice.core.check import check
from taskservice.core.effects import (
    Answer,
    AnswerValue,
    Deleted,
    Effect,
    Ended,
    ItemsAnswer,
    ItemStatus,
    Launch,
    Ordered,
)
from taskservice.core.events import Event, OperationTurn, Submitted, Ticked
from taskservice.core.limits import Limits
from taskservice.core.shard import Cut
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import TaskNo, TaskState
from taskservice.journal import Fenced
from taskservice.journal.codec import encode
from taskservice.journal.marks import mark_at
from taskservice.journal.memory import MemoryJournal, MemoryStore
from taskservice.objects.memory import MemoryObjects
from world.archiver import SimArchiver
from world.clock import Clock
from world.durable import Disk, check_restored
from world.faults import STALL_MS
from world.network import Network
from world.rounds import Rounds

LIMITS = Limits(
    lease_tasks_max=20,
    head_tasks_max=15,
    losses_max=1_000,
    due_batch_max=7,
    operation_batch_max=3,
    schedule_period_ms_min=1,
    schedule_catchup_max=3,
    schedule_grace_ms=200,
    off_peak_idle_s=0.5,
    retention_s=1.0,
    retention_failed_s=3.0,
    dedup_window_s=10 * 365 * 86_400.0,  # longer than any clock jumps: what was promised stays known
)
BULK_MS = 20
BULK_RATIO = 0.2
"""Bulk operations are slow here, so that much happens before they have come through."""


class SimDispatcher:
    """Like `taskservice.actors.dispatcher.Dispatcher`, one turn at a time."""

    def __init__(
        self,
        clock: Clock,
        network: Network,
        store: MemoryStore,
        disk: Disk,
        objects: MemoryObjects,
        archived: Counter[str],
        said: set[tuple[TaskNo, str]],
        launch: Callable[[int, Launch], None],
        ended: Callable[[Ended | Deleted], None],
        order: Callable[[int, Ordered], None],
        *,
        checked: bool,
    ) -> None:
        self._checked = checked
        self.alive = True
        self._clock = clock
        self._network = network
        self._disk = disk
        self._launch = launch
        self._ended = ended
        self._order = order
        self._rng = Random(clock.rng.getrandbits(64))
        self._journal = MemoryJournal(store)
        self.shard = disk.recovered(self._journal, LIMITS)
        self.shard.open(mark_at(None, self._journal.epoch, -1), clock.wall_ms)
        self._rounds = Rounds(self.shard.state)
        self._mailbox: list[Event] = []
        self._said = said
        self._deletions: dict[int, list[str]] = {}
        """Those under way when a caller's tasks were looked at, by its number."""
        self._callers: dict[int, Callable[[AnswerValue], None]] = {}
        self._near: dict[int, Callable[[AnswerValue], None]] = {}
        self._refs = 0
        self._committing = False
        self._turn_planned = False
        self._alarm_ms: float | None = None
        """When the clock next leads to a turn, on its own time."""
        self._plan_turn()
        SimArchiver(clock, objects, self.ask_near, self.epoch, lambda: self.alive, archived)

    @property
    def epoch(self) -> int:
        return self._journal.epoch

    @property
    def idle(self) -> bool:
        """Whether everything that it knows is in the journal."""
        return not self._committing and not self.shard.pending_records

    @property
    def paused(self) -> bool:
        """Whether any task is."""
        return any(state is TaskState.PAUSED for _, state in self.shard.state.table.counts())

    def ask(self, make: Callable[[int], Event], answered: Callable[[AnswerValue], None]) -> None:
        """The event will be handled; `answered` is called back over the network."""
        if not self.alive:
            return
        self._refs += 1
        self._callers[self._refs] = answered
        self.tell(make(self._refs))

    def ask_near(self, make: Callable[[int], Event], answered: Callable[[AnswerValue], None]) -> None:
        """As `ask`, for what lives in the same process: no network is in between."""
        if self.alive:
            self._refs += 1
            self._near[self._refs] = answered
            self.tell(make(self._refs))

    def tell(self, event: Event) -> None:
        if self.alive:
            self._mailbox.append(event)
            self._plan_turn()

    def crash(self) -> None:
        """The process is gone, with what was not yet on its way to the journal."""
        self.alive = False
        self._disk.crashed(self.shard.state.table)

    def _plan_turn(self) -> None:
        if not self._turn_planned:
            self._turn_planned = True
            stalls = self._clock.rng.random() < self._network.faults.stall
            self._clock.after(STALL_MS if stalls else 1, self._turn)

    def _plan_turn_after(self, ms: int) -> None:
        """As each turn looks for what comes next, only the earliest alarm is kept."""
        at_ms = self._clock.true_ms + max(1, min(60_000, ms))
        if self._alarm_ms is not None and self._alarm_ms <= at_ms:
            return
        self._alarm_ms = at_ms
        self._clock.after(at_ms - self._clock.true_ms, lambda: self._alarm(at_ms))

    def _alarm(self, at_ms: float) -> None:
        if self._alarm_ms == at_ms:
            self._alarm_ms = None
            self._plan_turn()

    def _turn(self) -> None:
        self._turn_planned = False
        if not self.alive:
            return
        now_ms = self._clock.wall_ms
        events, self._mailbox = self._mailbox, []
        for event in events:
            if isinstance(event, Submitted):
                self._deletions[event.ref] = [each.id for each in deletions(self.shard.state)]
            self.shard.handle(event, now_ms, self._rng)
        due_ms = next_tick_ms(self.shard.state)
        if due_ms is not None:
            if due_ms <= now_ms:
                self.shard.handle(Ticked(), now_ms, self._rng)
                self._plan_turn()
            else:
                self._plan_turn_after(due_ms - now_ms)
        self.shard.dispatch(now_ms)
        if self.shard.opens_ms is not None:
            self._plan_turn_after(self.shard.opens_ms - now_ms)
        if self.shard.operating:
            if self._rng.random() < BULK_RATIO:
                self.shard.handle(OperationTurn(), now_ms, self._rng)
            self._plan_turn_after(BULK_MS)
        if self._checked:
            self._rounds.check(self.shard.state, now_ms)
        if self._checked and (events or self.shard.pending_records):
            check(self.shard.state)
        self._commit()
        for effect in self.shard.release():
            self._perform(effect)

    def _commit(self) -> None:
        if self._committing or (cut := self.shard.cut()) is None:
            return
        self._committing = True
        if not self.shard.pending_records:
            self._disk.committed(self.shard.state.table)
            if self._checked:
                check_restored(self.shard.state)
        rng, faults = self._clock.rng, self._network.faults
        takes_ms = rng.expovariate(1 / faults.commit_ms) * (100 if rng.random() < faults.slow_commit else 1)
        body = encode(cut.records)
        lands_ms = takes_ms * rng.random()
        self._clock.after(lands_ms, lambda: self._land(cut, body, takes_ms - lands_ms))

    def _land(self, cut: Cut, body: bytes, answer_ms: float) -> None:
        """The store has it, though the writer does not know yet."""
        if not self.alive:
            return
        try:
            self._journal.append(cut.number, body)
        except Fenced:
            self.alive = False
            return
        self._clock.note("segment", self.epoch, cut.number, body)
        self._clock.after(answer_ms, lambda: self._durable(cut.number))

    def _durable(self, number: int) -> None:
        if not self.alive:
            return
        self._committing = False
        self.shard.durable(number)
        self._plan_turn()

    def _remember(self, answer: Answer) -> None:
        """Whoever is told that a task is known may rely on it, whatever was to be deleted by then."""
        under_way = self._deletions.pop(answer.ref, None)
        if under_way and isinstance(answer.value, ItemsAnswer):
            known = [item.task or item.past for item in answer.value.items if item.status is ItemStatus.DUPLICATE]
            self._said.update((task.no, id) for task in known if task is not None for id in under_way)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Answer):
            if effect.ref in self._near:
                self._near.pop(effect.ref)(effect.value)
                return
            self._remember(effect)
            answered = self._callers.pop(effect.ref)
            self._network.send(lambda: answered(effect.value))
        elif isinstance(effect, Launch):
            self._launch(self.epoch, effect)
        elif isinstance(effect, Ordered):
            self._order(self.epoch, effect)
        elif isinstance(effect, (Ended, Deleted)):
            self._ended(effect)
