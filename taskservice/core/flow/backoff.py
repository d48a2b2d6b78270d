"""How long a task waits for its next attempt, by what became of the last one.

Exponential back-off with full jitter (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015): a time drawn evenly
from 0 to a ceiling that grows with each attempt. Of all that failed at the same moment as many come back in any second as in
any other, which no fixed wait does, and half of it at random only in part.
"""

from __future__ import annotations

from random import Random

from taskservice.core.lease_wire import Outcome
from taskservice.core.specs import RetryPolicy
from taskservice.core.types import OutcomeKind

BUSY_BASE_MS = 5_000
"""What is throttled, and was not told for how long, waits longer than what failed: to come back soon is to be throttled again."""
TOLD_SPREAD = 0.1
"""Who was told when to come back comes up to a tenth later, so that not all who were told the same come at once."""

_BUSY = (OutcomeKind.THROTTLED, OutcomeKind.STORE_AWAY)
"""Somebody has too much to do; the outcome may say until when."""


def delay_ms(policy: RetryPolicy, attempt: int, outcome: Outcome, rng: Random) -> int:
    """How long to wait before the next attempt, after `attempt` of them. What was lost does not wait: see `report`."""
    if outcome.kind not in _BUSY:
        return _drawn(policy, policy.base_ms, attempt, rng)
    if outcome.retry_after_ms is None:
        return _drawn(policy, max(policy.base_ms, BUSY_BASE_MS), attempt, rng)
    return outcome.retry_after_ms + int(rng.random() * outcome.retry_after_ms * TOLD_SPREAD)


def _drawn(policy: RetryPolicy, base_ms: int, attempt: int, rng: Random) -> int:
    ceiling_ms = min(policy.max_ms, int(base_ms * policy.factor ** min(max(0, attempt - 1), 64)))
    return int(rng.random() * ceiling_ms) if policy.jitter else ceiling_ms
