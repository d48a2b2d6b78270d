"""How often something took how long: counts between fixed bounds, as Prometheus wants them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct


class HistogramData(Struct, frozen=True, array_like=True):
    """A histogram as it is told to others, in whole units."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """Of values up to each bound and above the one before it; the last one of those above all bounds."""
    total: float
    """The sum of all values."""


class Histogram:
    """Counts of values, which are integers of a small unit."""

    __slots__ = ("_bounds", "_counts", "_per_unit", "_total")

    def __init__(self, bounds: Sequence[float], per_unit: int = 1) -> None:
        """`bounds` are in whole units, ascending; values in parts, of which each has `per_unit`."""
        self._bounds = tuple(round(bound * per_unit) for bound in bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._per_unit = per_unit
        self._total = 0

    def observe(self, value: int) -> None:
        """One more value is counted."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def observe_all(self, values: Sequence[int]) -> None:
        """These values are counted, those below zero as zero. Takes three passes in C if they are alike, as those of one lease
        mostly are."""
        if len(values) < 2:
            for value in values:
                self.observe(max(0, value))
            return
        least = min(values)
        if least < 0:
            values, least = [max(0, value) for value in values], 0
        low, high = bisect_left(self._bounds, least), bisect_left(self._bounds, max(values))
        self._total += sum(values)
        if low == high:
            self._counts[low] += len(values)
            return
        for value in values:
            self._counts[bisect_left(self._bounds, value, low, high)] += 1

    def data(self) -> HistogramData:
        """What was counted so far."""
        bounds = tuple(bound / self._per_unit for bound in self._bounds)
        return HistogramData(bounds, tuple(self._counts), self._total / self._per_unit)
