"""What the runner is told of a lease, and when; and what it is asked: whether the lease is still wanted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from taskservice.core.lease_wire import LeaseReport
from taskservice.core.orders import Order
from taskservice.core.types import Token
from taskservice.runtime.lease_tasks import LeaseTasks
from taskservice.runtime.options import RuntimeOptions

STOP_ASKED_INTERVAL_S = 0.1


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


class Reporting:
    """Outcomes wait a little for others; a lease that has nothing to report says that it lives."""

    def __init__(self, token: Token, port: ReportPort, options: RuntimeOptions, tasks: LeaseTasks) -> None:
        self._token = token
        self._port = port
        self._options = options
        self._tasks = tasks
        self._began_s = self._sent_s = self._asked_s = time.monotonic()
        self.stopped = False
        """The lease is to stop: nobody wants to hear of it any more."""

    def keep_up(self) -> None:
        """What is due is reported, and the runner asked whether the lease is to stop."""
        now_s = time.monotonic()
        if self.patience_s(now_s) <= 0:
            self._send()
        if now_s - self._asked_s >= STOP_ASKED_INTERVAL_S:
            self._asked_s = now_s
            self.stopped = self._port.stop_asked()

    def close(self) -> None:
        """The lease is over, and all there is to say of it is on its way."""
        self._send(done=True)

    def patience_s(self, now_s: float) -> float:
        """How long there is nothing to report."""
        interval_ms = self._options.report_interval_ms if self._tasks.news else self._options.heartbeat_ms
        return self._sent_s + interval_ms / 1000 - now_s

    def _send(self, *, done: bool = False) -> None:
        self._sent_s = time.monotonic()
        checkpoints, outcomes, handed_back = self._tasks.take_news()
        held_us = round((self._sent_s - self._began_s) * 1e6) if done else 0
        log = self._tasks.logs.store([*(outcome.no for outcome in outcomes), *handed_back])
        logs = self._tasks.logs.stored()
        self._port.send(LeaseReport(self._token, outcomes, handed_back, done, held_us, checkpoints, log, logs))
