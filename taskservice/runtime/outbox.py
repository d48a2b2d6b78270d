"""What a child has to tell, on its way to the supervisor: many short attempts' outcomes in one write."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

from taskservice.core.lease_wire import Outcome
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.wire import Checkpointed, Ended, FromChild, Logged, frame

FLUSH_S = 0.004
"""A finished outcome waits at most about this long for others."""

LOG_BYTES_PER_S = 4 << 20
LOG_BURST_BYTES = 16 << 20
"""What one process may say in all logs of its attempts: so much in a second, and so much more at once."""


class Outbox:
    """Sends in order. For several threads."""

    def __init__(self, control: socket.socket, pause: Callable[[float], object] = time.sleep) -> None:
        self._control = control
        self._pause = pause
        self._lock = threading.RLock()
        self._outcomes: list[Outcome] = []
        self._frames: list[bytes] = []
        """Made, but not written yet; in order."""
        self._writing = False
        self._disowned = False
        self._flushed_s = time.monotonic()
        self._waiting = threading.Event()
        self._debt_bytes = 0.0
        """What was said lately, less what may be said in that time."""
        self._said_s = time.monotonic()

    def add(self, outcome: Outcome, *, at_once: bool) -> None:
        """The outcome is sent soon, or `at_once` with all that wait."""
        if self._disowned:
            os._exit(outcome.kind is not OutcomeKind.SUCCEEDED)  # the attempt is the original's; a copy ends with it
        with self._lock:
            self._outcomes.append(outcome)
        if at_once or time.monotonic() - self._flushed_s > FLUSH_S:
            self.flush()
        elif not self._waiting.is_set():
            self._waiting.set()

    def log(self, said: Logged) -> None:
        """It is sent, after the outcomes that came before it. A forked copy's goes to the process's output.

        Who says too much has to wait here: so that it slows nobody but itself.
        """
        if self._disowned:
            os.write(1, said.text)
            return
        self.send(said)
        now_s = time.monotonic()
        self._debt_bytes = max(0.0, self._debt_bytes - (now_s - self._said_s) * LOG_BYTES_PER_S) + len(said.text)
        self._said_s = now_s
        if self._debt_bytes > LOG_BURST_BYTES:
            self._pause((self._debt_bytes - LOG_BURST_BYTES) / LOG_BYTES_PER_S)

    def checkpoint(self, no: TaskNo, text: bytes) -> None:
        """The checkpoint is sent, after what came before it."""
        self.send(Checkpointed(no, text))

    def send(self, message: FromChild) -> None:
        """All that waits is sent, and then the message."""
        if self._disowned:
            os._exit(0)
        body = frame(message)
        with self._lock:
            self._gather()
            self._frames.append(body)
            self._write()

    def flush(self) -> None:
        """All that waits is sent."""
        with self._lock:
            self._gather()
            self._write()

    def flush_for_ever(self) -> None:
        """Whatever waits is flushed a little later, even while the main thread is busy with a handler."""
        while True:
            self._waiting.wait()
            self._waiting.clear()
            time.sleep(FLUSH_S)
            self.flush()

    def disown(self) -> None:
        """This process is a copy that a handler has forked: it has nothing to say to the supervisor."""
        self._disowned = True
        self._lock = threading.RLock()
        self._control.close()

    def _gather(self) -> None:
        self._flushed_s = time.monotonic()
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            self._frames.append(frame(Ended(tuple(outcomes))))

    def _write(self) -> None:
        if self._writing:
            return  # a signal handler or a destructor, in the midst of the write below, which goes on with ours
        self._writing = True
        try:
            while self._frames:
                frames, self._frames = self._frames, []
                self._control.sendall(b"".join(frames))
        except OSError:
            os._exit(0)  # the supervisor is gone: nobody wants to know any more
        finally:
            self._writing = False
