"""A simulated runner: runs leases in virtual time, and tells of them until it is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from taskservice.core.lease_wire import (
    HeldLease,
    LeaseReport,
    LeaseSpec,
    LeaseTask,
    Outcome,
    ReportAck,
    RunnerReport,
)
from taskservice.core.orders import Order
from taskservice.core.specs import Resources
from taskservice.core.types import OutcomeKind, RunnerId, TaskId, TaskNo, Token
from world import workload
from world.clock import Clock
from world.network import Network
from world.saves import Saves

REPORT_AGAIN_MS = 400


@dataclass(slots=True)
class Held:
    spec: LeaseSpec
    stopped: bool = False
    index: int = 0
    """Of the task that runs."""
    over: bool = False
    gone: dict[TaskNo, None] = field(default_factory=dict)
    """Those that were told to stop, and have."""


class SimRunner:
    """Like `taskservice.actors.runner.Runner`: refuses old epochs, keeps reports until they are acknowledged."""

    def __init__(
        self,
        id: str,
        clock: Clock,
        network: Network,
        report_to: Callable[[RunnerReport, Callable[[ReportAck], None]], None],
        saves: Saves,
    ) -> None:
        self.id = RunnerId(id)
        self.capacity = Resources(cpu_m=2000)
        self.alive = True
        self._clock = clock
        self._network = network
        self._report_to = report_to
        self._saves = saves
        self._epoch = 0
        self._leases: dict[Token, Held] = {}
        self._throttled: dict[TaskId, int] = {}
        self._unacknowledged: list[LeaseReport] = []
        self._orders: dict[Token, list[Order]] = {}
        self._asked = 0
        """Reports asked about so far; an answer to an earlier one is too late."""

    def launch(self, epoch: int, leases: list[LeaseSpec]) -> None:
        if not self.alive or epoch < self._epoch:
            return
        self._epoch = epoch
        for spec in leases:
            if spec.token not in self._leases:
                self._clock.note("launch", self.id, spec.token)
                held = self._leases[spec.token] = Held(spec)
                self._saves.launched(spec)
                self._run(held, 0)
                for order in self._orders.get(spec.token, ()):
                    self._obey(held, order)

    def order(self, epoch: int, order: Order) -> None:
        """It may come before its lease, or again."""
        if not self.alive or epoch < self._epoch:
            return
        self._epoch = epoch
        known = self._orders.setdefault(order.token, [])
        if order not in known:
            known.append(order)
            held = self._leases.get(order.token)
            if held is not None:
                self._obey(held, order)

    def _obey(self, held: Held, order: Order) -> None:
        """What runs stops at some time within its grace, if it has not ended by then; the rest is handed back."""
        self._clock.note("told", self.id, order.token)
        started_ms = self._clock.wall_ms
        takes_ms = self._clock.rng.randint(0, order.grace_ms)
        if not order.nos:
            self._clock.after(takes_ms, lambda: self._stop(held, started_ms, takes_ms))
            return
        if held.over:
            return
        index, tasks = held.index, held.spec.tasks
        later = [task.no for task in tasks[index + 1 :] if order.means(task.no) and task.no not in held.gone]
        if later:
            held.gone.update(dict.fromkeys(later))
            self._tell(LeaseReport(held.spec.token, handed_back=tuple(later)))
        if order.means(tasks[index].no):
            self._clock.after(takes_ms, lambda: self._stop_one(held, index, started_ms, takes_ms))

    def _stop_one(self, held: Held, index: int, started_ms: int, took_ms: int) -> None:
        """If it runs still; the next one begins."""
        no = held.spec.tasks[index].no
        if not self.alive or held.over or held.index != index or no in held.gone:
            return
        held.gone[no] = None
        outcome = Outcome(no, OutcomeKind.CANCELLED, started_ms, took_ms * 1000, message="told to")
        self._tell(LeaseReport(held.spec.token, (outcome,)))
        self._run(held, index + 1)

    def _stop(self, held: Held, started_ms: int, took_ms: int) -> None:
        if not self.alive or held.over:
            return
        held.over = True
        tasks = [task for task in held.spec.tasks[held.index :] if task.no not in held.gone]
        outcome = Outcome(tasks[0].no, OutcomeKind.PREEMPTED, started_ms, took_ms * 1000, message="told to")
        later, saved = tuple(task.no for task in tasks[1:]), (self._saves.next(tasks[0]),)
        self._tell(LeaseReport(held.spec.token, (outcome,), later, done=True, checkpoints=saved))

    def list_leases(self) -> tuple[HeldLease, ...]:
        """Told to a dispatcher that has just started; what the one before still acknowledges does not count any more."""
        self._asked += 1
        self._clock.after(REPORT_AGAIN_MS, self._send)
        return tuple(HeldLease(token, held.spec.resources) for token, held in self._leases.items())

    def crash(self) -> None:
        self.alive = False

    def _run(self, held: Held, index: int) -> None:
        while index < len(held.spec.tasks) and held.spec.tasks[index].no in held.gone:
            index += 1
        held.index = index
        if held.stopped or index == len(held.spec.tasks):
            held.over = True
            self._tell(LeaseReport(held.spec.token, done=True))
            return
        task = held.spec.tasks[index]
        took_ms = workload.duration_ms(held.spec.function, task.id)
        started_ms = self._clock.wall_ms
        self._clock.after(took_ms, lambda: self._finish(held, index, task, started_ms, took_ms))

    def _finish(self, held: Held, index: int, task: LeaseTask, started_ms: int, took_ms: int) -> None:
        if not self.alive or held.over or task.no in held.gone:
            return
        outcome = workload.outcome(task, self._throttled.get(task.id, 0), started_ms, took_ms)
        if outcome.kind is OutcomeKind.THROTTLED:
            self._throttled[task.id] = self._throttled.get(task.id, 0) + 1
        # Its own last one, and the first of the attempt that begins: so that no more messages come of them.
        saving = [each for each in held.spec.tasks[index : index + 2] if each.no not in held.gone]
        self._tell(LeaseReport(held.spec.token, (outcome,), checkpoints=tuple(map(self._saves.next, saving))))
        if self._clock.rng.random() < 0.02:
            held.over = True
            rest = tuple(task.no for task in held.spec.tasks[index + 1 :] if task.no not in held.gone)
            self._tell(LeaseReport(held.spec.token, handed_back=rest, done=True))
            return
        self._run(held, index + 1)

    def _tell(self, report: LeaseReport) -> None:
        if not self.alive:
            return
        self._unacknowledged.append(report)
        if len(self._unacknowledged) == 1:
            self._send()

    def _send(self) -> None:
        """What is not acknowledged is told again, until it is."""
        if not self.alive or not self._unacknowledged:
            return
        self._asked += 1
        asked, reports = self._asked, tuple(self._unacknowledged)
        self._report_to(RunnerReport(self.id, reports), lambda ack: self._acknowledged(asked, len(reports), ack))
        self._clock.after(REPORT_AGAIN_MS, lambda: self._send() if asked == self._asked else None)

    def _acknowledged(self, asked: int, count: int, ack: ReportAck) -> None:
        if not self.alive or asked != self._asked:
            return
        self._asked += 1
        acknowledged, self._unacknowledged = self._unacknowledged[:count], self._unacknowledged[count:]
        for report in acknowledged:
            if report.token not in ack.gone:
                self._saves.acknowledged(report)
            if report.done:
                self._leases.pop(report.token, None)
        for token in ack.gone:
            if token in self._leases:
                self._leases[token].stopped = True
        self._send()
