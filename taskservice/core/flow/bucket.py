"""So many a second: a token bucket, kept as the time at which it will be full again.

This is the Generic Cell Rate Algorithm (ITU-T Recommendation I.371, "Traffic control and congestion control in B-ISDN",
1993; ATM Forum, "Traffic Management Specification 4.0", 1996): one number instead of tokens and the time of the last refill, and
nothing to do while nobody asks. Each limit counts in ticks of its own, of which a millisecond and a token both are a whole
number; so nothing is rounded, and nothing drifts.

Over any time t a bucket gives at most `rate * t + burst` tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from taskservice.core.flow.gate import ROOM_MAX, Reason

RATE_MIN_PER_S = 1e-6
"""About one task in twelve days: who wants less wants none, and pauses."""
RATE_MAX_PER_S = 1e6
DENOMINATOR_MAX = 10**9
"""A rate is the fraction nearest to what was set with at most this denominator: thirds and sevenths are met exactly."""


class RateLimit:
    """A setting: so many tasks a second, and so many at once after a pause. All buckets that have it share one."""

    __slots__ = ("burst", "depth", "gate", "per_s", "ticks_per_ms", "ticks_per_token")

    def __init__(self, gate: str, per_s: float, burst: int) -> None:
        """Raises ValueError for what cannot be. `gate`: what users know it by, e.g. `tenant.rate`."""
        if not RATE_MIN_PER_S <= per_s <= RATE_MAX_PER_S:
            raise ValueError(f"{gate} must be {RATE_MIN_PER_S:g} to {RATE_MAX_PER_S:g} a second, not {per_s:g}")
        if not 1 <= burst <= ROOM_MAX:
            raise ValueError(f"the burst of {gate} must be 1 to {ROOM_MAX}, not {burst}")
        self.gate = gate
        self.per_s = per_s
        self.burst = burst
        per_ms = Fraction(per_s).limit_denominator(DENOMINATOR_MAX) / 1000
        self.ticks_per_ms = per_ms.numerator
        self.ticks_per_token = per_ms.denominator
        self.depth = burst * self.ticks_per_token
        """Ticks in which an empty bucket fills."""


class Bucket:
    """What may be taken under a rate limit. There may be millions: it holds its limit and one number."""

    __slots__ = ("_full_at", "limit")

    def __init__(self, limit: RateLimit, now_ms: int, *, full: bool = False) -> None:
        """Empty unless `full`: what was taken before a restart is not known, and may have been all of it."""
        self.limit = limit
        self._full_at = now_ms * limit.ticks_per_ms + (0 if full else limit.depth)

    def room(self, now_ms: int) -> int:
        return (self.limit.depth - self._missing(now_ms)) // self.limit.ticks_per_token

    def take(self, tasks: int, now_ms: int) -> bool:
        """Whether so many tokens were there; then they are taken, else none is."""
        missing = self._missing(now_ms) + tasks * self.limit.ticks_per_token
        if missing > self.limit.depth:
            return False
        self._full_at = now_ms * self.limit.ticks_per_ms + missing
        return True

    def give_back(self, tasks: int, now_ms: int) -> None:
        """So many tokens were taken for tasks that then did not start."""
        missing = self._missing(now_ms) - tasks * self.limit.ticks_per_token
        self._full_at = now_ms * self.limit.ticks_per_ms + max(0, missing)

    def opens_ms(self, now_ms: int, tasks: int = 1) -> int | None:
        """When so many tokens will be there if nobody takes any; None: never, for they are more than the burst."""
        limit = self.limit
        if tasks > limit.burst:
            return None
        wait = self._missing(now_ms) + tasks * limit.ticks_per_token - limit.depth
        return now_ms + max(0, -(-wait // limit.ticks_per_ms))

    def reason(self, now_ms: int, tasks: int = 1) -> Reason:
        """How it stands for a request of so many tasks."""
        burst = self.limit.burst
        opens_ms = self.opens_ms(now_ms, tasks)
        return Reason(self.limit.gate, burst, burst - self.room(now_ms), opens_ms, self.limit.per_s)

    def reason_after(self, taken: int, now_ms: int) -> Reason:
        """How it will stand for one task more when so many have been taken."""
        limit = self.limit
        wait = self._missing(now_ms) + (taken + 1) * limit.ticks_per_token - limit.depth
        opens_ms = now_ms + max(0, -(-wait // limit.ticks_per_ms))
        return Reason(limit.gate, limit.burst, limit.burst - self.room(now_ms) + taken, opens_ms, limit.per_s)

    def change(self, limit: RateLimit, now_ms: int) -> None:
        """The limit is another, and the tokens are what they were, as far as the new burst has room for them."""
        have = (self.limit.depth - self._missing(now_ms)) * limit.ticks_per_token // self.limit.ticks_per_token
        self.limit = limit
        self._full_at = now_ms * limit.ticks_per_ms + limit.depth - min(have, limit.depth)

    def _missing(self, now_ms: int) -> int:
        """Ticks until it is full. More than its depth can only be missing when the clock has been put back: then it is empty, and
        fills from now on, instead of staying closed for as long as the clock went back."""
        limit = self.limit
        missing = self._full_at - now_ms * limit.ticks_per_ms
        if missing <= 0:
            return 0
        if missing > limit.depth:
            self._full_at = now_ms * limit.ticks_per_ms + limit.depth
            return limit.depth
        return missing


def take_all(buckets: Sequence[Bucket], tasks: int, now_ms: int) -> Reason | None:
    """Each of the buckets has given so many tokens; or none has, and the answer is how the last of them to open stands.

    Its `clears_ms` is the earliest time at which the same request passes all of them, if nobody else takes any; None
    if it asks for more than a burst, and so never does.
    """
    last: Bucket | None = None
    last_ms = now_ms
    for bucket in buckets:
        opens_ms = bucket.opens_ms(now_ms, tasks)
        if opens_ms is None:
            return bucket.reason(now_ms, tasks)
        if opens_ms > last_ms:
            last, last_ms = bucket, opens_ms
    if last is not None:
        return last.reason(now_ms, tasks)
    for bucket in buckets:
        bucket.take(tasks, now_ms)
    return None
