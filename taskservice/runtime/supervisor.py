"""A lease on its node: feeds a child, watches it, reports what comes of each task, and kills it if it must.

Runs in the Ray task and blocks its thread; runs no user code. Each task of the lease is reported exactly once, by its
outcome or as handed back, whatever the child does.

    lease_tasks   what has become of each task          stopping   which attempts are to stop, and by when
    reporting     what the runner is told, and when     tail       when what has not begun is handed back
    hearing       what the child says                   endings    the attempts that it does not end itself
"""

from __future__ import annotations

import selectors
import time

from taskservice.core.lease_wire import LeaseSpec
from taskservice.runtime.checkpoints import LeaseCheckpoints
from taskservice.runtime.endings import Deaths, Endings
from taskservice.runtime.hearing import Hearing
from taskservice.runtime.lease_tasks import LeaseTasks
from taskservice.runtime.logbook import Logbook
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.pool import ChildPool
from taskservice.runtime.process import Child, LoadError
from taskservice.runtime.reporting import Reporting, ReportPort
from taskservice.runtime.spool import spool_in
from taskservice.runtime.stopping import Stopping
from taskservice.runtime.tail import Tail
from taskservice.runtime.values import LeaseValues
from taskservice.runtime.watch import Watch
from taskservice.runtime.wire import Run
from taskservice.values import Values


def run_lease(spec: LeaseSpec, port: ReportPort, options: RuntimeOptions, pool: ChildPool, values: Values) -> None:
    """The lease is over: every task of it is reported, unless the runner has asked to stop."""
    lease_values = LeaseValues(values, options)
    try:
        _LeaseRun(spec, port, options, pool, lease_values).run()
    finally:
        lease_values.close()


class _Gone(Exception):
    """The lease is to stop, and none of it runs."""


class _LeaseRun:
    def __init__(
        self, spec: LeaseSpec, port: ReportPort, options: RuntimeOptions, pool: ChildPool, values: LeaseValues
    ) -> None:
        self._spec = spec
        self._options = options
        self._pool = pool
        self._slots = max(1, spec.concurrency) if spec.is_async else 1
        self._deaths = Deaths()
        logs = Logbook(spool_in(options.logs_dir), spec, options.log_bytes_max)
        self._tasks = LeaseTasks(spec, values, LeaseCheckpoints(values, options), logs)
        self._reporting = Reporting(spec.token, port, options, self._tasks)
        self._tail = Tail(spec.slice_ms, self._tasks)
        self._stopping = Stopping(spec.token, port, self._tasks, self._tail, spec.grace_ms)

    def run(self) -> None:
        self._run_tasks()
        while self._tasks.writing and not self._reporting.stopped:
            self._tasks.wait_for_writes()
            self._reporting.keep_up()
        if not self._reporting.stopped:
            self._reporting.close()

    def _run_tasks(self) -> None:
        """All tasks are settled, but that results may still be being written; or the lease is to stop."""
        while not self._reporting.stopped:
            self._tasks.hand_back(self._stopping.doomed)
            if self._tail.slice_is_over and self._tasks.begun:
                self._tasks.hand_back(self._tasks.unsettled)  # rather than to begin again in another child
            if not self._tasks.unsettled:
                return
            try:
                if not self._tasks.waiting:
                    self._tasks.fetch(self._while_loading)
                if self._tasks.waiting:
                    self._use_a_child()
            except _Gone:
                if not self._reporting.stopped:
                    self._tasks.hand_back(self._tasks.unsettled)
            except LoadError as error:
                self._tasks.settle_all(error.kind, str(error), error.detail)

    def _use_a_child(self) -> None:
        """A child has been given what waits; it goes on to others if it was good for all of it. Raises LoadError or _Gone."""
        spec = self._spec
        child = self._pool.take(spec, self._while_loading)
        child.tail = b""
        self._stopping.begin()
        child.send(Run(spec.tenant, spec.function, tuple(self._tasks.waiting.values()), self._slots))
        try:
            self._watch(child)
        except BaseException:
            child.close()
            raise
        if child.dead or self._tasks.waiting:
            child.close()
        else:
            self._pool.give(child)

    def _watch(self, child: Child) -> None:
        """Until all tasks are settled, or the child is dead, or the lease is to stop."""
        hearing = Hearing(child, self._tasks, self._slots, self._options.silence_s)
        watch = Watch(child, self._spec.resources.memory_bytes, self._pool.oom_kills, self._options)
        endings = Endings(child, hearing, self._tasks, self._stopping, watch, self._deaths)
        with selectors.DefaultSelector() as selector:
            for source in (child.output, child.control, child.exit):
                selector.register(source, selectors.EVENT_READ)
            while self._tasks.waiting and not self._reporting.stopped:
                self._await_something(child, selector, endings)
                child.pump()
                hearing.take_output()
                child.forget_output(selector)
                hearing.take_messages()
                hearing.heed_silence()
                if endings.dead() or endings.overdue() or endings.overfull() or endings.left_behind():
                    return
                if self._tasks.waiting:  # else the last report follows at once
                    self._keep_up(child, running=bool(hearing.running))

    def _await_something(self, child: Child, selector: selectors.BaseSelector, endings: Endings) -> None:
        """The child or the runner has said something, or there is something to do by the clock."""
        self._stopping.listen()
        orders = self._stopping.readable
        if orders is not None and orders not in selector.get_map():
            selector.register(orders, selectors.EVENT_READ)
        selector.modify(child.control, selectors.EVENT_READ | (selectors.EVENT_WRITE if child.wants_to_write else 0))
        now_s = time.monotonic()
        waits = [each.patience_s(now_s) for each in (self._tasks, self._reporting, self._tail, endings)]
        selector.select(max(0.001, min(waits)))

    def _keep_up(self, child: Child, *, running: bool) -> None:
        """What is due by now is done: logs stored, outcomes reported, the tail given back, the runner asked, orders passed on."""
        self._tasks.logs.look()
        self._tasks.look_at_writes()
        self._tail.keep_up(child, running=running)
        self._reporting.keep_up()
        self._stopping.heed()
        self._stopping.pass_on(child)

    def _while_loading(self) -> None:
        """An import may last a minute: the runner hears that this lease lives, and may end it."""
        self._reporting.keep_up()
        self._stopping.listen()
        self._stopping.heed()
        doomed = self._stopping.doomed
        if self._reporting.stopped or (doomed and doomed == self._tasks.unsettled):
            raise _Gone
