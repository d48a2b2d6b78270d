"""Attempts of a lease that are to stop: they are asked first, and ended by force when their grace is over."""

from __future__ import annotations

import time
from collections.abc import Mapping
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


class Stopping:
    """Hears of orders, passes them on, and knows whose grace is over."""

    def __init__(self, token: Token, port: ReportPort, tasks: LeaseTasks, tail: Tail) -> None:
        self._token = token
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

    def begin(self) -> None:
        """Another child makes the attempts from now on: it has heard of nothing."""
        self._told.clear()

    def pass_on(self, child: Child) -> None:
        """The child gives back what it has not begun, and asks what runs to stop."""
        nos = [no for no in self._tasks.waiting if no in self._sentences and no not in self._told]
        if not nos:
            return
        self._told.update(dict.fromkeys(nos))
        self._tail.give_back(child, [no for no in self._tasks.later if no in self._sentences])
        for kind in dict.fromkeys(self._sentences[no].kind for no in nos):
            child.send(Stop(tuple(no for no in nos if self._sentences[no].kind is kind), kind))

    def due(self, running: Mapping[TaskNo, int]) -> dict[TaskNo, OutcomeKind]:
        """Those that run although their grace is over, and what they come to."""
        now_s = time.monotonic()
        return {no: kind for no, (by_s, kind) in self._sentences.items() if no in running and by_s <= now_s}

    def patience_s(self, running: Mapping[TaskNo, int], now_s: float) -> float:
        """How long there is nothing to end by force, nor to begin to listen."""
        waits = [self._sentences[no].by_s - now_s for no in running if no in self._sentences]
        if not self._listening:
            waits.append(self._listen_s - now_s)
        return min(waits, default=float("inf"))
