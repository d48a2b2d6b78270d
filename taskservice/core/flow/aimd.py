"""How many tasks a downstream bears: additive increase, multiplicative decrease, decided once a period from what became of them.

The law is Chiu and Jain's ("Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989), the
slow start and its threshold Jacobson's ("Congestion Avoidance and Control", SIGCOMM 1988), the growth that speeds up with
time CUBIC's (Xu, Ha, Rhee, Goel, Eggert, "CUBIC for Fast and Long-Distance Networks", RFC 9438, 2023). That a share and a count of
errors must both be passed is what Alibaba's Function Compute does for asynchronous calls; a decrease by a tenth is what Netflix's
concurrency-limits (2018) does.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf

FLOOR = 1
"""One task is always tried: nothing else tells when the downstream is back."""

CONGESTED_SHARE = 0.05
"""Fewer than one error in twenty are noise, or the price of finding out. The limit rises until it is passed, so it is also how far above
the capacity that goes: C / (1 - 0.05), then a tenth down to 0.947 C, and 97 to 99 % of C on average."""
CONGESTED_MIN = 10
"""Of twenty attempts one is 5 %: with the share alone, one error in a hundred at random would shrink a window of twenty every sixth period. At
that noise ten errors come together once in some thousands of periods. And where a rate is the limit, uneven durations bring
errors in clumps: five of them say little about twenty attempts."""
DOUBTFUL_SHARE = 0.025
"""With more errors than that, and than one, it does not double: they are the first of many, seen while it was still opening."""
FORGIVEN = 0.5
"""With more errors than the share and this many, but too few to count, the limit stays, and the next periods are added until it is
clear. So one error in ten attempts is nothing; one in one may be an outage."""

SHRINK_MIN = 0.9
SHRINK_MAX = 0.5
"""After doubling a limit is shrunk to what got through, `1 - share`: but by a tenth at least, and by a half at most. In two fixed steps, 0.9
and from 25 % on 0.5, one at 1.32 C would stay above 1.15 C for a period more, and one at 1.34 C fall to 0.67 C."""
SEVERE_SHARE = 0.25
"""One that has grown by steps is near the capacity, and fewer errors than that say only that it is too much: it is shrunk by a tenth. By
what got through it would be shrunk more whenever errors come in a clump, and of two windows the one that had the bad luck."""

QUIET = 8.0
"""A step up is 1 + (n / 8)**2, where n counts the steps since the limit was shrunk last: small near the capacity, where each costs
rejections, and large when the capacity has moved away. Twice the capacity is found in at most 11, 24 and 43 periods (of 20, 100, 500
tasks). Steps of a percentage would do that too; but windows that share a downstream keep their ratio when all grow by the
same percentage, and become equal when all grow by the same number."""

RETURN_SHARE = 0.5
"""After an outage the limit doubles up to this share of what it was. Not further: the capacity may be half of what it was, too. If it is
shrunk again on the way, up to half of that the next time."""


class Why(StrEnum):
    """Why a limit is what it is."""

    NEW = "new"
    DOUBLED = "doubled"
    GROWN = "grown"
    CONGESTED = "congested"
    IDLE = "idle"
    FROZEN = "frozen"
    THAWED = "thawed"
    CEILING = "ceiling"
    TOLD = "told"
    """Nothing starts, for that is what throttled attempts were told."""


class Aimd:
    """The limit, and what has been seen since it was decided last."""

    __slots__ = ("_quiet", "_return_to", "_suspect", "attempts", "ceiling", "congested", "limit", "opened")

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = float(FLOOR)
        self._return_to = inf
        """It doubles below, and grows by steps above. At first nothing is known, and it doubles until it is shrunk."""
        self._quiet = 0
        """Steps up since it was shrunk last."""
        self.attempts = 0
        self.congested = 0
        """Of `attempts`: throttled or timed out."""
        self.opened = FLOOR
        """How much of the limit was open at last: nothing is known of the rest."""
        self._suspect = 0
        """Of `congested`: of earlier periods, and too few to tell. One period without any clears them."""

    def end_period(self, *, wanted: bool) -> Why | None:
        """A period is over, and the limit is what its outcomes say. `wanted`: it was used, and more would have been."""
        why = None
        if self.congested >= max(CONGESTED_MIN, CONGESTED_SHARE * self.attempts):
            why = self._shrink()
        elif self.congested >= self._tolerated and self.congested > self._suspect:
            self._suspect = self.congested
            return None
        elif wanted:
            why = self._grow()
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
        """The limit is this, as far as the ceiling lets it, and goes on from there."""
        self._set(float(limit))
        self.forget()

    def forget(self) -> None:
        """What has been seen counts no more."""
        self.attempts = self.congested = self._suspect = 0

    @property
    def _doubles(self) -> bool:
        return self.limit < self._return_to

    @property
    def _tolerated(self) -> float:
        if self._doubles:
            return DOUBTFUL_SHARE * self.attempts + 1 + FORGIVEN
        return CONGESTED_SHARE * self.attempts + FORGIVEN

    def _grow(self) -> Why | None:
        if self.limit >= self.ceiling:
            return None
        doubles = self._doubles
        step = 1 + (self._quiet / QUIET) ** 2
        self._quiet += 1
        self._set(min(2 * self.limit, self._return_to) if doubles else self.limit + step)
        return Why.DOUBLED if doubles else Why.GROWN

    def _shrink(self) -> Why:
        used, share = min(self.limit, float(self.opened)), self.congested / self.attempts
        doubled = self.limit <= self._return_to
        if self._quiet:
            best = used if self._return_to == inf else max(used, self._return_to)
            self._return_to = best * RETURN_SHARE
        self._quiet = 0
        kept = 1.0 - share if doubled or share >= SEVERE_SHARE else SHRINK_MIN
        self._set(used * min(SHRINK_MIN, max(SHRINK_MAX, kept)))
        return Why.CONGESTED

    def _set(self, limit: float) -> None:
        self.limit = max(min(limit, float(self.ceiling)), float(FLOOR))
