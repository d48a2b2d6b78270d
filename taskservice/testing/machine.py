"""The one machine of a test's service: makes the attempts of its leases, one after another, and keeps what they wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from taskservice.app import Function
from taskservice.context import Cancelled, SecretValues, StopSignal
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, LeaseTask
from taskservice.core.orders import Order, OrderKind
from taskservice.core.types import FunctionName, OutcomeKind, RunnerId, Task, TaskId, TenantId
from taskservice.gateway.logs import LivePart
from taskservice.logs.chosen import AttemptLog, Wanted
from taskservice.logs.pieces import Written
from taskservice.runtime.attempt import Began
from taskservice.runtime.in_process import InProcess

DURATION_US = 1_000
"""What an attempt is told to have taken: the same each time, so that the scheduler decides the same each time."""

STOPS = {OrderKind.PREEMPT: OutcomeKind.PREEMPTED, OrderKind.CANCEL: OutcomeKind.CANCELLED}


class Machine:
    """Runs leases, and is the `LogReader` of the gateway."""

    def __init__(
        self, functions: Mapping[FunctionName, Function], secrets: Mapping[str, str], now_ms: Callable[[], int]
    ) -> None:
        self._functions = functions
        self._secrets = secrets
        self._now_ms = now_ms
        self._process = InProcess()
        self._running: tuple[LeaseSpec, LeaseTask, StopSignal] | None = None
        self._ordered = OutcomeKind.CANCELLED
        self._logs: dict[tuple[TenantId, TaskId], list[AttemptLog]] = {}

    @property
    def busy(self) -> bool:
        """Whether a handler is at work, which then is who asks."""
        return self._running is not None

    def close(self) -> None:
        """The handlers' event loop is closed."""
        self._process.close()

    def run(self, lease: LeaseSpec) -> LeaseReport:
        """The lease is over."""
        outcomes, checkpoints = [], []
        for task in lease.tasks:
            function, signal = self._functions[lease.function], StopSignal()
            secrets = SecretValues({name: self._secrets[name] for name in lease.secrets})
            began = Began(self._now_ms(), time.monotonic_ns())
            self._running = (lease, task, signal)
            try:
                made = self._process.attempt(
                    function, lease.tenant, task, began, signal, secrets, lambda: self._ordered
                )
            finally:
                self._running = None
            written = tuple(Written(began.ms, each.stream, each.text) for each in made.written)
            log = AttemptLog(task.run, task.attempt, lease.token, written)
            self._logs.setdefault((lease.tenant, task.id), []).append(log)
            outcomes.append(replace(made.outcome, started_ms=began.ms, duration_us=DURATION_US))
            checkpoints += [(task.no, text) for text in made.checkpoints]
        return LeaseReport(lease.token, tuple(outcomes), (), True, DURATION_US, tuple(checkpoints))

    def order(self, order: Order) -> None:
        """If the attempt at work is meant, it is asked to stop."""
        if self._running is None:
            return
        lease, task, signal = self._running
        if order.token == lease.token and order.means(task.no):
            self._ordered = STOPS[order.kind]
            signal.set(Cancelled(order.why or "the attempt was asked to stop"))

    # `LogReader`

    def stored(self, task: Task, wanted: Wanted, /) -> list[AttemptLog]:
        return list(self._logs.get((task.tenant, task.id), ()))

    async def running(self, task: Task, runner: RunnerId | None, /) -> AttemptLog | None:
        return None

    async def live(self, task: Task, runner: RunnerId | None, at: int, wait_s: float, /) -> LivePart:
        return LivePart((), at, there=False)
