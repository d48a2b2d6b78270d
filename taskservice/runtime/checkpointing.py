"""Checkpoints in the child: a handler may save one as often as it likes, and few of them are sent.

One that comes sooner than `task_checkpoint_interval_s` after the last that was sent is kept, and replaced by those that follow. It is
sent when its time has come, by a thread, whatever the handler does meanwhile; or when the attempt ends without success.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from taskservice.checkpoints import Checkpoints, decode, encode
from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.types import OutcomeKind, TaskNo

Send = Callable[[TaskNo, bytes], None]


class Checkpointing:
    """Those of all attempts of a process."""

    def __init__(self, send: Send, bytes_max: int, interval_s: float) -> None:
        """`send`: the checkpoint goes to the supervisor; called by any thread."""
        self.send = send
        self.bytes_max = bytes_max
        self.interval_s = interval_s
        self._attempts: dict[TaskNo, AttemptCheckpoints] = {}
        self._some_kept = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, task: LeaseTask) -> Checkpoints:
        """Those of the attempt that begins."""
        attempt = self._attempts[task.no] = AttemptCheckpoints(task, self)
        return attempt

    def end(self, outcome: Outcome) -> None:
        """The attempt has ended like that: whatever it has saved is sent, or of no more use."""
        attempt = self._attempts.pop(outcome.no, None)
        if attempt is not None:
            attempt.close(keep=outcome.kind is not OutcomeKind.SUCCEEDED)

    def kept(self) -> None:
        """There is one to be sent later."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_for_ever, daemon=True)
            self._thread.start()
        self._some_kept.set()

    def _send_for_ever(self) -> None:
        while True:
            self._some_kept.wait()
            self._some_kept.clear()
            while waits := [
                wait_s for each in list(self._attempts.values()) if (wait_s := each.send_due()) is not None
            ]:
                time.sleep(max(0.001, min(waits)))


class AttemptCheckpoints(Checkpoints):
    """Those of one attempt. For several threads of its handler."""

    def __init__(self, task: LeaseTask, all_of_them: Checkpointing) -> None:
        super().__init__()
        self._no = task.no
        self._all = all_of_them
        self._before: bytes | None = task.checkpoint
        self._lock = threading.Lock()
        self._kept: bytes | None = None
        self._due_s = 0.0
        """When the next may be sent."""
        self._pid = os.getpid()
        self._open = True

    @property
    def restored(self) -> object:
        if self._before is not None:
            self._restored, self._before = decode(self._before), None
        return self._restored

    def save(self, value: object) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("a process that a handler has forked cannot save checkpoints of its attempt")
        text = encode(value)
        if len(text) > self._all.bytes_max:
            raise ValueError(
                f"the checkpoint has {len(text)} bytes, task_checkpoint_bytes_max is {self._all.bytes_max}; store it and save where"
            )
        with self._lock:
            if not self._open:
                return  # by a thread that its handler has left behind
            first = self._kept is None
            self._kept = text
        if first and self.send_due() is not None:
            self._all.kept()

    def send_due(self) -> float | None:
        """What is kept is sent if its time has come; gives in how many seconds it will have, None if nothing is kept."""
        with self._lock:
            if self._kept is None:
                return None
            wait_s = self._due_s - time.monotonic()
            if wait_s > 0:
                return wait_s
            self._send()
            return None

    def close(self, *, keep: bool) -> None:
        """Nothing more is saved; what is kept is sent, or forgotten."""
        with self._lock:
            self._open = False
            if keep and self._kept is not None:
                self._send()

    def _send(self) -> None:
        text, self._kept = self._kept, None
        if text is not None:
            self._due_s = time.monotonic() + self._all.interval_s
            self._all.send(self._no, text)
