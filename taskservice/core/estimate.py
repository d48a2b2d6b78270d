"""When a task will start, by how many are before it and how fast they go.

Where so many at a time are served, the time until the m-th is over is Gamma-distributed if their durations are exponential; its
quantiles are approximated by Wilson and Hilferty, "The Distribution of Chi-Square" (PNAS 1931). Durations are seldom just that, but
the mean is right, and what one knows of a queue is not better than that.
"""

from __future__ import annotations

from math import ceil

from taskservice.core.flow.gate import Reason
from taskservice.core.insight import Estimate

Z90 = 1.2815515655446004
"""The standard normal distribution is below that in nine of ten cases."""


def quantile(number: int, z: float) -> float:
    """When the `number`-th is over, in the mean time from one to the next, at that many standard deviations."""
    return float(max(0.0, number * (1 - 1 / (9 * number) + z / (3 * number**0.5)) ** 3))


def by_clock(at_ms: int, bound: str) -> Estimate:
    """It starts then."""
    return Estimate(at_ms, at_ms, bound)


def by_rate(reason: Reason, tasks: int, now_ms: int) -> Estimate | None:
    """It passes a rate behind so many others."""
    per_s = reason.per_s
    assert per_s is not None
    missing = tasks + 1 - (reason.limit - reason.used)
    if missing <= 0:
        return None
    first_ms = now_ms if reason.clears_ms is None else max(now_ms, reason.clears_ms)
    more = missing - 1 if first_ms > now_ms else missing
    at_ms = first_ms + ceil(more * 1000 / per_s)
    return Estimate(at_ms, at_ms, reason.gate, tasks, per_s=per_s)


def by_places(bound: str, tasks: int, free: int, at_once: float, each_s: float, from_ms: int) -> Estimate | None:
    """It has one of so many places behind so many others, each of which keeps one for so long. None: one is free for it now."""
    number = tasks + 1 - free
    if number <= 0:
        return None
    step_ms = each_s * 1000 / max(at_once, 1e-9)
    p50_ms, p90_ms = (from_ms + ceil(step_ms * quantile(number, z)) for z in (0.0, Z90))
    return Estimate(p50_ms, p90_ms, bound, tasks, at_once, each_s)
