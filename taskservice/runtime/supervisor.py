"""A lease on its node: feeds a child, watches it, reports what comes of each task, and kills it if it must.

Runs in the Ray task and blocks its thread; runs no user code. Each task of the lease is reported exactly once, by its
outcome or as handed back, whatever the child does.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from taskservice.core.lease_wire import LeaseReport, LeaseSpec, LeaseTask, Outcome
from taskservice.core.orders import Order, OrderKind
from taskservice.core.types import OutcomeKind, TaskNo, Token
from taskservice.runtime.logbook import Logbook
from taskservice.runtime.logstore import LogStore
from taskservice.runtime.memory import MemoryWatch
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.pool import ChildPool
from taskservice.runtime.process import Child, LoadError
from taskservice.runtime.values import LOOK_S, LeaseValues
from taskservice.runtime.wire import Ended, FromChild, GiveBack, GivenBack, Logged, Run, Stop
from taskservice.values import Values

STOP_ASKED_INTERVAL_S = 0.1
LISTEN_AFTER_S = 0.2
"""How long a lease has lasted before it listens for orders."""
KINDS = {OrderKind.PREEMPT: OutcomeKind.PREEMPTED, OrderKind.CANCEL: OutcomeKind.CANCELLED}
"""What an attempt comes to that is stopped by an order."""
UNEXPLAINED_DEATHS_MAX = 3
"""A child that dies between two attempts has no culprit; after so many the next task in line is taken for it."""


class ReportPort(Protocol):
    """The way to the runner."""

    def send(self, report: LeaseReport) -> None:
        """The report is on its way, behind those sent before. Does not wait."""

    def stop_asked(self) -> bool:
        """Whether the lease is nobody's any more: its tasks belong to others. Does not wait."""

    def listen(self, token: Token) -> int | None:
        """Orders to the lease come from now on; gives what can be read when there is one, if there is such a thing."""

    def orders(self) -> Sequence[Order]:
        """Those that have come since this was asked last. Does not wait."""


def run_lease(spec: LeaseSpec, port: ReportPort, options: RuntimeOptions, pool: ChildPool, values: Values) -> None:
    """The lease is over: every task of it is reported, unless the runner has asked to stop."""
    _LeaseRun(spec, port, options, pool, values).run()


class _Gone(Exception):
    """The lease is to stop, and none of it runs."""


class _LeaseRun:
    def __init__(
        self, spec: LeaseSpec, port: ReportPort, options: RuntimeOptions, pool: ChildPool, values: Values
    ) -> None:
        self._spec = spec
        self._port = port
        self._options = options
        self._pool = pool
        self._values = LeaseValues(values, options)
        self._later: dict[TaskNo, LeaseTask] = {task.no: task for task in spec.tasks}
        """Tasks whose payloads are not fetched yet, in order; all others are in a child's hands at once."""
        self._waiting: dict[TaskNo, LeaseTask] = {}
        """Tasks with their payloads that are not settled yet, in order."""
        self._logs = Logbook(LogStore(Path(options.logs_dir)), spec.tenant, dict(self._later), options.log_bytes_max)
        self._outcomes: list[Outcome] = []
        self._handed_back: list[TaskNo] = []
        self._slots = max(1, spec.concurrency) if spec.is_async else 1
        self._began_s = time.monotonic()
        self._heard_s = self._began_s
        self._sent_s = self._began_s
        self._stop_looked_s = self._began_s
        self._gave_back = False
        self._unexplained_deaths = 0
        self._stopped = False
        self._listens: int | None = None
        """What can be read when there is an order; None: nobody has listened yet, or there is nothing to read."""
        self._listening = False
        self._stops: dict[TaskNo, tuple[float, OutcomeKind]] = {}
        """Tasks that are to stop: when they are ended by force, and what they come to."""
        self._told: dict[TaskNo, None] = {}
        """Those of them that the child has heard of."""

    def run(self) -> None:
        try:
            self._run_tasks()
            self._await_writes()
        finally:
            self._values.close()
        if not self._stopped:
            self._send(done=True)

    def _run_tasks(self) -> None:
        """All tasks are settled, but that results may still be being written; or the lease is to stop."""
        spec = self._spec
        while self._unsettled() and not self._stopped:
            self._hand_back([no for no in (*self._waiting, *self._later) if no in self._stops])
            if self._slice_is_over() and self._unsettled() < len(self._spec.tasks):
                self._hand_back([*self._waiting, *self._later])  # rather than to begin again in another child
                break
            if not self._unsettled():
                break
            try:
                if not self._waiting:
                    self._fetch()
                if not self._waiting:
                    continue
                child = self._pool.take(spec.tenant, spec.bundle, self._while_loading, spec.resources.memory_bytes)
            except _Gone:
                if not self._stopped:
                    self._hand_back([*self._waiting, *self._later])
                break
            except LoadError as error:
                self._settle_all(error.kind, str(error), error.detail)
                break
            child.tail = b""
            self._told.clear()
            child.send(Run(spec.tenant, spec.function, tuple(self._waiting.values()), self._slots))
            try:
                self._watch(child)
            except BaseException:
                child.close()
                raise
            if child.dead or self._waiting:
                child.close()
            else:
                self._pool.give(child)

    def _unsettled(self) -> int:
        return len(self._waiting) + len(self._later)

    def _fetch(self) -> None:
        """The next tasks wait for a child with their payloads; those whose payload cannot be had are settled."""
        batch = list(self._values.next_batch(self._later.values()))
        for each in self._values.fetched(batch, self._while_loading):
            if isinstance(each, Outcome):
                self._end(each)
            else:
                self._waiting[each.no] = each
                del self._later[each.no]

    def _await_writes(self) -> None:
        """No result waits to be written, or the lease is to stop."""
        while self._values.writing and not self._stopped:
            self._values.wait()
            self._outcomes += self._values.written()
            self._report_due(time.monotonic())

    def _watch(self, child: Child) -> None:
        """Until all tasks are settled, or the child is dead, or the lease is to stop."""
        with selectors.DefaultSelector() as selector:
            selector.register(child.output, selectors.EVENT_READ)
            selector.register(child.control, selectors.EVENT_READ)
            selector.register(child.exit, selectors.EVENT_READ)
            self._heard_s = time.monotonic()
            self._memory = MemoryWatch(child, self._spec.resources.memory_bytes, self._pool.oom_kills)
            while self._waiting and not self._stopped:
                self._listen()
                if self._listens is not None and self._listens not in selector.get_map():
                    selector.register(self._listens, selectors.EVENT_READ)
                interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.wants_to_write else 0)
                selector.modify(child.control, interest)
                selector.select(self._patience_s(child))
                child.pump()
                self._take_output(child)
                child.forget_output(selector)
                self._take_messages(child)
                self._heed_silence(child)
                if child.dead:
                    self._bury(child)
                    return
                if self._overdue(child) or self._overfull(child):
                    return
                self._keep_time(child)

    # What the child says

    def _take_messages(self, child: Child) -> None:
        for message in child.receive():
            self._heard_s = time.monotonic()
            self._take(message)

    def _take(self, message: FromChild) -> None:
        match message:
            case Ended(outcomes):
                for outcome in outcomes:
                    self._end(self._values.checked(outcome))
            case Logged(no, text):
                self._logs.write(no, text)
            case GivenBack(nos):
                self._hand_back(nos)
            case _:
                pass  # it loaded long ago

    def _take_output(self, child: Child) -> None:
        """Raw output is put down to what runs; or else to what is about to."""
        running = child.slots.running(self._slots)  # asked first: no attempt ends while its output waits to be read
        data = child.read_output()
        if data:
            no = running[0][0] if running else next(iter(self._waiting), None)
            if no is not None:
                self._logs.write_raw(no, data)

    def _hand_back(self, nos: tuple[TaskNo, ...] | list[TaskNo]) -> None:
        self._handed_back.extend(no for no in nos if self._take_off(no))

    def _end(self, outcome: Outcome) -> None:
        """The task is over, if it was not before; if its result is large, it is reported when that is written."""
        if not self._take_off(outcome.no):
            return
        self._logs.close(outcome.no)
        if self._values.is_large(outcome):
            self._values.write(outcome)
        else:
            self._outcomes.append(outcome)

    def _take_off(self, no: TaskNo) -> bool:
        """The task is settled; whether it was not before."""
        return self._waiting.pop(no, None) is not None or self._later.pop(no, None) is not None

    # Orders

    def _listen(self) -> None:
        """Once it has lasted for a while, the lease hears of orders at once. No order comes to what is over so soon."""
        if not self._listening and time.monotonic() - self._began_s >= LISTEN_AFTER_S:
            self._listening = True
            self._listens = self._port.listen(self._spec.token)

    def _heed_orders(self) -> None:
        """What was ordered is known: until when who may go on, and that no other begins."""
        for order in self._port.orders():
            by_s = time.monotonic() + order.grace_ms / 1000
            for no in [no for no in (*self._waiting, *self._later) if order.means(no)]:
                self._stops.setdefault(no, (by_s, KINDS[order.kind]))

    def _pass_on_orders(self, child: Child) -> None:
        """The child gives back what it has not begun, and asks what runs to stop."""
        nos = [no for no in self._waiting if no in self._stops and no not in self._told]
        if not nos:
            return
        self._told.update(dict.fromkeys(nos))
        self._hand_back([no for no in self._later if no in self._stops])
        child.send(GiveBack())
        self._gave_back = True
        for kind in dict.fromkeys(self._stops[no][1] for no in nos):
            child.send(Stop(tuple(no for no in nos if self._stops[no][1] is kind), kind))

    # When it must end

    def _overdue(self, child: Child) -> bool:
        """Whether an attempt had used its time up, or its grace; the child is killed then, and its neighbours are handed back."""
        now_ns = time.monotonic_ns()
        running = dict(self._running(child))
        overdue = {no: since_ns for no, since_ns in running.items() if now_ns - since_ns > self._timeout_ns(no)}
        stopped = {no: running[no] for no, (by_s, _) in self._stops.items() if no in running and by_s * 1e9 <= now_ns}
        if not overdue and not stopped:
            return False
        child.kill()
        self._take_messages(child)
        self._take_output(child)
        for no, since_ns in overdue.items():
            task = self._waiting.get(no)
            if task is not None:
                message = f"stopped after its timeout of {task.timeout_ms / 1000:g} s"
                self._settle(no, OutcomeKind.TIMEOUT, message, "", since_ns)
        for no, since_ns in stopped.items():
            self._settle(no, self._stops[no][1], "ended by force after its grace", "", since_ns)
        self._hand_back([no for no, _ in self._running(child)])
        child.dead = True
        return True

    def _overfull(self, child: Child) -> bool:
        """Whether the child had taken more memory than it may; it is killed then. Who is spared begins again in another one."""
        if not self._memory.exceeded([no for no, _ in self._running(child)]):
            return False
        child.kill()
        self._take_messages(child)
        self._take_output(child)
        for no, since_ns in child.slots.culprits(dict(self._running(child))).items():
            if not self._memory.spares(no):
                self._settle(no, OutcomeKind.OUT_OF_MEMORY, self._memory.said, "", since_ns)
        self._hand_back([no for no, _ in self._running(child) if not self._memory.spares(no)])
        child.dead = True
        return True

    def _bury(self, child: Child) -> None:
        """The child died by itself: what it was running died of that, the rest goes on in another child."""
        kind, how = self._memory.explained(f"its process ended: {child.ended()}")
        self._take_output(child)
        last_words = child.last_words()
        culprits = child.slots.culprits(dict(self._running(child)))
        if not culprits:
            self._unexplained_deaths += 1
            if self._unexplained_deaths >= UNEXPLAINED_DEATHS_MAX:
                culprits = dict.fromkeys(list(self._waiting)[:1], 0)
        for no, since_ns in culprits.items():
            self._settle(no, kind, how, last_words, since_ns)
        self._hand_back([no for no, _ in self._running(child)])  # but for the culprits: those are settled

    def _heed_silence(self, child: Child) -> None:
        """A child that neither runs what it has nor says anything is given up, so that no lease lasts for ever."""
        now_s = time.monotonic()
        if child.slots.running(self._slots):
            self._heard_s = now_s
        elif now_s - self._heard_s > self._options.silence_s:
            child.give_up("it had tasks, but ran none and said nothing")

    def _running(self, child: Child) -> list[tuple[TaskNo, int]]:
        return [(no, since_ns) for no, since_ns in child.slots.running(self._slots) if no in self._waiting]

    def _timeout_ns(self, no: TaskNo) -> int:
        return self._waiting[no].timeout_ms * 1_000_000

    def _settle(self, no: TaskNo, kind: OutcomeKind, message: str, detail: str, since_ns: int = 0) -> None:
        """The task is over. `since_ns`: when its attempt began, on the monotonic clock; 0 if it did not."""
        ran_ns = time.monotonic_ns() - since_ns if since_ns else 0
        started_ms = (time.time_ns() - ran_ns) // 1_000_000 if since_ns else 0
        self._end(Outcome(no, kind, started_ms, ran_ns // 1000, message=message, detail=detail))

    def _settle_all(self, kind: OutcomeKind, message: str, detail: str) -> None:
        for no in [*self._waiting, *self._later]:
            self._settle(no, kind, message, detail)

    # Time

    def _patience_s(self, child: Child) -> float:
        """How long there is nothing to do unless the child says something."""
        now_s = time.monotonic()
        waits = [self._sent_s + self._options.heartbeat_ms / 1000 - now_s]
        if self._outcomes or self._handed_back:
            waits.append(self._sent_s + self._options.report_interval_ms / 1000 - now_s)
        if self._values.writing:
            waits.append(LOOK_S)
        if not self._gave_back:
            waits.append(self._began_s + self._spec.slice_ms / 1000 - now_s)
        waits.append(self._memory.patience_s(now_s))
        now_ns = time.monotonic_ns()
        if not self._listening:
            waits.append(self._began_s + LISTEN_AFTER_S - now_s)
        for no, since_ns in self._running(child):
            waits.append((since_ns + self._timeout_ns(no) - now_ns) / 1e9)
            if no in self._stops:
                waits.append(self._stops[no][0] - now_s)
        return max(0.001, min(waits))

    def _slice_is_over(self) -> bool:
        return (time.monotonic() - self._began_s) * 1000 >= self._spec.slice_ms

    def _keep_time(self, child: Child) -> None:
        """What is due by now is done: logs stored, outcomes reported, the tail given back, the runner asked."""
        if not self._waiting:
            return  # the last report follows at once
        now_s = time.monotonic()
        self._logs.store_due()
        self._outcomes += self._values.written()
        begun = self._unsettled() < len(self._spec.tasks) or self._running(child)
        over = begun and self._slice_is_over()  # an import may have lasted longer than the slice
        if not self._gave_back and (over or self._values.overfull):
            self._gave_back = True
            self._hand_back(list(self._later))
            child.send(GiveBack())
        self._report_due(now_s)
        self._heed_orders()
        self._pass_on_orders(child)

    def _while_loading(self) -> None:
        """An import may last a minute: the runner hears that this lease lives, and may end it."""
        self._report_due(time.monotonic())
        self._listen()
        self._heed_orders()
        if self._stopped or (self._stops and all(no in self._stops for no in (*self._waiting, *self._later))):
            raise _Gone

    def _report_due(self, now_s: float) -> None:
        """What is due is reported, and the runner asked whether the lease is to stop."""
        waited_ms = (now_s - self._sent_s) * 1000
        something = self._outcomes or self._handed_back
        if waited_ms >= (self._options.report_interval_ms if something else self._options.heartbeat_ms):
            self._send(done=False)
        if now_s - self._stop_looked_s >= STOP_ASKED_INTERVAL_S:
            self._stop_looked_s = now_s
            self._stopped = self._port.stop_asked()

    def _send(self, *, done: bool) -> None:
        self._sent_s = time.monotonic()
        outcomes, self._outcomes = tuple(self._outcomes), []
        handed_back, self._handed_back = tuple(self._handed_back), []
        held_us = round((self._sent_s - self._began_s) * 1e6) if done else 0
        self._port.send(LeaseReport(self._spec.token, outcomes, handed_back, done, held_us))
