"""How many places the work of one shape is worth.

What no gate bounds gets places for what arrives, with spare ones so that few wait, and more for what waits. What gates bound gets
no more than they let it have, and no spare ones: it waits for them, and not for machines.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import NamedTuple

from taskservice.autoscaler.load import ShapeLoad
from taskservice.autoscaler.places import for_arrivals, for_backlog

MANY = 2.33
"""Standard deviations that 99 of a hundred are below."""


class Need(NamedTuple):
    """Places for the work of a shape, by what they are for."""

    rate: float
    """In use on average by what arrives and no gate bounds."""
    arrivals: int
    """So that few of that wait; 0: it comes too seldom to keep any for it."""
    waiting: float
    """For those of that which wait already."""
    capped: float
    """In use by what gates bound."""
    capped_waiting: float
    """For those of that which wait and may begin."""
    capped_most: float

    @property
    def places(self) -> float:
        """For all of it."""
        free = max(float(self.arrivals), self.rate + self.waiting)
        return free + min(self.capped_most, self.capped + self.capped_waiting)


def need(load: ShapeLoad, wait_s: float, within_s: float) -> Need:
    """What the work is worth. `wait_s`: how long few of those that arrive wait longer; `within_s`: in which those that wait begin."""
    free, capped = load.free, load.capped
    rate = max(0.0, load.rate - capped.places)
    return Need(
        rate,
        _arrivals(rate, load, wait_s, within_s),
        for_backlog(free.tasks, free.work_s, within_s),
        capped.places,
        for_backlog(capped.tasks, capped.work_s, within_s),
        capped.most,
    )


def _arrivals(rate: float, load: ShapeLoad, wait_s: float, within_s: float) -> int:
    """Places for what arrives; no more to spare than what may come before another machine is up, and none if that is less than a task:
    it waits for a machine, as the first one did."""
    coming = load.fresh_per_s * within_s
    if coming < 1:
        return 0
    return min(for_arrivals(rate, load.each_s, wait_s), ceil(rate + coming + MANY * sqrt(coming)))
