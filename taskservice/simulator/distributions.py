"""How long something takes: distributions as a scenario states them, and samplers that draw from them.

    takes: 200ms
    takes: {exponential: {mean: 200ms}}
    takes: {lognormal: {median: 200ms, sigma: 1.2}}
    takes: {pareto: {min: 10ms, alpha: 0.7, max: 1000s}}
    takes: {weibull: {scale: 420ms, shape: 0.42}}
    takes: {empirical: {0: 1ms, 0.5: 30ms, 0.99: 1s, 1: 2s}}

Scenarios speak of milliseconds, the simulator of microseconds: many attempts take less than one millisecond.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import exp, expm1, log, log1p
from random import Random
from statistics import NormalDist
from typing import Annotated, Protocol, Self, cast

from pydantic import Field, RootModel, field_validator, model_validator

from taskservice.simulator.fields import Described, DurationMs, OneOf, PositiveMs

Sampler = Callable[[], int]
"""Draws a duration, in microseconds."""

Shape = Annotated[float, Field(ge=0.05, le=20)]
"""Within these bounds every draw is a number that can be reckoned with."""

_NORMAL = NormalDist()
_UNIT_MIN = 1e-12
"""Where quantiles are asked for, instead of 0 and 1."""


class Distribution(Protocol):
    """What a scenario's durations can be."""

    def quantile_us(self, ratio: float) -> float:
        """The duration that this ratio of all draws does not pass."""

    def sampler(self, rng: Random) -> Sampler:
        """Draws independent durations."""


class Constant:
    """Always the same."""

    def __init__(self, ms: int) -> None:
        self._us = ms * 1000

    def quantile_us(self, ratio: float) -> float:
        return float(self._us)

    def sampler(self, rng: Random) -> Sampler:
        us = self._us
        return lambda: us


class _Capped(Described):
    """A distribution of which a scenario may cut off the upper end."""

    max: PositiveMs | None = None
    """What would take longer takes this long."""

    @property
    def max_us(self) -> float:
        return float("inf") if self.max is None else self.max * 1000.0

    def quantile_us(self, ratio: float) -> float:
        return min(self.max_us, self._uncapped_us(min(max(ratio, _UNIT_MIN), 1 - _UNIT_MIN)))

    def sampler(self, rng: Random) -> Sampler:
        draw, quantile_us = rng.random, self.quantile_us
        return lambda: int(quantile_us(draw()))

    @abstractmethod
    def _uncapped_us(self, ratio: float) -> float:
        """The quantile before the upper end is cut off."""


class Exponential(_Capped):
    """Without memory: how long it has taken says nothing about how long it will."""

    mean: PositiveMs

    def _uncapped_us(self, ratio: float) -> float:
        return -self.mean * 1000.0 * log1p(-ratio)


class LogNormal(_Capped):
    """Its logarithm is normal: what durations of most handlers look like. `sigma` 0.2 is narrow, 2 wide."""

    median: PositiveMs
    sigma: Shape

    def sampler(self, rng: Random) -> Sampler:
        return lognormal_us(rng, self.median * 1000.0, self.sigma, self.max_us)

    def _uncapped_us(self, ratio: float) -> float:
        return self.median * 1000.0 * exp(self.sigma * _NORMAL.inv_cdf(ratio))


class Pareto(_Capped):
    """A heavy tail: with `alpha` at 1 or below it has no mean but by its `max`, which is therefore asked for."""

    min: PositiveMs
    alpha: Shape
    max: PositiveMs

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max} ms) cannot be below min ({self.min} ms)")
        return self

    def _uncapped_us(self, ratio: float) -> float:
        return self.min * 1000.0 * exp(-log1p(-ratio) / self.alpha)


class Weibull(_Capped):
    """With `shape` below 1 a heavier tail than the exponential, above 1 a lighter one."""

    scale: PositiveMs
    shape: Shape

    def _uncapped_us(self, ratio: float) -> float:
        return self.scale * 1000.0 * exp(log(-log1p(-ratio)) / self.shape)


class Empirical(RootModel[dict[float, DurationMs]]):
    """Known by quantiles: ratio -> duration. Between two of them the logarithm grows evenly."""

    @field_validator("root")
    @classmethod
    def _rising(cls, quantiles: dict[float, int]) -> dict[float, int]:
        ordered = dict(sorted(quantiles.items()))
        if list(ordered)[:1] != [0] or list(ordered)[-1:] != [1] or len(ordered) < 2:
            raise ValueError("the quantiles 0 and 1, the shortest and the longest, have to be given")
        if any(high < low for low, high in zip(ordered.values(), list(ordered.values())[1:], strict=False)):
            raise ValueError("a higher quantile cannot be shorter than a lower one")
        return ordered

    def quantile_us(self, ratio: float) -> float:
        return self._curve().quantile_us(ratio)

    def sampler(self, rng: Random) -> Sampler:
        return self._curve().sampler(rng)

    def _curve(self) -> Curve:
        return Curve(list(self.root), [ms * 1000.0 for ms in self.root.values()])


class Curve:
    """Durations between given quantiles."""

    def __init__(self, ratios: Sequence[float], us: Sequence[float]) -> None:
        """Both rise; the first ratio is 0, the last 1."""
        self._ratios = ratios
        self._logs = [log1p(value) for value in us]

    def quantile_us(self, ratio: float) -> float:
        ratios, logs = self._ratios, self._logs
        at = min(max(1, bisect_right(ratios, ratio)), len(ratios) - 1)
        low, high = ratios[at - 1], ratios[at]
        return expm1(logs[at - 1] + (logs[at] - logs[at - 1]) * (ratio - low) / (high - low))

    def sampler(self, rng: Random) -> Sampler:
        draw, quantile_us = rng.random, self.quantile_us
        return lambda: int(quantile_us(draw()))


def lognormal_us(rng: Random, median_us: float, sigma: float, max_us: float) -> Sampler:
    """Draws from a log-normal distribution; what would take longer takes `max_us`."""
    mu, draw = log(median_us), rng.gauss
    return lambda: int(min(max_us, exp(draw(mu, sigma))))


class Takes(OneOf):
    """A distribution, as a scenario states it."""

    constant: DurationMs | None = None
    exponential: Exponential | None = None
    lognormal: LogNormal | None = None
    pareto: Pareto | None = None
    weibull: Weibull | None = None
    empirical: Empirical | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: object) -> object:
        return given if isinstance(given, dict | Takes) else {"constant": given}

    @property
    def distribution(self) -> Distribution:
        return Constant(self.constant) if self.constant is not None else cast("Distribution", self.only)
