"""When work arrives: processes as a scenario states them, and the moments that they give.

    arrivals: {poisson: {per_s: 5}}                                           independent of each other
    arrivals: {periodic: {every: 1m, jitter: 2s}}                             a timer
    arrivals: {bursts: {per_s: 50, lasts: 10s, pauses: 2m, pause_per_s: 0.1}} on and off, each for a random time
    arrivals: {diurnal: {per_s: 5, swing: 0.33, period: 24h, peak_at: 14h}}   a rate that rises and falls
    arrivals: {once: {at: 10m, tasks: 5000}}                                  all in one moment
    arrivals: {closed: {clients: 20, thinks: 1s}}                             who submits again when the last one has ended
    arrivals: {cron: {at: "30 8 * * *", schedules: 500}}                      the service's own schedules; a run begins at 8:00

Times are microseconds since the beginning of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat, takewhile
from math import cos, pi
from random import Random
from typing import Annotated, Protocol

from pydantic import Field

from taskservice.simulator.distributions import Takes
from taskservice.simulator.fields import Count, Described, DurationMs, OneOf, PositiveMs, Rate, Ratio


class Process(Protocol):
    """An arrival process that does not depend on what becomes of the work."""

    def times_us(self, rng: Random, from_us: int, until_us: int) -> Iterator[int]:
        """The moments from `from_us` on and before `until_us`, in order."""


class Poisson(Described):
    """Moments that know nothing of each other: what many independent callers look like."""

    per_s: Rate

    def times_us(self, rng: Random, from_us: int, until_us: int) -> Iterator[int]:
        return poisson_us(rng, self.per_s / 1e6, from_us, until_us)


class Periodic(Described):
    """A timer. Its first moment is `from`, and each is late by up to `jitter`."""

    every: PositiveMs
    jitter: DurationMs = 0

    def times_us(self, rng: Random, from_us: int, until_us: int) -> Iterator[int]:
        ticks = range(from_us, until_us, self.every * 1000)
        if not self.jitter:
            return iter(ticks)
        late_us = min(self.jitter, self.every) * 1000
        late = (tick + int(rng.random() * late_us) for tick in ticks)
        return takewhile(lambda us: us < until_us, late)


class Bursts(Described):
    """Two rates by turns, each for an exponential time (a Markov-modulated Poisson process)."""

    per_s: Rate
    lasts: PositiveMs
    pauses: PositiveMs
    pause_per_s: Annotated[float, Field(ge=0, le=1e6)] = 0.0

    def times_us(self, rng: Random, from_us: int, until_us: int) -> Iterator[int]:
        return bursts_us(
            rng,
            (self.per_s / 1e6, self.lasts * 1000.0),
            (self.pause_per_s / 1e6, self.pauses * 1000.0),
            from_us,
            until_us,
        )


class Diurnal(Described):
    """A rate that goes round its mean as a cosine, the highest at `peak_at`; `swing` 0.33 is a peak of twice the trough."""

    per_s: Rate
    swing: Ratio = 0.33
    period: PositiveMs = 86_400_000
    peak_at: DurationMs = 0

    def times_us(self, rng: Random, from_us: int, until_us: int) -> Iterator[int]:
        """Thinned from a Poisson process at the peak's rate (Lewis and Shedler, 1979)."""
        return diurnal_us(rng, self.per_s / 1e6, self.swing, (self.period, self.peak_at), from_us, until_us)


class Once(Described):
    """All in one moment: midnight, or the end of a pause."""

    at: DurationMs
    tasks: Count

    def times_us(self, rng: Random, from_us: int, until_us: int) -> Iterator[int]:
        at_us = self.at * 1000
        return repeat(at_us, self.tasks if from_us <= at_us < until_us else 0)


class Closed(Described):
    """Clients that each wait for the end of their task, think, and submit the next."""

    clients: Count
    thinks: Takes = Takes(constant=0)


class Cron(Described):
    """Schedules of the service: it makes the tasks itself. Every run begins on a Friday at 8:00, UTC."""

    at: str
    schedules: Count = 1


class Arrivals(OneOf):
    """How work arrives, as a scenario states it."""

    poisson: Poisson | None = None
    periodic: Periodic | None = None
    bursts: Bursts | None = None
    diurnal: Diurnal | None = None
    once: Once | None = None
    closed: Closed | None = None
    cron: Cron | None = None


def poisson_us(rng: Random, per_us: float, from_us: float, until_us: float) -> Iterator[int]:
    """Moments of a Poisson process of this rate."""
    at_us = from_us
    while (at_us := at_us + rng.expovariate(per_us)) < until_us:
        yield int(at_us)


def bursts_us(
    rng: Random, burst: tuple[float, float], pause: tuple[float, float], from_us: int, until_us: int
) -> Iterator[int]:
    """`burst` and `pause` are each a rate per microsecond and a mean length. It begins in one or the other, as is to be
    expected at a random moment."""
    in_burst = rng.random() * (burst[1] + pause[1]) < burst[1]
    at_us = float(from_us)
    while at_us < until_us:
        per_us, mean_us = burst if in_burst else pause
        end_us = min(float(until_us), at_us + rng.expovariate(1.0 / mean_us))
        if per_us:
            yield from poisson_us(rng, per_us, at_us, end_us)
        at_us, in_burst = end_us, not in_burst


def diurnal_us(
    rng: Random, per_us: float, swing: float, period_ms: tuple[int, int], from_us: int, until_us: int
) -> Iterator[int]:
    """`period_ms`: the period, and when its peak is."""
    turn, peak_us, draw = 2 * pi / (period_ms[0] * 1000), period_ms[1] * 1000, rng.random
    for at_us in poisson_us(rng, per_us * (1 + swing), from_us, until_us):
        if draw() * (1 + swing) < 1 + swing * cos((at_us - peak_us) * turn):
            yield at_us
