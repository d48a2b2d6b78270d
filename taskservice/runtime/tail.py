"""The tail of a lease: what has not begun. While an attempt outlasts the lease's slice it runs elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable

from taskservice.core.types import TaskNo
from taskservice.runtime.lease_tasks import LeaseTasks
from taskservice.runtime.process import Child
from taskservice.runtime.wire import GiveBack


class Tail:
    """Handed back once, at the latest when the slice is over."""

    def __init__(self, slice_ms: int, tasks: LeaseTasks) -> None:
        self._tasks = tasks
        self._over_s = time.monotonic() + slice_ms / 1000
        self._given_back = False

    @property
    def slice_is_over(self) -> bool:
        """Whether the lease has lasted for its slice."""
        return time.monotonic() >= self._over_s

    def keep_up(self, child: Child, *, running: bool) -> None:
        """What has not begun is handed back if it is time, or if its results would find no room. `running`: whether the child
        makes an attempt: an import may have lasted longer than the slice."""
        over = (self._tasks.begun or running) and self.slice_is_over
        if not self._given_back and (over or self._tasks.overfull):
            self.give_back(child, self._tasks.later)

    def give_back(self, child: Child, later: Iterable[TaskNo]) -> None:
        """The child will name what it has not begun; these of those that it has not got yet are handed back at once."""
        self._given_back = True
        self._tasks.hand_back(list(later))
        child.send(GiveBack())

    def patience_s(self, now_s: float) -> float:
        """How long there is nothing to hand back."""
        return float("inf") if self._given_back else self._over_s - now_s
