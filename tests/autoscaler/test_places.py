"""Erlang's delay formula: against its tables, and against itself the long way."""

from __future__ import annotations

from math import exp, factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskservice.autoscaler.places import EXACT_MAX, WAITS_RATIO, for_arrivals, for_backlog


def waits(rate: float, places: int) -> float:
    """How many of all have to wait, as the textbooks have it."""
    own = rate**places / factorial(places) * places / (places - rate)
    return own / (sum(rate**n / factorial(n) for n in range(places)) + own)


@pytest.mark.parametrize(("rate", "places"), [(1.0, 5), (10.0, 19), (20.0, 32)])
def test_so_that_few_have_to_wait_at_all(rate, places):
    """With so many places one in a hundred waits, with one less more than that: as tables of the formula say."""
    assert for_arrivals(rate, 1.0, 0.0) == places
    assert waits(rate, places) <= WAITS_RATIO < waits(rate, places - 1)


@given(st.floats(0.1, 60), st.floats(0.1, 100), st.floats(0, 100))
def test_the_fewest_places_that_do(rate, each_s, wait_s):
    places = for_arrivals(rate, each_s, wait_s)
    assert places > rate

    def late(number: int) -> float:
        return waits(rate, number) * exp(-(number - rate) * wait_s / each_s)

    assert late(places) <= WAITS_RATIO * (1 + 1e-6)
    assert places - 1 <= rate or late(places - 1) > WAITS_RATIO * (1 - 1e-6)


def test_a_large_load_needs_a_smaller_part_to_spare():
    spare = [for_arrivals(rate, 1.0, 0.1) / rate for rate in (1.0, 10.0, 100.0, 1000.0)]
    assert spare == sorted(spare, reverse=True)
    assert for_arrivals(EXACT_MAX + 1, 1.0, 0.1) < 1.05 * EXACT_MAX, "the square root stands for the formula"
    assert for_arrivals(0.0, 1.0, 0.1) == 0


def test_no_more_places_for_a_backlog_than_tasks():
    assert for_backlog(5, 3600, 60) == 5
    assert for_backlog(600, 3600, 60) == 60
