"""Durations counted in buckets: memory that does not grow with their number, quantiles within a hundredth."""

from __future__ import annotations

from math import ceil

_BITS = 7
"""Buckets in each power of two, as an exponent: 128, so a bucket is less than 1 % wide. Below 256 they are exact."""


class Histogram:
    """Whole numbers from 0 on, by bucket."""

    __slots__ = ("count", "counts", "max")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        self.max = 0

    def add(self, value: int) -> None:
        shift = value.bit_length() - _BITS - 1
        bucket = value if shift <= 0 else (shift << _BITS) + (value >> shift)
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.count += 1
        self.max = max(self.max, value)

    def merge(self, other: Histogram) -> None:
        """All that is in the other one is in this one as well."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.count += other.count
        self.max = max(self.max, other.max)

    def quantile(self, ratio: float) -> int:
        """The least number that this ratio of all do not pass, or the end of its bucket; 0 if there is none."""
        left = ceil(ratio * self.count)
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return min(self.max, _end(bucket))
        return self.max


def _end(bucket: int) -> int:
    """The greatest number in the bucket."""
    shift = max(0, (bucket >> _BITS) - 1)
    return ((bucket - (shift << _BITS) + 1) << shift) - 1
