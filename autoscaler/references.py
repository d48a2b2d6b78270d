"""Policies that others use, to compare with: one kind of machine, their usual parameters.

- `QueueLength`, as KEDA: tasks that wait or run, by what a machine has room for; asked every 30 s, then as the horizontal pod autoscaler.
- `Utilisation`, as that autoscaler by CPU: so many machines that 70 % is in use, within a tenth; machines that start count as idle.

Both: every 15 s, at most twice as many or four more at once, and no fewer than at any time in the last 300 s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import ceil

from taskservice.autoscaler.kinds import Kind, Shape
from taskservice.autoscaler.plan import Leaving, Plan
from taskservice.autoscaler.surplus import surplus
from taskservice.core.backlog import BacklogAnswer, KindPlan, RunnerUse

SYNC_S = 15.0
POLL_S = 30.0
STABLE_S = 300.0
UTILISATION = 0.7
TOLERANCE = 0.1
STEP_RATIO = 2
STEP_MIN = 4


class _Controller(ABC):
    """From a recommendation to a number of machines, as the horizontal pod autoscaler does it by default."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.wanted = kind.machines_min
        self._next_s = float("-inf")
        self._recent: list[tuple[float, int]] = []

    def plan(self, answer: BacklogAnswer, now_s: float) -> Plan:
        """See `Policy`."""
        runners = [one for one in answer.runners if self.kind.owns(one)]
        staying = [one for one in runners if not one.draining]
        if now_s >= self._next_s:
            self._next_s = now_s + SYNC_S
            self._sync(self.recommend(answer, staying, now_s), now_s)
        gone = surplus(staying, self.wanted, float("inf"))
        stay = len(staying) - len(gone)
        plan = KindPlan(self.kind.name, self.wanted, stay, len(runners) - stay, "")
        return Plan((plan,), (), tuple(Leaving(one.id, one.node, self.kind.name) for one in gone))

    @abstractmethod
    def recommend(self, answer: BacklogAnswer, staying: list[RunnerUse], now_s: float) -> int:
        """Machines that would do."""

    def _sync(self, recommended: int, now_s: float) -> None:
        kind = self.kind
        self._recent = [(at_s, number) for at_s, number in self._recent if now_s - at_s < STABLE_S]
        self._recent.append((now_s, recommended))
        most = max(STEP_RATIO * self.wanted, self.wanted + STEP_MIN)
        stable = max(number for _, number in self._recent)
        number = min(most, recommended) if recommended >= self.wanted else min(self.wanted, stable)
        self.wanted = max(kind.machines_min, min(kind.machines_max, number))


class QueueLength(_Controller):
    """As KEDA: by the length of the queue."""

    def __init__(self, kind: Kind, shape: Shape) -> None:
        super().__init__(kind)
        self._each = kind.places(shape)
        self._polled_s = float("-inf")
        self._length = 0

    def recommend(self, answer: BacklogAnswer, staying: list[RunnerUse], now_s: float) -> int:
        if now_s - self._polled_s >= POLL_S:
            self._polled_s = now_s
            self._length = sum(work.queued + work.places for work in answer.works)
        return ceil(self._length / self._each)


class Utilisation(_Controller):
    """As the horizontal pod autoscaler: by the CPUs in use."""

    def recommend(self, answer: BacklogAnswer, staying: list[RunnerUse], now_s: float) -> int:
        cpus = dict(self.kind.capacity)["CPU"]
        used = sum(min(cpus * len(staying), work.places * dict(work.need).get("CPU", 0)) for work in answer.works)
        ready, number = len(staying), max(1, self.wanted)
        ratio = used / (cpus * ready) / UTILISATION if ready else 0.0
        if ratio > 1 and number > ready:
            ratio = used / (cpus * number) / UTILISATION
            return ceil(number * ratio) if ratio > 1 + TOLERANCE else self.wanted
        if not ready or abs(ratio - 1) <= TOLERANCE:
            return self.wanted
        return ceil(ready * ratio) if number <= ready else self.wanted
