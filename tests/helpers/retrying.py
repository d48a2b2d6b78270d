"""A simulated downstream that can be away and that can be overloaded, and tasks that call it and are tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from random import Random

from taskservice.core.flow.backoff import delay_ms
from taskservice.core.flow.gate import Gate
from taskservice.core.flow.retry_budget import RetryBudget
from taskservice.core.flow.window import Ended, Window
from taskservice.core.lease_wire import Outcome
from taskservice.core.specs import RetryPolicy
from taskservice.core.types import OutcomeKind, TaskNo

START_MS = 1_700_000_000_000
PATIENCE_MS = 1_000
"""After which a caller gives a call up. The downstream does not know, and serves it all the same: that is what makes overload last."""
REFUSED_MS = 5
"""What it takes to find out that the downstream is away."""
POLICY = RetryPolicy(max_attempts=10, base_ms=1_000, max_ms=60_000)


@dataclass(eq=False)
class Call:
    """One attempt of a task."""

    attempt: int
    began_ms: int
    settled: bool = False


@dataclass
class Seconds:
    """What happened in each second."""

    offered: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    succeeded: list[int] = field(default_factory=list)

    def next(self) -> None:
        for counts in (self.offered, self.calls, self.succeeded):
            counts.append(0)


class Retrying:
    """Tasks arrive at random, and each is tried until it succeeds. Retries go when they are due and the budget has room, and
    all calls when the window has."""

    def __init__(
        self,
        *,
        offered_per_s: float,
        servers: int,
        service_ms: float,
        budget: RetryBudget | None = None,
        window: Window | None = None,
        seed: int = 1,
    ) -> None:
        self.rng = Random(seed)
        self.budget = budget
        self.window = window
        self.servers = servers
        self.service_ms = service_ms
        self.offered_per_s = offered_per_s
        self.away = False
        self.now_ms = START_MS
        self.seconds = Seconds()
        self.new = 0
        """First attempts that wait."""
        self.due: deque[int] = deque()
        """Of the retries that wait, how many attempts each has behind it; in the order in which they fell due."""
        self._busy = 0
        self._queue: deque[Call] = deque()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._rings_ms: dict[int, int] = {}
        self._arrive_later()

    def run(self, seconds: int) -> None:
        """So many seconds pass."""
        for _ in range(seconds):
            end_ms = self.now_ms + 1_000
            self.seconds.next()
            while self._heap[0][0] < end_ms:
                self.now_ms, _, what = heappop(self._heap)
                what()
                self._start()
            self.now_ms = end_ms

    def _after(self, ms: float, what: Callable[[], None]) -> None:
        self._number += 1
        heappush(self._heap, (self.now_ms + int(ms), self._number, what))

    def _arrive_later(self) -> None:
        self._after(self.rng.expovariate(self.offered_per_s / 1000), self._arrive)

    def _arrive(self) -> None:
        self._arrive_later()
        self.seconds.offered[-1] += 1
        self.new += 1

    def _start(self) -> None:
        while self.new and self._has_room(self.window):
            self.new -= 1
            if self.budget is not None:
                self.budget.first(1, self.now_ms)
            self._call(1)
        while self.due and self._has_room(self.window) and self._has_room(self.budget):
            if self.budget is not None:
                self.budget.take(1, self.now_ms)
            self._call(self.due.popleft() + 1)

    def _has_room(self, gate: Gate | None) -> bool:
        """Whether it has; if not, it is asked again when it opens by the clock."""
        if gate is None or gate.room(self.now_ms):
            return True
        opens_ms = gate.opens_ms(self.now_ms)
        if opens_ms is not None and opens_ms != self._rings_ms.get(id(gate)):
            self._rings_ms[id(gate)] = opens_ms
            self._after(opens_ms - self.now_ms, lambda: None)
        return False

    def _call(self, attempt: int) -> None:
        self.seconds.calls[-1] += 1
        if self.window is not None:
            self.window.started(1, self.now_ms)
        call = Call(attempt, self.now_ms)
        if self.away:
            self._after(REFUSED_MS, lambda: self._settle(call, OutcomeKind.HANDLER_ERROR))
            return
        self._after(PATIENCE_MS, lambda: self._settle(call, OutcomeKind.TIMEOUT))
        self._queue.append(call)
        self._serve()

    def _serve(self) -> None:
        while self._queue and self._busy < self.servers:
            call = self._queue.popleft()
            self._busy += 1
            self._after(self.rng.expovariate(1 / self.service_ms), partial(self._served, call))

    def _served(self, call: Call) -> None:
        self._busy -= 1
        self._serve()
        self._settle(call, OutcomeKind.HANDLER_ERROR if self.away else OutcomeKind.SUCCEEDED)

    def _settle(self, call: Call, kind: OutcomeKind) -> None:
        """The call has ended so, unless it had ended before."""
        if call.settled:
            return
        call.settled = True
        took_ms, retries = self.now_ms - call.began_ms, int(call.attempt > 1)
        if self.window is not None:
            timed_out = kind is OutcomeKind.TIMEOUT
            self.window.ended(Ended(timed_out_ms=[took_ms]) if timed_out else Ended([took_ms]), self.now_ms)
        if kind is OutcomeKind.SUCCEEDED:
            self.seconds.succeeded[-1] += 1
            if self.budget is not None:
                self.budget.succeeded(1 - retries, retries)
            return
        if self.budget is not None:
            self.budget.failed(retries)
        if call.attempt < POLICY.max_attempts:
            wait_ms = delay_ms(POLICY, call.attempt, Outcome(TaskNo(1), kind), self.rng)
            self._after(wait_ms, lambda: self.due.append(call.attempt))
