"""The tasks of one lease, and what has become of them: each is settled once, by its outcome or as handed back.

later ──fetched──> waiting ──ended, handed back──> news ──told──>
                            └──its result or checkpoint is being written──> news
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from taskservice.core.lease_wire import LeaseSpec, LeaseTask, Outcome
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime.checkpoints import LeaseCheckpoints
from taskservice.runtime.logbook import Logbook
from taskservice.runtime.values import LOOK_S, LeaseValues


class News(NamedTuple):
    """What there is to report."""

    checkpoints: tuple[tuple[TaskNo, bytes], ...]
    outcomes: tuple[Outcome, ...]
    handed_back: tuple[TaskNo, ...]


class LeaseTasks:
    """Which tasks are not settled, and what there is to report of the others."""

    def __init__(self, spec: LeaseSpec, values: LeaseValues, checkpoints: LeaseCheckpoints, logs: Logbook) -> None:
        self._values = values
        self._count = len(spec.tasks)
        self.checkpoints = checkpoints
        self.logs = logs
        self.later: dict[TaskNo, LeaseTask] = {task.no: task for task in spec.tasks}
        """Tasks whose payloads are not fetched yet, in order; all others are in a child's hands at once."""
        self.waiting: dict[TaskNo, LeaseTask] = {}
        """Tasks with their payloads that are not settled yet, in order."""
        self._outcomes: list[Outcome] = []
        self._handed_back: list[TaskNo] = []
        self._held: dict[TaskNo, Outcome | None] = {}
        """Settled, but for their last checkpoints, which are still to be written. None: it is handed back."""

    @property
    def unsettled(self) -> list[TaskNo]:
        """Those of which nobody knows yet what they come to, in order."""
        return [*self.waiting, *self.later]

    @property
    def begun(self) -> bool:
        """Whether one of them is settled already."""
        return len(self.waiting) + len(self.later) < self._count

    @property
    def writing(self) -> bool:
        """Whether what is settled waits for something to be written."""
        return self._values.writing or bool(self._held)

    @property
    def overfull(self) -> bool:
        """Whether so much waits to be written that nothing should be begun that brings more."""
        return self._values.overfull

    @property
    def news(self) -> bool:
        """Whether there is something to report."""
        return bool(self._outcomes or self._handed_back or self.checkpoints.news)

    def patience_s(self, now_s: float) -> float:
        """How long there is nothing to be looked at."""
        if self.writing or self.checkpoints.writing:
            return LOOK_S
        return min(self.checkpoints.patience_s(now_s), self.logs.patience_s)

    def fetch(self, meanwhile: Callable[[], None]) -> None:
        """The next tasks wait for a child with their payloads; those whose payload cannot be had are settled."""
        batch = list(self._values.next_batch(self.later.values()))
        for each in self._values.fetched(batch, meanwhile):
            if isinstance(each, Outcome):
                self._end(each)
            else:
                if self.later.pop(each.no).checkpoint and not each.checkpoint:
                    self.logs.remark(each.no, "its checkpoint is lost: it begins anew")
                self.waiting[each.no] = each

    def told(self, outcome: Outcome) -> None:
        """A child says so: the task is over, if it was not before."""
        self._end(self._values.checked(outcome))

    def settle(self, no: TaskNo, kind: OutcomeKind, message: str, detail: str = "", since_ns: int = 0) -> None:
        """The task is over, if it was not before. `since_ns`: when its attempt began, on the monotonic clock; 0: it did not."""
        ran_ns = time.monotonic_ns() - since_ns if since_ns else 0
        started_ms = (time.time_ns() - ran_ns) // 1_000_000 if since_ns else 0
        self._end(Outcome(no, kind, started_ms, ran_ns // 1000, message=message, detail=detail))

    def settle_all(self, kind: OutcomeKind, message: str, detail: str) -> None:
        """All are over."""
        for no in self.unsettled:
            self.settle(no, kind, message, detail)

    def hand_back(self, nos: Iterable[TaskNo]) -> None:
        """These, as far as they are not settled, run elsewhere, and are not charged."""
        for no in list(nos):
            if self._take_off(no):
                self._hold(no, None)

    def look_at_writes(self) -> None:
        """What has been written meanwhile can be reported."""
        self._outcomes += self._values.written()
        self.checkpoints.keep_up()
        for no in [no for no in self._held if not self.checkpoints.is_busy(no)]:
            self._tell(no, self._held.pop(no))

    def wait_for_writes(self) -> None:
        """Something has been written, or a moment has passed."""
        self._values.wait(self.checkpoints.writing)
        self.look_at_writes()

    def take_news(self) -> News:
        """What has been put down, has ended and is handed back since this was asked last."""
        news = News(self.checkpoints.take_news(), tuple(self._outcomes), tuple(self._handed_back))
        self._outcomes, self._handed_back = [], []
        return news

    def _end(self, outcome: Outcome) -> None:
        if not self._take_off(outcome.no):
            return
        self.logs.close(outcome)
        if self._values.is_large(outcome):
            self._values.write(outcome)  # it is reported when that is done
            self.checkpoints.end(outcome.no, keep=False)
        else:
            self._hold(outcome.no, outcome)

    def _hold(self, no: TaskNo, outcome: Outcome | None) -> None:
        """It is reported once its last checkpoint is written, if it has one that is of any use."""
        keep = outcome is None or outcome.kind is not OutcomeKind.SUCCEEDED
        if self.checkpoints.end(no, keep=keep):
            self._held[no] = outcome
        else:
            self._tell(no, outcome)

    def _tell(self, no: TaskNo, outcome: Outcome | None) -> None:
        if outcome is None:
            self._handed_back.append(no)
        else:
            self._outcomes.append(outcome)

    def _take_off(self, no: TaskNo) -> bool:
        """The task is settled; whether it was not before."""
        return self.waiting.pop(no, None) is not None or self.later.pop(no, None) is not None
