"""The figures of a report: quantiles of buckets, shares by weight, gates, and rates that change."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskservice.core.types import Priority, TenantId
from taskservice.errors import RequestError
from taskservice.simulator import gates
from taskservice.simulator.downstream import Called, Series
from taskservice.simulator.histogram import Histogram
from taskservice.simulator.meters import Meter
from taskservice.simulator.parts import Downstream
from taskservice.simulator.shares import Demand, entitled, fill

NUMBERS = st.lists(st.integers(0, 10**12) | st.integers(0, 400), min_size=1, max_size=60)


def histogram(numbers):
    found = Histogram()
    for number in numbers:
        found.add(number)
    return found


@given(NUMBERS, st.floats(0.01, 1))
def test_a_quantile_is_right_within_a_hundredth(numbers, ratio):
    exact = sorted(numbers)[ceil(ratio * len(numbers)) - 1]
    found = histogram(numbers).quantile(ratio)
    assert exact <= found <= exact * 1.008
    assert exact >= 256 or found == exact


@given(NUMBERS, NUMBERS)
def test_histograms_merge(some, others):
    both = histogram(some)
    both.merge(histogram(others))
    whole = histogram(some + others)
    assert (both.counts, both.count, both.max) == (whole.counts, whole.count, whole.max)


def test_nothing_has_no_wait():
    assert Histogram().quantile(0.99) == 0


@pytest.mark.parametrize(
    ("amount", "wants", "given_out"),
    [
        (12, [(1, 2), (1, 100), (1, 100)], [2, 5, 5]),
        (12, [(1, 100), (2, 100)], [4, 8]),
        (12, [(1, 1), (1, 4), (2, 100)], [1, 11 / 3, 22 / 3]),
        (12, [(1, 3), (1, 4)], [3, 4]),
        (0, [(1, 3), (1, 4)], [0, 0]),
        (12, [(1, 0), (1, 100)], [0, 12]),
        (12, [], []),
    ],
)
def test_water_filling(amount, wants, given_out):
    assert fill(amount, wants) == pytest.approx(given_out)


@given(st.floats(0.1, 100), st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 50)), min_size=1, max_size=8))
def test_nobody_gets_more_than_they_ask_and_nothing_is_left_while_someone_asks(amount, wants):
    given_out = fill(amount, wants)
    assert all(got <= want * (1 + 1e-9) for got, (_, want) in zip(given_out, wants, strict=True))
    assert sum(given_out) == pytest.approx(min(amount, sum(want for _, want in wants)), abs=1e-6)


def test_entitlement_goes_by_class_first_and_then_by_tenant():
    """Both classes ask for more than there is, 4 : 1 by weight; of the normal one's 8, a asks for 1 and b for the rest."""
    a, b = TenantId("a"), TenantId("b")
    fair = entitled(
        {
            (Priority.NORMAL, a): Demand(1, 1, 5),
            (Priority.NORMAL, b): Demand(5, 50, 1),
            (Priority.BATCH, b): Demand(4, 50, 1),
        }
    )
    assert fair == pytest.approx({(Priority.NORMAL, a): 1, (Priority.NORMAL, b): 7, (Priority.BATCH, b): 2})


def test_a_meter_counts_leases_times_time():
    meter = Meter(None, {})
    meter.starts(10)
    meter.starts(20)
    meter.ends(50)
    assert meter.take_area(60) == 1 * 10 + 2 * 30 + 1 * 10
    assert meter.take_area(65) == 5


REPORT = {"tenants": {"q-1": {"p99": 3.0}, "q-2": {"p99": 7}, "loud": {"p99": 90}}, "error": -0.4, "name": "x"}


@pytest.mark.parametrize(
    ("text", "passed", "path", "value"),
    [
        ("tenants/loud/p99 <= 90", True, "tenants/loud/p99", 90),
        ("tenants/q-*/p99 < 7", False, "tenants/q-2/p99", 7),
        ("tenants/*/p99 > 3", False, "tenants/q-1/p99", 3),
        ("tenants/q-*/p99 == 3", False, "tenants/q-2/p99", 7),
        ("abs(error) <= 0.5", True, "error", 0.4),
        ("error >= -0.5", True, "error", -0.4),
    ],
)
def test_gates(text, passed, path, value):
    assert gates.judge(gates.parse(text), REPORT) == (text, passed, path, value)


@pytest.mark.parametrize("text", ["error", "error <= much", "abs(error <= 1", "a b <= 1", "error =< 1"])
def test_what_is_no_gate_is_told_how_to_write_one(text):
    with pytest.raises(ValueError, match="is no gate: write PATH <= NUMBER"):
        gates.parse(text)


@pytest.mark.parametrize("path", ["tenants/other/p99", "name", "tenants"])
def test_a_gate_that_leads_nowhere_does_not_hold(path):
    with pytest.raises(RequestError, match="no such number"):
        gates.judge(gates.parse(f"{path} >= 0"), REPORT)


def test_a_number_that_changes_is_integrated_over_its_steps():
    series = Series([(0, 2.0), (10, 5.0), (20, 0.0)])
    assert [series.pass_to(5), series.pass_to(15), series.pass_to(40)] == [10.0, 10.0 + 25.0, 25.0]
    assert series.value == 0.0


def test_a_downstream_takes_so_many_at_a_time():
    called = Called(Downstream(name="d", concurrent={0: 2}))
    assert [called.enter(0), called.enter(0), called.enter(1_000_000)] == [True, True, False]
    called.leave(1_000_000, taken=True)
    assert called.enter(1_000_000)
    assert called.figures(2_000_000, 0) == {
        "calls": 4, "throttled": 1, "throttled_ratio": 0.25, "in_flight_mean": 2.0, "used_ratio": 1.0,
        "at_once_max": 3, "at_once_ratio": 1.5,
    }  # fmt: skip


def test_a_downstream_takes_so_many_in_a_second():
    """At 10 a second one at a time; at 100 a second ten at once, and then again one each 10 ms."""
    slow = Called(Downstream(name="d", per_s={0: 10}))
    assert [slow.enter(t_ms * 1000) for t_ms in (0, 50, 99, 100, 200)] == [True, False, False, True, True]
    fast = Called(Downstream(name="d", per_s={0: 100}))
    assert sum(fast.enter(0) for _ in range(50)) == 10
    assert [fast.enter(10_000), fast.enter(10_001)] == [True, False]
