"""Which attempts of a child were asked to stop. The reader thread asks; the main thread makes the attempts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from taskservice.context import Cancelled, StopSignal, TimeLimitExceeded
from taskservice.core.lease_wire import Outcome
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.attempt import stopped
from taskservice.runtime.wire import Stop


class Stops:
    """The signals of the attempts that run, and what was asked of attempts that perhaps have not begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[TaskNo, StopSignal] = {}
        self._asked: dict[TaskNo, Stop] = {}

    def ask(self, message: Stop) -> None:
        """These attempts know that they are to stop, or will know it when they begin."""
        with self._lock:
            self._asked.update(dict.fromkeys(message.nos, message))
            signals = [self._running[no] for no in message.nos if no in self._running]
        for signal in signals:
            signal.set(_error(message))

    def forget(self, nos: Iterable[TaskNo]) -> None:
        """Whatever was asked of these tasks was asked of attempts that are over: they come anew."""
        with self._lock:
            for no in nos:
                self._asked.pop(no, None)

    def begin(self, no: TaskNo, reach: Callable[[StopSignal], object]) -> StopSignal:
        """The attempt runs. `reach` is called when it is to stop, most likely by the reader thread."""
        signal = StopSignal()
        signal.on_set = partial(reach, signal)
        with self._lock:
            self._running[no] = signal
            asked = self._asked.get(no)
        if asked is not None:
            signal.set(_error(asked))
        return signal

    def end(self, outcome: Outcome) -> Outcome:
        """The attempt has ended like that; gives what it came to."""
        with self._lock:
            signal = self._running.pop(outcome.no, None)
            asked = self._asked.pop(outcome.no, None)
        if signal is not None:
            signal.on_set = None
        return outcome if asked is None else stopped(outcome, asked.kind)


def _error(message: Stop) -> Cancelled:
    return (TimeLimitExceeded if message.kind is OutcomeKind.TIMEOUT else Cancelled)(message.why)
