"""How long a function's attempts take: what lease sizes and fair shares are reckoned by. Volatile."""

from __future__ import annotations

from dataclasses import dataclass

NEW_WEIGHT = 0.1
"""How much one attempt moves the estimate (exponentially weighted moving average)."""

OVERHEAD_US = 40.0
"""What an attempt costs beside its handler, at least: no estimate is below it."""


@dataclass(slots=True)
class Speed:
    """The moving average of a function's attempt durations."""

    mean_us: float | None = None
    """None: nothing is known yet."""
    least_us: float = 0.0
    """Attempts that are not over have lasted this long."""

    def at_least(self, elapsed_us: float) -> None:
        """An attempt that is not over has lasted so long."""
        self.least_us = max(self.least_us, elapsed_us)

    def learn(self, total_us: int, attempts: int) -> None:
        """`attempts` more were seen that took `total_us` together."""
        if attempts <= 0:
            return
        mean = max(OVERHEAD_US, total_us / attempts)
        if self.mean_us is None:
            self.mean_us = mean
        else:
            self.mean_us += (mean - self.mean_us) * (1.0 - (1.0 - NEW_WEIGHT) ** attempts)
