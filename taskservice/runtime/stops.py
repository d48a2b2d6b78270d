"""Which attempts of a child were asked to stop. The reader thread asks; the main thread makes the attempts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

from taskservice.context import StopSignal
from taskservice.core.lease_wire import Outcome
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.attempt import stopped
from taskservice.runtime.wire import Stop


class Stops:
    """The signals of the attempts that run, and what was asked of attempts that perhaps have not begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[TaskNo, StopSignal] = {}
        self._asked: dict[TaskNo, OutcomeKind] = {}

    def ask(self, message: Stop) -> None:
        """These attempts know that they are to stop, or will know it when they begin."""
        with self._lock:
            self._asked.update(dict.fromkeys(message.nos, message.kind))
            signals = [self._running[no] for no in message.nos if no in self._running]
        for signal in signals:
            signal.set()

    def forget(self, nos: Iterable[TaskNo]) -> None:
        """Whatever was asked of these tasks was asked of attempts that are over: they come anew."""
        with self._lock:
            for no in nos:
                self._asked.pop(no, None)

    def begin(self, no: TaskNo, task: asyncio.Task[None] | None = None) -> StopSignal:
        """The attempt runs, on the event loop if it has a `task`: that is cancelled when the attempt is to stop."""
        signal = StopSignal()
        if task is not None:
            loop = task.get_loop()
            signal.on_set = lambda: loop.call_soon_threadsafe(_cancel, task, signal)
        with self._lock:
            self._running[no] = signal
            asked = no in self._asked
        if asked:
            signal.set()
        return signal

    def end(self, outcome: Outcome) -> Outcome:
        """The attempt has ended like that; gives what it came to."""
        with self._lock:
            signal = self._running.pop(outcome.no, None)
            kind = self._asked.pop(outcome.no, None)
        if signal is not None:
            signal.on_set = None
        return outcome if kind is None else stopped(outcome, kind)


def _cancel(task: asyncio.Task[None], signal: StopSignal) -> None:
    """As asyncio does it; not if the attempt has ended meanwhile, and its last outcome is being told."""
    if signal.on_set is not None:
        task.cancel()
