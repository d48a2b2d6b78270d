"""How long a function's attempts take: what lease sizes and fair shares are reckoned by. Volatile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NEW_WEIGHT = 0.1
"""How much one attempt moves the estimate (exponentially weighted moving average)."""

OVERHEAD_US = 40.0
"""What an attempt costs beside its handler, at least: no estimate is below it."""


P90_STEP = 0.1
"""How much an attempt may move the ninth decile."""


@dataclass(slots=True)
class Speed:
    """The moving average of a function's attempt durations."""

    mean_us: float | None = None
    """None: nothing is known yet."""
    p90_us: float | None = None
    """What about nine of ten attempts take at most; None: nothing is known yet."""
    least_us: float = 0.0
    """Attempts that are not over have lasted this long."""

    def at_least(self, elapsed_us: float) -> None:
        """An attempt that is not over has lasted so long."""
        self.least_us = max(self.least_us, elapsed_us)

    def learn(self, durations_us: Sequence[int]) -> None:
        """Attempts that took so long were seen. The quantile is moved up by each that took longer and down by the others, nine
        times less: it rests where nine of ten are shorter (stochastic approximation, Robbins and Monro 1951)."""
        if not durations_us:
            return
        p90 = self.p90_us
        for duration_us in durations_us:
            if p90 is None:
                p90 = max(OVERHEAD_US, duration_us)
            elif duration_us > p90:
                p90 *= 1.0 + P90_STEP * 0.9
            else:
                p90 = max(OVERHEAD_US, p90 * (1.0 - P90_STEP * 0.1))
        self.p90_us = p90
        attempts = len(durations_us)
        mean = max(OVERHEAD_US, sum(durations_us) / attempts)
        if self.mean_us is None:
            self.mean_us = mean
        else:
            self.mean_us += (mean - self.mean_us) * (1.0 - (1.0 - NEW_WEIGHT) ** attempts)
