"""What tenants have used of the machines in the last minutes: what their leases were charged, and what was put right since.

Volatile, and bounded by the tenants that had work meanwhile.
"""

from __future__ import annotations

from collections import deque

from taskservice.core.types import Leaf, Priority, TenantId

MINUTE_MS = 60_000
MINUTES = 5
"""The current one comes on top."""

Whose = tuple[Priority, TenantId]


class Spent:
    """Machine seconds by class and tenant, minute by minute."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, dict[Whose, float]]] = deque(maxlen=MINUTES + 1)

    def add(self, leaf: Leaf, seconds: float, now_ms: int) -> None:
        """The leaf has used so much more, or less if this is negative."""
        minute = now_ms // MINUTE_MS
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, {}))
        spent = self._minutes[-1][1]
        whose = (leaf.priority, leaf.tenant)
        spent[whose] = spent.get(whose, 0.0) + seconds

    def total(self, now_ms: int) -> dict[Whose, float]:
        """Of the last minutes; 0 where more was put right than used."""
        first = now_ms // MINUTE_MS - MINUTES
        sums: dict[Whose, float] = {}
        for minute, spent in self._minutes:
            if minute >= first:
                for whose, seconds in spent.items():
                    sums[whose] = sums.get(whose, 0.0) + seconds
        return {whose: max(0.0, seconds) for whose, seconds in sums.items()}

    def span_s(self, now_ms: int) -> float:
        """How far `total` looks back."""
        return MINUTES * 60.0 + now_ms % MINUTE_MS / 1000.0
