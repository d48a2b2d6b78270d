"""What goes wrong beside the nodes: the dispatcher begins anew, and reports are lost on their way, or come twice.

    faults:
      restarts: [{at: 10m, for: 5s}, {at: 20m}]
      reports: {lost: 0.05, twice: 0.05, again_after: 2s}

A slow store is said where its speed is: `service: {commit: {0s: 50ms, 10m: 3s, 12m: 50ms}}`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from pydantic import Field

from taskservice.core.lease_wire import RunnerReport
from taskservice.core.types import RunnerId
from taskservice.simulator.agenda import Agenda
from taskservice.simulator.fields import Described, DurationMs, PositiveMs, Ratio


class Restart(Described):
    """The dispatcher ends, and is there again after a while, with what its table holds."""

    at: PositiveMs
    lasts: DurationMs = Field(3_000, alias="for")


class Reports(Described):
    """What becomes of runners' reports."""

    lost: Ratio = 0.0
    """How many do not come, and are sent again."""
    twice: Ratio = 0.0
    """How many of the others are sent again as well, since it was not heard that they came."""
    again_after: PositiveMs = 2_000


class Faults(Described):
    """All that goes wrong in a scenario."""

    restarts: list[Restart] = Field(default_factory=list)
    reports: Reports = Reports()


class Post:
    """Carries the reports."""

    def __init__(self, spec: Reports, agenda: Agenda, rng: Random, lives: Callable[[RunnerId], bool]) -> None:
        """`lives` says whether a runner can still send what did not come."""
        self._spec = spec
        self._agenda = agenda
        self._rng = rng
        self._lives = lives
        self._arrived: list[RunnerReport] = []

    @property
    def waits(self) -> bool:
        """Whether anything has come that was not taken."""
        return bool(self._arrived)

    def carry(self, t_us: int, reports: list[RunnerReport]) -> list[RunnerReport]:
        """What comes now: of these, and of earlier ones."""
        if not self._spec.lost and not self._spec.twice:
            return reports
        arrived, self._arrived = self._arrived, []
        for report in reports:
            is_lost = self._rng.random() < self._spec.lost
            if not is_lost:
                arrived.append(report)
            if is_lost or self._rng.random() < self._spec.twice:
                self._agenda.at(t_us + self._spec.again_after * 1000, self._again, report)
        return arrived

    def _again(self, _t_us: int, report: RunnerReport) -> None:
        if self._lives(report.runner):
            self._arrived.append(report)
