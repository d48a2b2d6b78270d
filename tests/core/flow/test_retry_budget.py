"""The retry budget: a share of the traffic, refunds for what succeeds, and never closed for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskservice.core.flow.retry_budget import CREDIT_FIRST, CREDIT_MAX, REFUNDS_LOST, TRICKLE_MS, RetryBudget

START_MS = 1_700_000_000_000
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["first", "retry", "first succeeds", "retry succeeds", "retry fails"]), st.integers(1, 200)
    ),
    max_size=60,
)


def spent(now_ms: int = START_MS, share: float = 0.1) -> RetryBudget:
    """A budget of which nothing is left."""
    budget = RetryBudget("function.retries", now_ms, share)
    assert budget.take(CREDIT_FIRST, now_ms)
    return budget


@settings(max_examples=300)
@given(st.floats(0, 1), STEPS)
def test_retries_that_fail_are_a_share_of_the_traffic(share: float, steps: list[tuple[str, int]]) -> None:
    """Over any stretch: at most the share of its calls and what was saved up before. All happens within a moment: no trickle."""
    budget = RetryBudget("function.retries", START_MS, share)
    first = retries = first_open = retries_open = succeeded = refunded = 0
    seen: list[tuple[int, int]] = [(0, 0)]
    for what, number in steps:
        if what == "first":
            budget.first(number, START_MS)
            first, first_open = first + number, first_open + number
        elif what == "retry":
            tasks = min(number, budget.room(START_MS))
            assert budget.take(tasks, START_MS)
            assert not budget.take(budget.room(START_MS) + 1, START_MS)
            retries, retries_open = retries + tasks, retries_open + tasks
        elif what == "first succeeds":
            tasks = min(number, first_open)
            budget.succeeded(tasks, 0)
            first_open, succeeded = first_open - tasks, succeeded + tasks
        elif what == "retry fails":
            tasks = min(number, retries_open)
            budget.failed(tasks)
            retries_open -= tasks
        else:
            tasks = min(number, retries_open)
            budget.succeeded(0, tasks)
            retries_open, succeeded, refunded = retries_open - tasks, succeeded + tasks, refunded + tasks
        assert retries - refunded <= share / 2 * (first + succeeded) + CREDIT_FIRST + 1e-3
        seen.append((retries - refunded, first + succeeded))
    for at, (failed_before, calls_before) in enumerate(seen):
        for failed, calls in seen[at:]:
            assert failed - failed_before <= share / 2 * (calls - calls_before) + CREDIT_MAX + 1e-3


def test_success_deposits_as_much_as_an_attempt() -> None:
    budget = spent()
    budget.first(10, START_MS)
    assert budget.room(START_MS) == 0
    budget.succeeded(first=10, retries=0)
    assert budget.room(START_MS) == 1


def test_a_retry_that_succeeds_costs_nothing() -> None:
    budget = spent()
    budget.succeeded(first=0, retries=CREDIT_FIRST)
    assert budget.room(START_MS) == CREDIT_FIRST


def test_a_retry_that_did_not_start_costs_nothing() -> None:
    budget = spent()
    budget.give_back(0, 3)
    assert budget.room(START_MS) == 3


def test_a_first_attempt_that_was_not_made_deposits_nothing() -> None:
    """However often its lease hands it back."""
    budget = spent()
    for _ in range(1_000):
        budget.first(50, START_MS)
        budget.give_back(50, 0)
    assert budget.room(START_MS) == 0
    budget.first(20, START_MS)
    assert budget.room(START_MS) == 1


def test_what_is_saved_up_is_bounded() -> None:
    budget = RetryBudget("function.retries", START_MS)
    budget.first(10**6, START_MS)
    assert budget.room(START_MS) == CREDIT_MAX


def test_without_any_traffic_a_retry_goes_now_and_then() -> None:
    """One in ten seconds, for as long as nothing else happens."""
    budget = spent()
    now_ms = START_MS
    for _ in range(20):
        opens_ms = budget.opens_ms(now_ms)
        assert opens_ms == now_ms + TRICKLE_MS
        assert not budget.take(1, opens_ms - 1)
        assert budget.room(opens_ms) == 1
        assert budget.take(1, opens_ms)
        assert not budget.take(1, opens_ms)
        now_ms = opens_ms


def test_with_traffic_nothing_goes_unpaid() -> None:
    """A first attempt every second for ten minutes, none of which succeeds: a retry for each twenty of them."""
    budget, retries = spent(), 0
    for at_s in range(600):
        budget.first(1, START_MS + at_s * 1_000)
        retries += budget.take(1, START_MS + at_s * 1_000)
    assert retries == 30


@given(st.lists(st.integers(1, TRICKLE_MS * 2), min_size=200, max_size=200))
def test_it_never_stays_closed(gaps_ms: list[int]) -> None:
    """Whatever the traffic: among any 21 calls or silences of ten seconds there is a retry."""
    budget, now_ms, dry = spent(), START_MS, 0
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        if budget.take(1, now_ms):
            dry = 0
        else:
            budget.first(1, now_ms)
            dry += 1
        assert dry <= 20


def test_a_clock_that_is_put_back_delays_the_trickle_no_further() -> None:
    budget = spent()
    back_ms = START_MS - 3_600_000
    assert budget.opens_ms(back_ms) == back_ms + TRICKLE_MS


def test_it_says_why() -> None:
    reason = spent().reason(START_MS)
    assert (reason.gate, reason.limit, reason.used) == ("function.retries", CREDIT_MAX, CREDIT_MAX)
    assert reason.clears_ms == START_MS + TRICKLE_MS


def test_the_share_may_change() -> None:
    budget = spent(share=0)
    budget.first(1_000, START_MS)
    assert budget.room(START_MS) == 0
    budget.change(0.2)
    budget.first(10, START_MS)
    assert budget.room(START_MS) == 1
    with pytest.raises(ValueError, match=r"function\.retries"):
        budget.change(1.1)


def test_retries_that_fail_take_the_refunds_of_others() -> None:
    """Of twelve under way one fails: nine others bring nothing back, though they succeed."""
    budget = RetryBudget("function.retries", START_MS, share=0)
    budget.give_back(0, 12 - CREDIT_FIRST)
    assert budget.take(12, START_MS)
    budget.failed(1)
    budget.succeeded(first=0, retries=11)
    assert budget.room(START_MS) == 11 - REFUNDS_LOST


def test_a_failure_costs_nothing_of_what_comes_later() -> None:
    budget = spent(share=0)
    budget.failed(CREDIT_FIRST)
    budget.give_back(0, 5)
    assert budget.take(5, START_MS)
    budget.succeeded(first=0, retries=5)
    assert budget.room(START_MS) == 5
