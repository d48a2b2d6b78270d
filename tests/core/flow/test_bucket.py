"""Token buckets: never more than the rate and a burst, whatever is asked and whatever the clock does."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskservice.core.flow.bucket import Bucket, RateLimit, take_all

START_MS = 1_700_000_000_000

RATES = st.one_of(
    st.sampled_from([1 / 86_400, 1 / 3, 1.0, 7.0, 100.0, 99.9, 3_333.3, 1e6]), st.floats(1e-6, 1e6, allow_nan=False)
)
LIMITS = st.builds(RateLimit, st.just("tenant.rate"), RATES, st.integers(1, 1_000))
FORWARD = st.one_of(st.integers(0, 30), st.integers(0, 100_000), st.integers(0, 10**9))
STEPS = st.lists(st.tuples(FORWARD, st.integers(1, 50)), max_size=40)
ANY_STEPS = st.lists(st.tuples(st.one_of(FORWARD, st.integers(-(10**9), 0)), st.integers(1, 50)), max_size=40)


def rate_per_ms(limit: RateLimit) -> Fraction:
    return Fraction(limit.ticks_per_ms, limit.ticks_per_token)


@settings(max_examples=300)
@given(LIMITS, st.booleans(), STEPS)
def test_it_is_a_token_bucket(limit: RateLimit, full: bool, steps: list[tuple[int, int]]) -> None:
    """Compared with one that keeps its tokens as an exact fraction."""
    now_ms, bucket = START_MS, Bucket(limit, START_MS, full=full)
    tokens = Fraction(limit.burst if full else 0)
    for wait_ms, tasks in steps:
        now_ms += wait_ms
        tokens = min(Fraction(limit.burst), tokens + wait_ms * rate_per_ms(limit))
        assert bucket.room(now_ms) == tokens // 1
        taken = bucket.take(tasks, now_ms)
        assert taken == (tokens >= tasks)
        tokens -= tasks if taken else 0


@settings(max_examples=300)
@given(LIMITS, st.booleans(), ANY_STEPS)
def test_over_any_window_it_gives_no_more_than_the_rate_and_a_burst(
    limit: RateLimit, full: bool, steps: list[tuple[int, int]]
) -> None:
    """With a clock that jumps. Time is what the clock went forward: put back it gives nothing, put ahead at most a burst."""
    now_ms, bucket = START_MS, Bucket(limit, START_MS, full=full)
    forward_ms, given_tasks = 0, 0
    seen: list[tuple[int, int]] = [(0, 0)]
    for step_ms, tasks in steps:
        before = bucket.room(now_ms)
        now_ms += step_ms
        forward_ms += max(0, step_ms)
        if step_ms < 0:
            assert bucket.room(now_ms) <= before
        given_tasks += tasks if bucket.take(tasks, now_ms) else 0
        seen.append((forward_ms, given_tasks))
    for at, (begun_ms, before) in enumerate(seen):
        for ended_ms, after in seen[at + 1 :]:
            assert after - before <= (ended_ms - begun_ms) * rate_per_ms(limit) + limit.burst


@given(LIMITS, STEPS, st.integers(1, 1_000))
def test_the_time_that_it_gives_is_right(limit: RateLimit, steps: list[tuple[int, int]], tasks: int) -> None:
    """Who comes then is served; who comes a millisecond before is not."""
    now_ms, bucket = START_MS, Bucket(limit, START_MS)
    for wait_ms, each in steps:
        now_ms += wait_ms
        bucket.take(each, now_ms)
    opens_ms = bucket.opens_ms(now_ms, tasks)
    if opens_ms is None:
        assert tasks > limit.burst
        assert not bucket.take(tasks, now_ms + 10**18)
        return
    assert opens_ms >= now_ms
    assert opens_ms == now_ms or not bucket.take(tasks, opens_ms - 1)
    assert bucket.take(tasks, opens_ms)


@settings(max_examples=200)
@given(st.lists(LIMITS, min_size=1, max_size=4), st.lists(st.tuples(FORWARD, st.integers(1, 1_000)), max_size=20))
def test_all_levels_give_or_none_does(limits: list[RateLimit], steps: list[tuple[int, int]]) -> None:
    """And what a refusal says is the earliest time at which the same request passes."""
    now_ms = START_MS
    buckets = [Bucket(limit, now_ms, full=True) for limit in limits]
    for wait_ms, tasks in steps:
        now_ms += wait_ms
        before = [bucket.room(now_ms) for bucket in buckets]
        refused = take_all(buckets, tasks, now_ms)
        after = [bucket.room(now_ms) for bucket in buckets]
        assert after == ([room - tasks for room in before] if refused is None else before)
        if refused is None:
            continue
        if refused.clears_ms is None:
            assert tasks > min(limit.burst for limit in limits)
            continue
        assert refused.clears_ms > now_ms
        early = take_all(buckets, tasks, refused.clears_ms - 1)
        assert early is not None
        assert early.clears_ms == refused.clears_ms
        assert take_all(buckets, tasks, refused.clears_ms) is None
        now_ms = refused.clears_ms


def test_the_refusal_names_the_level_that_opens_last() -> None:
    tenant = Bucket(RateLimit("tenant.rate", 10, 5), START_MS, full=True)
    function = Bucket(RateLimit("function.rate", 2, 5), START_MS, full=True)
    assert take_all([tenant, function], 5, START_MS) is None
    refused = take_all([tenant, function], 2, START_MS)
    assert refused is not None
    assert (refused.gate, refused.limit, refused.used, refused.per_s) == ("function.rate", 5, 5, 2)
    assert refused.clears_ms == START_MS + 1_000


@given(LIMITS, LIMITS, STEPS, st.integers(0, 10**6))
def test_a_new_limit_is_no_free_refill(
    old: RateLimit, new: RateLimit, steps: list[tuple[int, int]], wait_ms: int
) -> None:
    now_ms, bucket = START_MS, Bucket(old, START_MS, full=True)
    for step_ms, tasks in steps:
        now_ms += step_ms
        bucket.take(tasks, now_ms)
    before = bucket.room(now_ms)
    bucket.change(new, now_ms)
    assert bucket.room(now_ms) == min(before, new.burst)
    later = bucket.room(now_ms + wait_ms)
    assert before < new.burst or later == new.burst
    assert later <= min(new.burst, before + 1 + wait_ms * rate_per_ms(new))


@given(LIMITS, st.integers(0, 1_000), st.integers(1, 1_000))
def test_what_is_given_back_is_there_again(limit: RateLimit, taken: int, tasks: int) -> None:
    bucket = Bucket(limit, START_MS, full=True)
    bucket.take(min(taken, limit.burst), START_MS)
    before = bucket.room(START_MS)
    if bucket.take(tasks, START_MS):
        bucket.give_back(tasks, START_MS)
    assert bucket.room(START_MS) == before
    bucket.give_back(10**6, START_MS)
    assert bucket.room(START_MS) == limit.burst


@pytest.mark.parametrize("per_s", [3, 7, 100, 999])
def test_nothing_drifts(per_s: int) -> None:
    """Each token is taken in the millisecond in which it comes, and the last one comes when it should."""
    now_ms, bucket = START_MS, Bucket(RateLimit("function.rate", per_s, 10), START_MS)
    for n in range(1, 20_001):
        now_ms = bucket.opens_ms(now_ms) or 0
        assert now_ms == START_MS - (-n * 1_000 // per_s)
        assert bucket.take(1, now_ms)


def test_after_a_restart_it_is_empty_and_fills_at_its_rate() -> None:
    bucket = Bucket(RateLimit("tenant.rate", 100, 50), START_MS)
    assert [bucket.room(START_MS + at_ms) for at_ms in (0, 9, 10, 100, 500, 10**6)] == [0, 0, 1, 10, 50, 50]


def test_a_clock_that_is_put_back_an_hour_does_not_close_it_for_an_hour() -> None:
    bucket = Bucket(RateLimit("tenant.rate", 100, 50), START_MS, full=True)
    bucket.take(20, START_MS)
    back_ms = START_MS - 3_600_000
    assert [bucket.room(back_ms + at_ms) for at_ms in (0, 10, 500)] == [0, 1, 50]


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1e7, 1), (float("nan"), 1), (1, 0), (1, 10**7)])
def test_what_cannot_be_a_limit_is_refused(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match=r"function\.rate"):
        RateLimit("function.rate", per_s, burst)


def test_a_million_buckets_are_small() -> None:
    """Tenants and functions with the same limit share it; each bucket is at a moment of its own."""
    limit = RateLimit("tenant.rate", 33.3, 100)
    count = 100_000
    tracemalloc.start()
    buckets = [Bucket(limit, START_MS + at) for at in range(count)]
    bytes_each = tracemalloc.get_traced_memory()[0] / len(buckets)
    tracemalloc.stop()
    print(f"\na million buckets: {bytes_each:.0f} MB, list included (at most 100)")
    assert bytes_each <= 100
