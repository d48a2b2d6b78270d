"""What a child has to tell, on its way to the supervisor: many short attempts' outcomes in one write."""

from __future__ import annotations

import os
import socket
import threading
import time

from taskservice.core.lease_wire import Outcome
from taskservice.core.types import TaskNo
from taskservice.runtime.wire import Ended, FromChild, Logged, frame

FLUSH_S = 0.004
"""A finished outcome waits at most about this long for others."""


class Outbox:
    """Sends in order. For several threads."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._flushed_s = time.monotonic()
        self._waiting = threading.Event()

    def add(self, outcome: Outcome, *, at_once: bool) -> None:
        """The outcome is sent soon, or `at_once` with all that wait."""
        self._outcomes.append(outcome)
        if at_once or time.monotonic() - self._flushed_s > FLUSH_S:
            self.flush()
        elif not self._waiting.is_set():
            self._waiting.set()

    def log(self, no: TaskNo, text: bytes) -> None:
        """The text is sent, after the outcomes that came before it."""
        self.send(Logged(no, text))

    def send(self, message: FromChild) -> None:
        """All that waits is sent, and then the message."""
        with self._lock:
            self._write(self._take() + frame(message))

    def flush(self) -> None:
        """All that waits is sent."""
        with self._lock:
            data = self._take()
            if data:
                self._write(data)

    def flush_for_ever(self) -> None:
        """Whatever waits is flushed a little later, even while the main thread is busy with a handler."""
        while True:
            self._waiting.wait()
            self._waiting.clear()
            time.sleep(FLUSH_S)
            self.flush()

    def _take(self) -> bytes:
        self._flushed_s = time.monotonic()
        if not self._outcomes:
            return b""
        outcomes, self._outcomes = self._outcomes, []
        return frame(Ended(tuple(outcomes)))

    def _write(self, data: bytes) -> None:
        try:
            self._control.sendall(data)
        except OSError:
            os._exit(0)  # the supervisor is gone: nobody wants to know any more
