"""What a child says, taken down for the lease that it works for."""

from __future__ import annotations

import time

from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.lease_tasks import LeaseTasks
from taskservice.runtime.process import Child
from taskservice.runtime.wire import Checkpointed, Ended, FromChild, GivenBack, Logged

STOPPED = (OutcomeKind.TIMEOUT, OutcomeKind.PREEMPTED, OutcomeKind.CANCELLED)
"""What an attempt comes to that stops when it is asked to."""


class Hearing:
    """Hears one child, and knows what runs in it."""

    def __init__(self, child: Child, tasks: LeaseTasks, slots: int, silence_s: float) -> None:
        self._child = child
        self._tasks = tasks
        self._slots = slots
        self._silence_s = silence_s
        self._heard_s = time.monotonic()
        self._stopped = False

    @property
    def running(self) -> dict[TaskNo, int]:
        """The attempts that run, with their start on the monotonic clock in ns."""
        waiting = self._tasks.waiting
        return {no: since_ns for no, since_ns in self._child.slots.running(self._slots) if no in waiting}

    def take_messages(self) -> None:
        """What the child has sent is known."""
        for message in self._child.receive():
            self._heard_s = time.monotonic()
            self._take(message)

    def _take(self, message: FromChild) -> None:
        match message:
            case Ended(outcomes):
                for outcome in outcomes:
                    self._tasks.told(outcome)
                    self._stopped = self._stopped or outcome.kind in STOPPED
            case Logged():
                self._tasks.logs.write(message)
            case Checkpointed(no, text) if no in self._tasks.waiting:
                self._tasks.checkpoints.take(no, text)
            case GivenBack(nos):
                self._tasks.hand_back(nos)
            case _:
                pass  # it loaded long ago

    def take_stopped(self) -> bool:
        """Whether an attempt has said that it stopped because it was asked to, since this was asked last."""
        stopped, self._stopped = self._stopped, False
        return stopped

    def take_output(self) -> None:
        """Raw output is put down to what runs; or else to what is about to."""
        running = self._child.slots.running(
            self._slots
        )  # asked first: no attempt ends while its output waits to be read
        data = self._child.read_output()
        if data:
            no = running[0][0] if running else next(iter(self._tasks.waiting), None)
            if no is not None:
                self._tasks.logs.write_raw(no, data)

    def heed_silence(self) -> None:
        """A child that neither runs what it has nor says anything is given up, so that no lease lasts for ever."""
        now_s = time.monotonic()
        if self._child.slots.running(self._slots):
            self._heard_s = now_s
        elif now_s - self._heard_s > self._silence_s:
            self._child.give_up("it had tasks, but ran none and said nothing")
