"""The fleet: nodes that come and go, each with a runner that runs leases as a real one would.

A lease waits on its node until its resources are free, as it does in Ray. Then its attempts run one after another, or
`concurrency` at a time; while one of them outlasts the slice, what has not been started is handed back. What there is to
report is gathered, and goes to the dispatcher in one call for each runner and turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from random import Random

import msgspec

from taskservice.core.events import Event, RunnerDraining, RunnerJoined, RunnerLost, RunnersSettled
from taskservice.core.lease_wire import HeldLease, LeaseReport, LeaseSpec, LeaseTask, Outcome, RunnerReport
from taskservice.core.orders import Order
from taskservice.core.resources import Amounts, add, amounts, subtract
from taskservice.core.specs import Resources
from taskservice.core.types import OutcomeKind, RunnerId, TaskId, TaskNo
from taskservice.simulator.agenda import Agenda
from taskservice.simulator.downstream import Called
from taskservice.simulator.faults import Post, Reports
from taskservice.simulator.meters import Meter
from taskservice.simulator.parts import Nodes
from taskservice.simulator.plan import Handler

START_MS = 1_800_000_000_000
"""The wall clock at the beginning of every run."""

RESULT = b"null"

HEARD_US = 1_000_000
"""After which a dispatcher has heard for certain that a node drains, and what it launched before is there."""

decode_payload = msgspec.json.Decoder(tuple[int, int]).decode
"""A simulated task's payload: when it may run, in microseconds since the beginning, and how long it takes. Before the beginning: it
is of a schedule, and its id says when."""


def nominal_us(id: TaskId) -> int:
    """When a schedule's task was due, in microseconds since the beginning."""
    _, _, moment = id.partition("@")
    return round(datetime.fromisoformat(moment).timestamp() * 1e6) - START_MS * 1000


class Node:
    """A machine with its runner."""

    __slots__ = ("capacity", "draining", "free", "has", "id", "labels", "runs", "talking", "waiting")

    def __init__(self, id: RunnerId, has: Resources, labels: tuple[tuple[str, str], ...] = ()) -> None:
        self.id = id
        self.has = has
        self.labels = labels
        self.capacity = capacity = amounts(has)
        self.free = dict(capacity)
        self.waiting: list[LeaseRun] = []
        """Leases whose resources are not free yet, in the order in which they came."""
        self.runs: dict[LeaseRun, None] = {}
        """Those that have theirs."""
        self.talking: dict[LeaseRun, None] = {}
        """Those with something to report."""
        self.draining = False
        """It gets no more leases, and goes when those that it has are over."""


class LeaseRun:
    """A lease on its node."""

    __slots__ = (
        "active",
        "began",
        "began_us",
        "handed_back",
        "handler",
        "held_us",
        "meter",
        "next",
        "node",
        "outcomes",
        "over",
        "spec",
    )

    def __init__(self, spec: LeaseSpec, node: Node, handler: Handler, meter: Meter) -> None:
        self.spec = spec
        self.node = node
        self.handler = handler
        self.meter = meter
        self.next = 0
        """The place of the next task to start."""
        self.active = 0
        """Attempts that run."""
        self.began: dict[TaskNo, tuple[LeaseTask, int]] = {}
        """Their tasks, and when each began."""
        self.outcomes: list[Outcome] = []
        """Not reported yet."""
        self.handed_back: tuple[TaskNo, ...] = ()
        """Likewise."""
        self.over = False
        self.began_us = 0
        """When it got its resources."""
        self.held_us = 0
        """How long it had them, once it is over."""


class Machines:
    """All nodes."""

    def __init__(
        self,
        agenda: Agenda,
        rng: Random,
        downstreams: dict[str, Called],
        lease_start_us: int,
        emit: Callable[[Event], None],
        changing: Callable[[int], None],
        reports: Reports,
        ended: Callable[[RunnerId], None] = lambda _: None,
    ) -> None:
        """`emit` takes what the fleet has to tell the dispatcher. `changing` is called before the fleet's size changes, `ended` when
        a node is there no more."""
        self.nodes: dict[RunnerId, Node] = {}
        self.capacity: Amounts = {}
        """Of all nodes that are up."""
        self._agenda = agenda
        self._rng = rng
        self._downstreams = downstreams
        self._lease_start_us = lease_start_us
        self._emit = emit
        self._changing = changing
        self._node_ended = ended
        self._talking: dict[Node, None] = {}
        self._post = Post(reports, agenda, rng, self.nodes.__contains__)
        self._begun: dict[TaskId, None] = {}
        """Tasks that have had an attempt, which did not end them."""

    # The fleet

    def plan(self, fleet: list[Nodes]) -> None:
        """Nodes will come and go as the scenario says."""
        for kind in fleet:
            for number in range(1, kind.nodes + 1):
                node = Node(RunnerId(f"{kind.name}-{number}"), kind.amount)
                self._agenda.at(kind.joins * 1000, self.join, node)
                if kind.leaves is not None:
                    self._agenda.at(kind.leaves * 1000, self._drain, node)
                if kind.lost is not None:
                    self._agenda.at(kind.lost * 1000, self._lose, (node, kind.noticed_after * 1000))

    def join(self, t_us: int, node: Node) -> None:
        """The node is up, and its runner has joined."""
        self._changing(t_us)
        self.nodes[node.id] = node
        add(self.capacity, node.capacity)
        self._emit(RunnerJoined(node.id, node.id, node.has, labels=node.labels))

    def retire(self, t_us: int, id: RunnerId) -> None:
        """The node gets no more leases, and is gone when those that it has are over."""
        self._drain(t_us, self.nodes[id])

    def _drain(self, t_us: int, node: Node) -> None:
        self._emit(RunnerDraining(node.id))
        self._agenda.at(t_us + HEARD_US, self._heard, node)

    def _heard(self, t_us: int, node: Node) -> None:
        """No lease is on its way to the node any more."""
        node.draining = True
        self._leave_if_idle(t_us, node)

    def _leave_if_idle(self, t_us: int, node: Node) -> None:
        if not node.runs and not node.waiting and not node.talking:
            self._end(t_us, node)
            self._emit(RunnerLost(node.id))

    def _lose(self, t_us: int, losing: tuple[Node, int]) -> None:
        """What the node runs, and what it has not reported, is lost. Downstreams have its calls until they would have ended."""
        node, noticed_after_us = losing
        self._end(t_us, node)
        for run in node.runs:
            run.over = True
            run.meter.ends(t_us)
            attempts = run.meter.counts.attempts
            attempts[OutcomeKind.LOST] = attempts.get(OutcomeKind.LOST, 0) + run.active
        for run in (*node.runs, *node.talking):
            self._begun.update(dict.fromkeys(task.id for task in run.spec.tasks[: run.next]))
        self._talking.pop(node, None)
        self._agenda.at(t_us + noticed_after_us, self._miss, node)

    def _miss(self, _t_us: int, node: Node) -> None:
        self._emit(RunnerLost(node.id))

    def _end(self, t_us: int, node: Node) -> None:
        self._changing(t_us)
        del self.nodes[node.id]
        subtract(self.capacity, node.capacity)
        self._node_ended(node.id)

    # Leases

    def launch(self, t_us: int, runner: RunnerId, spec: LeaseSpec, handler: Handler, meter: Meter) -> None:
        """The lease is on its node, if that is still up."""
        node = self.nodes.get(runner)
        if node is not None:
            node.waiting.append(LeaseRun(spec, node, handler, meter))
            self._start_waiting(t_us, node)

    def _start_waiting(self, t_us: int, node: Node) -> None:
        """Whatever has room now has begun. One that does not fit lets smaller ones pass."""
        for run in list(node.waiting):
            need = run.meter.need
            if all(node.free.get(name, 0) >= amount for name, amount in need.items()):
                node.waiting.remove(run)
                subtract(node.free, need)
                node.runs[run] = None
                run.began_us = t_us
                run.meter.starts(t_us)
                run.meter.counts.leases += 1
                self._agenda.at(t_us + self._lease_start_us, self._begin, run)

    def _begin(self, t_us: int, run: LeaseRun) -> None:
        if run.over:
            return
        if run.next == len(run.spec.tasks):  # it was told to stop before it had begun with any
            self._talk(run)
            self._finish(t_us, run)
            return
        slots = min(run.spec.concurrency if run.spec.is_async else 1, len(run.spec.tasks))
        for _ in range(slots):
            self._attempt(t_us, run)
        if run.next < len(run.spec.tasks):
            self._agenda.at(t_us + run.spec.slice_ms * 1000, self._slice_over, run)

    def _attempt(self, t_us: int, run: LeaseRun) -> None:
        """The next task of the lease has begun, and its end is known."""
        task = run.spec.tasks[run.next]
        run.next += 1
        run.active += 1
        run.began[task.no] = (task, t_us)
        due_us, takes_us = decode_payload(task.payload)
        first = not self._begun or task.id not in self._begun
        if due_us < 0:
            due_us = nominal_us(task.id)
            run.meter.counts.submitted += first
        if first:
            run.meter.recent_waits.add(max(0, t_us - due_us))
        handler = run.handler
        called = None if handler.downstream is None else self._downstreams[handler.downstream]
        kind = OutcomeKind.SUCCEEDED if not handler.failures else self._drawn(handler)
        retry_after_ms = None
        taken = called is not None and called.enter(t_us)
        if called is not None and not taken:
            kind, takes_us, retry_after_ms = OutcomeKind.THROTTLED, called.refuses_us, called.retry_after_ms
        if takes_us > task.timeout_ms * 1000:
            kind, takes_us = OutcomeKind.TIMEOUT, task.timeout_ms * 1000
        self._agenda.at(t_us + takes_us, self._ended, (run, task, kind, t_us, retry_after_ms, called, taken))

    def _drawn(self, handler: Handler) -> OutcomeKind:
        drawn = self._rng.random()
        return next((kind for ratio, kind in handler.failures if drawn < ratio), OutcomeKind.SUCCEEDED)

    def _ended(
        self, t_us: int, ended: tuple[LeaseRun, LeaseTask, OutcomeKind, int, int | None, Called | None, bool]
    ) -> None:
        run, task, kind, began_us, retry_after_ms, called, taken = ended
        if called is not None:
            called.leave(t_us, taken=taken)
        if run.over:
            return
        attempts = run.meter.counts.attempts
        attempts[kind] = attempts.get(kind, 0) + 1
        if kind is not OutcomeKind.SUCCEEDED:
            self._begun[task.id] = None
        started_ms = START_MS + began_us // 1000
        run.outcomes.append(Outcome(task.no, kind, started_ms, t_us - began_us, RESULT, retry_after_ms=retry_after_ms))
        self._talk(run)
        run.active -= 1
        del run.began[task.no]
        if run.next < len(run.spec.tasks):
            self._attempt(t_us, run)
        elif not run.active:
            self._finish(t_us, run)

    def _slice_over(self, t_us: int, run: LeaseRun) -> None:
        """What has not begun goes back."""
        if not run.over and run.next < len(run.spec.tasks):
            run.handed_back = tuple(task.no for task in run.spec.tasks[run.next :])
            run.next = len(run.spec.tasks)
            self._talk(run)

    def _finish(self, t_us: int, run: LeaseRun) -> None:
        node = run.node
        run.over = True
        run.held_us = t_us - run.began_us
        run.meter.ends(t_us)
        add(node.free, run.meter.need)
        del node.runs[run]
        if node.waiting:
            self._start_waiting(t_us, node)

    # Orders

    def order(self, t_us: int, runner: RunnerId, order: Order) -> None:
        """What the lease has not begun goes back; what runs is stopped when the grace is over: these handlers hear of nothing."""
        node = self.nodes.get(runner)
        for run in (*node.runs, *node.waiting) if node is not None else ():
            if run.spec.token == order.token and not run.over:
                self._slice_over(t_us, run)
                self._agenda.at(t_us + order.grace_ms * 1000, self._stop, run)

    def _stop(self, t_us: int, run: LeaseRun) -> None:
        if run.over:
            return
        attempts = run.meter.counts.attempts
        for task, began_us in run.began.values():
            attempts[OutcomeKind.PREEMPTED] = attempts.get(OutcomeKind.PREEMPTED, 0) + 1
            self._begun[task.id] = None
            started_ms = START_MS + began_us // 1000
            run.outcomes.append(Outcome(task.no, OutcomeKind.PREEMPTED, started_ms, t_us - began_us))
        self._talk(run)
        if run in run.node.runs:
            self._finish(t_us, run)
        else:
            run.over = True
            run.node.waiting.remove(run)

    # Reports

    def _talk(self, run: LeaseRun) -> None:
        run.node.talking[run] = None
        self._talking[run.node] = None

    @property
    def talks(self) -> bool:
        """Whether a runner has something to report."""
        return bool(self._talking) or self._post.waits

    def take_reports(self, t_us: int) -> list[RunnerReport]:
        """What each runner has to report: one call for all of it."""
        nodes, self._talking = self._talking, {}
        reports = []
        for node in nodes:
            reports.append(RunnerReport(node.id, tuple([_report(run) for run in node.talking])))
            node.talking.clear()
            if node.draining:
                self._leave_if_idle(t_us, node)
        return self._post.carry(t_us, reports)

    def rejoin(self) -> Iterable[Event]:
        """What a dispatcher that has just started is told: who is there, and with which leases."""
        for node in self.nodes.values():
            runs = [*node.runs, *node.waiting, *(run for run in node.talking if run.over)]
            held = tuple(HeldLease(run.spec.token, run.spec.resources) for run in runs)
            yield RunnerJoined(node.id, node.id, node.has, held, node.labels)
            if node.draining:
                yield RunnerDraining(node.id)
        yield RunnersSettled()

    def has_begun(self, id: TaskId) -> bool:
        """Whether the task, which has not ended, has had an attempt."""
        return id in self._begun

    def forget(self, ids: Iterable[TaskId]) -> None:
        """These tasks have ended."""
        if self._begun:
            for id in ids:
                self._begun.pop(id, None)


def _report(run: LeaseRun) -> LeaseReport:
    """News of the lease since its last report."""
    report = LeaseReport(run.spec.token, tuple(run.outcomes), run.handed_back, run.over, run.held_us)
    run.outcomes, run.handed_back = [], ()
    return report
