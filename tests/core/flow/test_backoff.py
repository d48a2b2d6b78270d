"""How long a retry waits: by what happened, and spread so that not all come at once."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random

import pytest

from taskservice.core.flow.backoff import BUSY_BASE_MS, delay_ms
from taskservice.core.lease_wire import Outcome
from taskservice.core.specs import RetryPolicy
from taskservice.core.types import OutcomeKind, TaskNo

POLICY = RetryPolicy(base_ms=1_000, max_ms=60_000, factor=2.0)
FAILED = Outcome(TaskNo(1), OutcomeKind.HANDLER_ERROR)


def drawn(policy: RetryPolicy, attempt: int, outcome: Outcome, count: int = 2_000) -> list[int]:
    rng = Random(attempt)
    return [delay_ms(policy, attempt, outcome, rng) for _ in range(count)]


def told(kind: OutcomeKind, retry_after_ms: int | None = None) -> Outcome:
    return Outcome(TaskNo(1), kind, retry_after_ms=retry_after_ms)


@pytest.mark.parametrize("attempt", [1, 2, 3, 10, 1_000])
def test_full_jitter_stays_below_the_exponential_ceiling(attempt: int) -> None:
    ceiling = min(60_000, 1_000 * 2 ** (min(attempt, 30) - 1))
    waits = drawn(POLICY, attempt, FAILED)
    assert 0 <= min(waits) < ceiling * 0.02
    assert ceiling * 0.98 < max(waits) <= ceiling
    assert abs(sum(waits) / len(waits) - ceiling / 2) < ceiling * 0.03


def test_without_jitter_it_is_the_ceiling() -> None:
    policy = RetryPolicy(base_ms=100, max_ms=350, factor=2.0, jitter=False)
    rng = Random(1)
    assert [delay_ms(policy, attempt, FAILED, rng) for attempt in (1, 2, 3)] == [100, 200, 350]


@pytest.mark.parametrize("attempt", [4, 5, 6, 7])
def test_after_an_outage_retries_are_spread_evenly_over_the_back_off(attempt: int) -> None:
    """10,000 tasks fail in the same moment. The worst second has less than twice the mean, and no time is preferred."""
    count, ceiling = 10_000, 1_000 * 2 ** (attempt - 1)
    waits = drawn(RetryPolicy(base_ms=1_000, max_ms=300_000, factor=2.0), attempt, FAILED, count)
    worst, mean = max(Counter(wait // 1_000 for wait in waits).values()), count / (ceiling / 1_000)
    distance = max(abs(wait / ceiling - rank / count) for rank, wait in enumerate(sorted(waits)))
    print(f"\nback-off of {ceiling} ms: worst second {worst / mean:.2f} of the mean, Kolmogorov-Smirnov {distance:.4f}")
    assert worst <= 2 * mean
    assert distance < 1.63 / sqrt(count), "at this distance from an even spread the odds are one in a hundred"


@pytest.mark.parametrize("kind", [OutcomeKind.THROTTLED, OutcomeKind.STORE_AWAY])
def test_who_was_told_when_comes_then_and_at_most_a_tenth_later(kind: OutcomeKind) -> None:
    waits = drawn(POLICY, 1, told(kind, 90_000))
    assert min(waits) >= 90_000
    assert 98_900 <= max(waits) <= 99_000


@pytest.mark.parametrize("kind", [OutcomeKind.THROTTLED, OutcomeKind.STORE_AWAY])
def test_who_was_throttled_and_not_told_waits_from_a_larger_base(kind: OutcomeKind) -> None:
    assert BUSY_BASE_MS * 0.98 < max(drawn(POLICY, 1, told(kind))) <= BUSY_BASE_MS
    assert 39_000 < max(drawn(POLICY, 4, told(kind))) <= 40_000
    patient = RetryPolicy(base_ms=20_000, max_ms=60_000, factor=2.0)
    assert 19_600 < max(drawn(patient, 1, told(kind))) <= 20_000
