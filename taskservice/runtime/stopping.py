"""Attempts of a lease that are to stop, by an order or because their time is over: they are asked first, and ended by force
when their grace is over."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from taskservice.core.orders import OrderKind
from taskservice.core.types import OutcomeKind, TaskNo, Token
from taskservice.runtime.lease_tasks import LeaseTasks
from taskservice.runtime.process import Child
from taskservice.runtime.reporting import ReportPort
from taskservice.runtime.tail import Tail
from taskservice.runtime.wire import Stop

LISTEN_AFTER_S = 0.2
"""How long a lease has lasted before it listens for orders."""
KINDS = {OrderKind.PREEMPT: OutcomeKind.PREEMPTED, OrderKind.CANCEL: OutcomeKind.CANCELLED}
"""What an attempt comes to that is stopped by an order."""


class Sentence(NamedTuple):
    """Until when an attempt may go on, and what it comes to."""

    by_s: float
    kind: OutcomeKind
    why: str = "the attempt was asked to stop"
    """What its handler is told."""
    forced: str = "ended by force after its grace"
    """What is said of it if it has to be ended."""


class Stopping:
    """Hears of orders, passes them on, and knows whose grace is over."""

    def __init__(self, token: Token, port: ReportPort, tasks: LeaseTasks, tail: Tail, grace_ms: int) -> None:
        """`grace_ms`: what an attempt has when its time is over. With an order comes its own."""
        self._token = token
        self._grace_s = grace_ms / 1000
        self._port = port
        self._tasks = tasks
        self._tail = tail
        self._listen_s = time.monotonic() + LISTEN_AFTER_S
        self._listening = False
        self._sentences: dict[TaskNo, Sentence] = {}
        self._told: dict[TaskNo, None] = {}
        """Those of them that the child has heard of."""
        self.readable: int | None = None
        """What can be read when there is an order; None: nobody has listened yet, or there is nothing to read."""

    @property
    def doomed(self) -> list[TaskNo]:
        """What is to stop and is not settled yet."""
        return [no for no in self._tasks.unsettled if no in self._sentences]

    def listen(self) -> None:
        """Once it has lasted for a while, the lease hears of orders at once. No order comes to what is over so soon."""
        if not self._listening and time.monotonic() >= self._listen_s:
            self._listening = True
            self.readable = self._port.listen(self._token)

    def heed(self) -> None:
        """What was ordered is known: until when who may go on, and that no other begins."""
        for order in self._port.orders():
            by_s = time.monotonic() + order.grace_ms / 1000
            for no in filter(order.means, self._tasks.unsettled):
                self._sentences.setdefault(no, Sentence(by_s, KINDS[order.kind]))

    def time_is_over(self, running: Mapping[TaskNo, int]) -> None:
        """Those that have used their time up are to stop, if they were not already. With their start, in ns."""
        now_s = time.monotonic()
        for no, since_ns in running.items():
            timeout_s = self._timeout_s(no)
            if no not in self._sentences and now_s - since_ns / 1e9 > timeout_s:
                grace = f" and its grace of {self._grace_s:g} s" if self._grace_s else ""
                self._sentences[no] = Sentence(
                    now_s + self._grace_s,
                    OutcomeKind.TIMEOUT,
                    f"its timeout of {timeout_s:g} s is over",
                    f"stopped after its timeout of {timeout_s:g} s{grace}",
                )

    def begin(self) -> None:
        """Another child makes the attempts from now on: it has heard of nothing."""
        self._told.clear()

    def pass_on(self, child: Child) -> None:
        """The child asks what runs to stop; if that was ordered, it gives back what it has not begun."""
        told: dict[tuple[OutcomeKind, str], list[TaskNo]] = {}
        for no in self._tasks.waiting:
            sentence = self._sentences.get(no)
            if sentence is not None and no not in self._told:
                told.setdefault((sentence.kind, sentence.why), []).append(no)
        for (kind, why), nos in told.items():
            self._told.update(dict.fromkeys(nos))
            if kind is not OutcomeKind.TIMEOUT:
                self._tail.give_back(child, [no for no in self._tasks.later if no in self._sentences])
            child.send(Stop(tuple(nos), kind, why))

    def due(self, running: Iterable[TaskNo]) -> dict[TaskNo, Sentence]:
        """Those that run although their grace is over, and what they come to."""
        now_s = time.monotonic()
        sentences = ((no, self._sentences.get(no)) for no in running)
        return {no: sentence for no, sentence in sentences if sentence is not None and sentence.by_s <= now_s}

    def of(self, no: TaskNo) -> Sentence | None:
        """What the attempt comes to, if it is to stop."""
        return self._sentences.get(no)

    def patience_s(self, running: Mapping[TaskNo, int], now_s: float) -> float:
        """How long there is nothing to end, nor to begin to listen."""
        waits = [
            (self._sentences[no].by_s if no in self._sentences else since_ns / 1e9 + self._timeout_s(no)) - now_s
            for no, since_ns in running.items()
        ]
        if not self._listening:
            waits.append(self._listen_s - now_s)
        return min(waits, default=float("inf"))

    def _timeout_s(self, no: TaskNo) -> float:
        return self._tasks.waiting[no].timeout_ms / 1000
