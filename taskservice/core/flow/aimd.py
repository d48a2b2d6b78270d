"""How many tasks a downstream bears: additive increase, multiplicative decrease, decided once a period from what became of them.

The law is Chiu and Jain's ("Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989), the
slow start and its threshold Jacobson's ("Congestion Avoidance and Control", SIGCOMM 1988). That both a share and a count of errors must
be passed is what Alibaba's Function Compute does for asynchronous calls, and a decrease by a tenth Netflix's concurrency-limits (2018).
"""

from __future__ import annotations

from enum import StrEnum
from math import inf, sqrt

FLOOR = 1
"""One task is always tried: nothing else tells when the downstream is back."""

CONGESTED_SHARE = 0.05
"""Less than one in twenty is noise, or the price of finding out. The limit rises until it is passed, so it is also how far above the
capacity it goes: C / (1 - 0.05), then a tenth down to 0.947 C, hence 97 to 99 % of C on average."""
CONGESTED_MIN = 5
"""Of twenty attempts one is 5 %: with the share alone, one error in a hundred at random would shrink small windows every few periods. At
1 % noise five of a hundred come once in 300 periods, and every other number more rarely."""
HINT_MIN = 2
"""As many errors above the share, but too few to count: the limit stays, and the next periods are added until it is clear."""

SHRINK_MIN = 0.9
SHRINK_MAX = 0.5
"""A shrunk limit is what got through, `1 - share`: but a tenth less at least, and a half at most. With fixed steps of 0.9 and 0.5 a
limit that was doubled into 1.3 C would stay above C for three periods or fall to 0.65 C."""

STEP = 0.25
"""A step up is a quarter of the square root of the limit, at least 1. A step of 2 % instead would serve a single window as well; but
windows that share a downstream keep their ratio under growth by a percentage. The smaller one must grow faster relative to its size, as
with any power below one (Bansal, Balakrishnan, "Binomial Congestion Control Algorithms", INFOCOM 2001)."""
QUIET_STEPS = 10
"""After as many steps in which nothing was throttled the steps are twice as large, after twice as many thrice: small near the
capacity, where each costs rejections, and large where the capacity has moved away. CUBIC does so by time (RFC 9438: Xu, Ha, Rhee, Goel,
Eggert, "CUBIC for Fast and Long-Distance Networks", 2023). Twice the capacity is found in 11 to 28 periods (20 to 500 tasks)."""

RETURN_SHARE = 0.5
"""After an outage the limit doubles up to this share of what it was. Not further: the capacity may be half of what it was, too."""


class Why(StrEnum):
    """Why a limit changed."""

    DOUBLED = "doubled"
    GROWN = "grown"
    CONGESTED = "congested"
    IDLE = "idle"
    FROZEN = "frozen"
    THAWED = "thawed"
    CEILING = "ceiling"


class Aimd:
    """The limit, and what it has seen since it last changed."""

    __slots__ = ("_quiet", "_return_to", "attempts", "ceiling", "congested", "limit")

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = float(FLOOR)
        self._return_to = inf
        """It doubles below, and grows by steps above. At first nothing is known, and it doubles until it is shrunk."""
        self._quiet = 0
        """Periods in which it has grown since it was shrunk last."""
        self.attempts = 0
        self.congested = 0
        """Of `attempts`: throttled or timed out."""

    def end_period(self, *, wanted: bool) -> Why | None:
        """A period is over: the limit is what its outcomes say. `wanted`: it was used, and more would have been."""
        clear = self.congested < max(HINT_MIN, CONGESTED_SHARE * self.attempts)
        if not clear and self.congested < CONGESTED_MIN:
            return None
        why = self._grow() if clear and wanted else None if clear else self._shrink()
        self.forget()
        return why

    def idle(self, halvings: int) -> None:
        """Nobody has tried for long: what it was may be too much by now, and is where it doubles back to."""
        self._return_to = max(self._return_to, self.limit)
        self._set(self.limit * 0.5**halvings)
        self.forget()

    def bound(self, ceiling: int) -> None:
        """The limit is never above the ceiling."""
        self.ceiling = ceiling
        self._set(self.limit)

    def put(self, limit: int) -> None:
        """The limit is this, and it goes on from there as if it knew nothing else."""
        self._set(float(limit))
        self.forget()

    def forget(self) -> None:
        """What has been seen counts no more."""
        self.attempts = self.congested = 0

    def _grow(self) -> Why | None:
        before = self.limit
        doubles = before < self._return_to
        step = max(1.0, STEP * sqrt(before)) * (1 + self._quiet / QUIET_STEPS)
        self._set(min(2 * before, self._return_to) if doubles else before + step)
        self._quiet += 1
        if self.limit == before:
            return None
        return Why.DOUBLED if doubles else Why.GROWN

    def _shrink(self) -> Why:
        if self._quiet:
            self._return_to = self.limit * RETURN_SHARE
        self._quiet = 0
        got_through = 1.0 - self.congested / self.attempts
        self._set(self.limit * min(SHRINK_MIN, max(SHRINK_MAX, got_through)))
        return Why.CONGESTED

    def _set(self, limit: float) -> None:
        self.limit = min(max(limit, float(FLOOR)), float(self.ceiling))
