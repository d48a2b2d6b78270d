"""Work like that of a public serverless platform, made from what was published about it; nothing is downloaded.

Sources: Shahrad et al., "Serverless in the Wild", USENIX ATC 2020 (Azure Functions, two weeks of 2019): functions of an app,
triggers, mean durations of functions, the daily swing. Of the same data set, 500 functions over 8 hours: the busiest
function's share and the skew behind it, how calls scatter from minute to minute, and durations within one function.

Means and rates are not drawn but evenly spread over their distributions and then shuffled, so that every seed has the
published shape and none an outlier that decides everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from random import Random

from taskservice.core.types import OutcomeKind
from taskservice.simulator.arrivals import bursts_us, diurnal_us
from taskservice.simulator.distributions import Curve, Sampler, lognormal_us
from taskservice.simulator.fields import Count, Described, DurationMs, PositiveMs, Rate, Ratio
from taskservice.simulator.parts import FunctionOptions

MEAN_DURATIONS_S = {0.0: 0.001, 0.2: 0.1, 0.5: 1.0, 0.96: 60.0, 1.0: 300.0}
"""How many functions take less than that on average (Shahrad et al.), and the longest."""
LONGEST_US = 300e6

APP_FUNCTIONS = {(1, 1): 0.54, (2, 2): 0.16, (3, 3): 0.10, (4, 5): 0.08, (6, 10): 0.07, (11, 20): 0.05}
"""How many apps have from so many to so many functions."""

TOP_CALLS = {0.002: 0.631, 0.01: 0.836, 0.02: 0.909, 0.05: 0.964, 0.1: 0.984}
"""The busiest of the functions, and their share of all calls (of 500 functions in 8 hours)."""
REST_CALLS = {0.0: 1.0, 0.25 / 0.9: 8.0, 0.5 / 0.9: 48.0, 0.75 / 0.9: 178.0, 1.0: 958.0}
"""Calls of the other nine tenths of the functions, as quantiles: the shape counts, not the number."""

TIMERS_RATIO = 0.16
"""Functions that a timer calls, once a minute at most."""

BUSY_DURATIONS_S = (0.1, 1.0)
"""What the busiest hundredth of the functions takes on average: half of all calls take less than 0.2 s, a tenth more than 0.9."""

SIGMAS = (0.21, 0.55, 1.14, 1.91)
"""How the logarithm of durations scatters within a function: for a quarter of the functions each."""

BURST_RATIOS = (0.05, 0.08)
"""Of the time, how much a bursty function's bursts take."""
BURST_DISPERSIONS = (4.0, 70.0)
"""The variance of its calls in a minute, relative to their mean."""
BURSTY_MIN = 0.2
"""Calls in a minute, on average, without which no burst comes to so much."""

MINUTE_US = 60e6
TURN_US = (1e5, 6e8)
"""Bounds of the time that on and off of a bursty function last together, roughly."""


class Generated(Described):
    """Apps as tenants, each with its functions."""

    functions: Count = 500
    busy_cpus: Rate
    """How many CPUs the work takes on average. With this, calls in a second are what they are."""
    top_ratio: Ratio = 0.631
    """The busiest function's share of the calls, if there are 500 functions."""
    bursty_ratio: Ratio = 0.1
    """Of the functions that no timer calls, how many are called in bursts."""
    swing: Ratio = 0.33
    period: PositiveMs = 86_400_000
    peak_at: DurationMs = 0
    options: FunctionOptions = FunctionOptions(
        failures={OutcomeKind.HANDLER_ERROR: 0.01, OutcomeKind.NON_RETRYABLE: 0.002}
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A function that was made up."""

    app: str
    name: str
    mean_us: float
    takes: Sampler
    per_us: float
    """Calls in a microsecond, on average."""
    times: Iterator[int]


def generate(spec: Generated, rng: Random, until_us: int) -> list[Made]:
    """The functions, and when they are called from the beginning on until then."""
    shares = call_shares(spec.functions, spec.top_ratio)
    means_us = _mean_durations_us(spec.functions, rng)
    busy_us = sum(share * mean_us for share, mean_us in zip(shares, means_us, strict=True))
    cpus = max(spec.options.cpus, 0.001)
    per_us = spec.busy_cpus / cpus / busy_us
    rates = [per_us * share for share in shares]
    order = list(range(spec.functions))
    rng.shuffle(order)
    apps = _apps(spec.functions, rng)
    timers = _some(rates, rng, (0.0, 1.0), TIMERS_RATIO * spec.functions, {})
    bursty = _some(rates, rng, (BURSTY_MIN, float("inf")), spec.bursty_ratio * (spec.functions - len(timers)), timers)
    made = []
    for number, at in enumerate(order, 1):
        name = f"f{number}"
        own, durations = Random(rng.getrandbits(64)), Random(rng.getrandbits(64))
        sigma = durations.choice(SIGMAS)
        takes = lognormal_us(durations, means_us[at] * exp(-sigma * sigma / 2), sigma, LONGEST_US)
        times = _times(spec, own, rates[at], until_us, timer=at in timers, bursty=at in bursty)
        made.append(Made(apps[number - 1], name, means_us[at], takes, rates[at], times))
    return made


def call_shares(functions: int, top_ratio: float) -> list[float]:
    """Each function's share of the calls, the busiest first; that of the busiest of 500 is `top_ratio`."""
    top = max(1, functions // 10)
    shares = [_top_share((at + 1) / functions) - _top_share(at / functions) for at in range(top)]
    curve = Curve(list(REST_CALLS), list(REST_CALLS.values()))
    rest = [curve.quantile_us(1 - (at + 0.5) / (functions - top)) for at in range(functions - top)]
    scale = (1 - sum(shares)) / sum(rest) if rest else 0.0
    shares += [calls * scale for calls in rest]
    others = (1 - top_ratio) / (1 - next(iter(TOP_CALLS.values())))
    shares[1:] = [share * others for share in shares[1:]]
    shares[0] = 1 - sum(shares[1:])
    return shares


def _top_share(ratio: float) -> float:
    """The share of all calls that this ratio of the functions, the busiest, makes: between two published points it grows
    with the logarithm, and below the first in proportion."""
    points = list(TOP_CALLS.items())
    if ratio <= points[0][0]:
        return points[0][1] * ratio / points[0][0]
    for (low, below), (high, above) in pairwise(points):
        if ratio <= high:
            return below + (above - below) * log(ratio / low) / log(high / low)
    return points[-1][1]


def _mean_durations_us(functions: int, rng: Random) -> list[float]:
    """In the order of the shares."""
    curve = Curve(list(MEAN_DURATIONS_S), [seconds * 1e6 for seconds in MEAN_DURATIONS_S.values()])
    means = [curve.quantile_us((at + 0.5) / functions) for at in range(functions)]
    rng.shuffle(means)
    low_us, high_us = (seconds * 1e6 for seconds in BUSY_DURATIONS_S)
    for busy in range(max(1, functions // 100)):
        fitting = [at for at in range(busy, functions) if low_us <= means[at] <= high_us]
        at = rng.choice(fitting or [busy])
        means[busy], means[at] = means[at], means[busy]
    return means


def _apps(functions: int, rng: Random) -> list[str]:
    """For each function the app that it belongs to."""
    apps: list[str] = []
    while len(apps) < functions:
        ((low, high),) = rng.choices(list(APP_FUNCTIONS), list(APP_FUNCTIONS.values()))
        name = f"app{len(dict.fromkeys(apps)) + 1}"
        apps += [name] * rng.randint(low, high)
    return apps[:functions]


def _some(
    rates: list[float], rng: Random, per_minute: tuple[float, float], number: float, but: dict[int, None]
) -> dict[int, None]:
    """About so many functions, or as many as there are, that are called so often in a minute; none of `but`."""
    low, high = per_minute
    fitting = [at for at, per_us in enumerate(rates) if low <= per_us * MINUTE_US <= high and at not in but]
    return dict.fromkeys(rng.sample(fitting, min(len(fitting), round(number))))


def _times(spec: Generated, rng: Random, per_us: float, until_us: int, *, timer: bool, bursty: bool) -> Iterator[int]:
    if timer:
        every_us = int(1 / per_us)
        return iter(range(int(rng.random() * every_us), until_us, every_us))
    if bursty:
        on_ratio = rng.uniform(*BURST_RATIOS)
        dispersion = exp(rng.uniform(*map(log, BURST_DISPERSIONS)))
        turn_us = burst_turn_us(per_us / on_ratio, on_ratio, dispersion)
        burst, pause = turn_us / (1 - on_ratio), turn_us / on_ratio
        return bursts_us(rng, (per_us / on_ratio, burst), (0.0, pause), 0, until_us)
    return diurnal_us(rng, per_us, spec.swing, (spec.period, spec.peak_at), 0, until_us)


def burst_turn_us(per_us: float, on_ratio: float, dispersion: float) -> float:
    """How long the turns of an on-off process have to be for its calls in a minute to scatter so; as near as can be.

    For turns with the correlation time T the variance of the number N of calls in a window w, relative to its mean, is
    1 + 2 (1 - p) r T/w * (w - T (1 - exp(-w/T))), p the time that it is on and r its rate then.
    """
    low_us, high_us = TURN_US
    for _ in range(60):
        turn_us = (low_us * high_us) ** 0.5
        if burst_dispersion(per_us, on_ratio, turn_us) < dispersion:
            low_us = turn_us
        else:
            high_us = turn_us
    return low_us


def burst_dispersion(per_us: float, on_ratio: float, turn_us: float) -> float:
    """The variance of the calls in a minute, relative to their mean."""
    window = MINUTE_US
    lasting = window - turn_us * (1 - exp(-window / turn_us))
    return 1 + 2 * (1 - on_ratio) * per_us * turn_us * lasting / window
