"""The ways in which attempts end that the child does not tell: out of time, out of memory, or dead with their process.

Each says who is to blame, and hands everybody else back or lets them go on in another child.
"""

from __future__ import annotations

from taskservice.core.types import OutcomeKind
from taskservice.runtime.family import descendants
from taskservice.runtime.hearing import Hearing
from taskservice.runtime.lease_tasks import LeaseTasks
from taskservice.runtime.process import Child
from taskservice.runtime.stopping import Stopping
from taskservice.runtime.watch import Watch

UNEXPLAINED_DEATHS_MAX = 3
"""A child that dies between two attempts has no culprit; after so many the next task in line is taken for it."""


class Deaths:
    """How many children of a lease died and nobody knows why."""

    unexplained = 0


class Endings:
    """Of the attempts that one child makes."""

    def __init__(
        self,
        child: Child,
        hearing: Hearing,
        tasks: LeaseTasks,
        stopping: Stopping,
        watch: Watch,
        deaths: Deaths,
    ) -> None:
        self._child = child
        self._hearing = hearing
        self._tasks = tasks
        self._stopping = stopping
        self._watch = watch
        self._deaths = deaths

    def patience_s(self, now_s: float) -> float:
        """How long nobody need be ended."""
        return min(self._watch.patience_s(now_s), self._stopping.patience_s(self._hearing.running, now_s))

    def overdue(self) -> bool:
        """Whether an attempt had used its grace up; the child is killed then, and its neighbours are handed back."""
        running = self._hearing.running
        self._stopping.time_is_over(running)
        overdue = self._stopping.due(running)
        if not overdue:
            return False
        self._kill()
        for no, sentence in overdue.items():
            self._tasks.settle(no, sentence.kind, sentence.forced, since_ns=running[no])
        self._tasks.hand_back(self._hearing.running)
        return True

    def left_behind(self) -> bool:
        """Whether an attempt that was asked to stop has done so, but something that it has started has not; the child is killed
        then with all that it has started, and whoever else runs in it is handed back."""
        if not self._hearing.take_stopped() or not any(descendants(self._child.pid)):
            return False
        self._kill()
        self._tasks.hand_back(self._hearing.running)
        return True

    def overfull(self) -> bool:
        """Whether the child had taken more than it may; it is killed then. Who is spared begins again in another one."""
        if not self._watch.exceeded(list(self._hearing.running)):
            return False
        self._kill()
        for no, since_ns in self._child.slots.culprits(self._hearing.running).items():
            if not self._watch.spares(no):
                self._tasks.settle(no, self._watch.kind, self._watch.said, since_ns=since_ns)
        self._tasks.hand_back([no for no in self._hearing.running if not self._watch.spares(no)])
        return True

    def dead(self) -> bool:
        """Whether the child had died by itself: what it was running died of that, the rest goes on in another child."""
        if not self._child.dead:
            return False
        kind, how = self._watch.explained(f"its process ended: {self._child.ended()}")
        self._hearing.take_output()
        last_words = self._child.last_words()
        culprits = self._child.slots.culprits(self._hearing.running)
        if not culprits:
            self._deaths.unexplained += 1
            if self._deaths.unexplained >= UNEXPLAINED_DEATHS_MAX:
                culprits = dict.fromkeys(list(self._tasks.waiting)[:1], 0)
        for no, since_ns in culprits.items():
            sentence = self._stopping.of(no)
            late = sentence is not None and sentence.kind is OutcomeKind.TIMEOUT
            self._tasks.settle(no, OutcomeKind.TIMEOUT if late else kind, how, last_words, since_ns)
        self._tasks.hand_back(self._hearing.running)  # but for the culprits: those are settled
        return True

    def _kill(self) -> None:
        """The child is gone, and what it had still said is known."""
        self._child.kill()
        self._hearing.take_messages()
        self._hearing.take_output()
        self._child.dead = True
