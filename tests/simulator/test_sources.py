"""Where work comes from: arrival processes, traces, and work made from published statistics."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random
from statistics import mean, median, pvariance

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taskservice.errors import RequestError
from taskservice.simulator.arrivals import Arrivals
from taskservice.simulator.plan import plan
from taskservice.simulator.published import (
    MEAN_DURATIONS_S,
    Generated,
    burst_dispersion,
    burst_turn_us,
    call_shares,
    generate,
)
from taskservice.simulator.scenario import parse_scenario
from taskservice.simulator.traces import Trace, read

HOUR_US = 3_600_000_000


def moments(stated, until_us=HOUR_US, from_us=0):
    process = Arrivals.model_validate(stated).only
    found = list(process.times_us(Random(5), from_us, until_us))
    assert found == sorted(found)
    assert all(from_us <= us < until_us for us in found)
    return found


def test_poisson_arrivals_come_at_their_rate_and_scatter_as_such():
    """Within four standard deviations; and the count of a second has its mean for a variance."""
    found = moments({"poisson": {"per_s": 5}})
    assert abs(len(found) - 18_000) < 4 * sqrt(18_000)
    counts = Counter(us // 1_000_000 for us in found)
    seconds = [counts[second] for second in range(3_600)]
    assert pvariance(seconds) / mean(seconds) == pytest.approx(1, abs=0.1)


def test_a_timer_is_late_by_its_jitter_at_most():
    assert moments({"periodic": {"every": "10m"}}, from_us=60_000_000) == [
        (60 + 600 * at) * 1_000_000 for at in range(6)
    ]
    late = [us % 60_000_000 for us in moments({"periodic": {"every": "1m", "jitter": "2s"}})]
    assert len(late) == 60
    assert 1_000_000 < max(late) < 2_000_000


def test_bursts_have_the_mean_of_their_rates():
    found = moments({"bursts": {"per_s": 50, "lasts": "10s", "pauses": "90s", "pause_per_s": 1}}, until_us=20 * HOUR_US)
    assert len(found) / 72_000 == pytest.approx(0.1 * 50 + 0.9 * 1, rel=0.1)
    counts = Counter(us // 10_000_000 for us in found)
    tens = [counts[at] for at in range(7_200)]
    assert pvariance(tens) / mean(tens) > 50


def test_a_day_has_its_peak_where_it_was_said():
    found = moments({"diurnal": {"per_s": 10, "swing": 0.5, "period": "1h", "peak_at": "20m"}}, until_us=10 * HOUR_US)
    tenths = Counter(us % HOUR_US // 360_000_000 for us in found)
    assert len(found) / 36_000 == pytest.approx(10, rel=0.02)
    assert max(tenths, key=tenths.__getitem__) in {2, 3}
    assert max(tenths.values()) / min(tenths.values()) == pytest.approx(1.5 / 0.5, rel=0.1)


def test_once_is_once():
    assert moments({"once": {"at": "10s", "tasks": 3}}) == [10_000_000] * 3
    assert moments({"once": {"at": "2h", "tasks": 3}}) == []


# Traces


def recorded(tmp_path, stated, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return read(Trace.model_validate(stated), tmp_path, Random(1))


ROWS = "when,who,what,ms\n105,bob,f,20\n100,ann,f,10\n101.5,ann,g,30.4\n102,ann,f,40\n"


def test_rows_begin_at_zero_and_keep_their_durations(tmp_path):
    rows = {"file": "calls.csv", "at": "when", "tenant": "who", "function": "what", "took": "ms"}
    stated = {"rows": rows, "took_ratio": 0.5, "starts": "1s"}
    found = recorded(tmp_path, stated, {"calls.csv": ROWS})
    assert [(one.tenant, one.function) for one in found] == [("bob", "f"), ("ann", "f"), ("ann", "g")]
    assert [list(one.times) for one in found] == [[6_000_000], [1_000_000, 3_000_000], [2_500_000]]
    assert [found[1].takes(), found[1].takes(), found[2].takes()] == [5_000, 20_000, 15_200]


def test_parquet_and_csv_say_the_same(tmp_path):
    times = pa.array([1_700_000_000_000, 1_700_000_001_500], pa.timestamp("ms", tz="UTC"))
    pq.write_table(pa.table({"at": times, "took": [1.5, 2.0]}), tmp_path / "calls.parquet")
    csv = "at,took\n2023-11-14T22:13:20Z,1.5\n2023-11-14T23:13:21.5+01:00,2.0\n"
    for name in ("calls.parquet", "calls.csv"):
        stated = {"rows": {"file": name, "at": "at", "took": "took", "took_unit": "s"}, "tenant": "a", "function": "f"}
        (one,) = recorded(tmp_path, stated, {"calls.csv": csv})
        assert list(one.times) == [0, 1_500_000]
        assert [one.takes(), one.takes()] == [1_500_000, 2_000_000]


COUNTS = "owner,fn,480,481,482\nann,f,2,0,1\nbob,g,0,5,0\n"
DURATIONS = "fn,low,mid,high\nf,10,10,10\ng,1,50,40\n"


def test_counts_are_spread_over_their_minutes(tmp_path):
    stated = {
        "counts": {"file": "counts.csv", "tenant": "owner", "function": "fn"},
        "durations": {"file": "durations.csv", "function": "fn", "quantiles": {0: "low", 0.5: "mid", 1: "high"}},
    }
    f, g = recorded(tmp_path, stated, {"counts.csv": COUNTS, "durations.csv": DURATIONS})
    times = list(f.times)
    assert times == sorted(times)
    assert [us // 60_000_000 for us in times] == [0, 0, 2]
    assert {us // 60_000_000 for us in g.times} == {1}
    assert f.takes() == pytest.approx(10_000, abs=1)
    assert 1_000 <= g.takes() <= 50_000


@pytest.mark.parametrize(
    ("stated", "text", "complaint"),
    [
        ({"rows": {"file": "x.csv", "at": "t"}}, "t\n1\n", r"x\.csv cannot be read.*say where: --data FOLDER"),
        ({"rows": {"file": "calls.csv", "at": "t"}}, "time\n1\n", "has no column 't'. Its columns are: time"),
        ({"rows": {"file": "calls.csv", "at": "t"}}, "t\n1\nx\n", "row 2: t is 'x', and not a time"),
        ({"rows": {"file": "calls.csv", "at": "t", "took": "d"}}, "t,d\n1,-3\n", "row 1: d is '-3', and not a number"),
        ({"rows": {"file": "calls.csv", "at": "t"}}, "t,d\n1\n", "row 1: it has 1 values for 2 columns"),
        ({"rows": {"file": "calls.csv", "at": "t"}}, "t\n", "has no rows"),
        ({"counts": {"file": "calls.csv"}}, "f,n\n1,2\n", "has no columns of counts"),
    ],
)
def test_a_trace_that_is_not_as_it_was_said_is_told_where(tmp_path, stated, text, complaint):
    with pytest.raises(RequestError, match=complaint):
        recorded(tmp_path, {**stated, "tenant": "a", "function": "f"}, {"calls.csv": text})


def test_a_trace_without_durations_needs_a_function_that_has_them(tmp_path):
    (tmp_path / "calls.csv").write_text("t\n1\n2\n")
    trace = {"rows": {"file": "calls.csv", "at": "t"}, "tenant": "a", "function": "f"}
    stated = {"title": "t", "duration": "1m", "fleet": [{"cpus": 1}], "traces": [trace]}
    with pytest.raises(RequestError, match="How long does 'f' take"):
        plan(parse_scenario(stated), tmp_path)
    stated["functions"] = [{"name": "f", "takes": "20ms"}]
    (source,) = plan(parse_scenario(stated), tmp_path).sources
    assert (source.takes(), list(source.times)) == (20_000, [0, 1_000_000])


# Work made from published statistics


@pytest.fixture(scope="module", params=[1, 2])
def made(request):
    """Eight hours of it, as long as the data set that it is held against, and when each function is called."""
    functions = generate(Generated(busy_cpus=40), Random(request.param), 8 * HOUR_US)
    return [(function, list(function.times)) for function in functions]


def test_durations_are_as_published(made):
    """Kolmogorov and Smirnov's distance of the functions' mean durations from the published points."""
    means_s = sorted(function.mean_us / 1e6 for function, _ in made)
    distance = max(
        abs(sum(one < seconds for one in means_s) / len(means_s) - ratio) for ratio, seconds in MEAN_DURATIONS_S.items()
    )
    print(f"distance of mean durations: {distance:.4f}")
    assert distance <= 0.05


def test_calls_are_as_unequal_as_published(made):
    """Of 500 functions over eight hours the busiest hundredth made 83.6 % of the calls, and the busiest twentieth 96.4 %."""
    calls = sorted((len(times) for _, times in made), reverse=True)
    top = {ratio: sum(calls[: round(len(calls) * ratio)]) / sum(calls) for ratio in (0.01, 0.05)}
    print(f"share of calls: top 1 % {top[0.01]:.1%}, top 5 % {top[0.05]:.1%}")
    assert top[0.01] == pytest.approx(0.836, abs=0.03)
    assert top[0.05] == pytest.approx(0.964, abs=0.03)


def test_calls_scatter_from_minute_to_minute_as_published(made):
    """The variance of a function's calls in a minute, relative to their mean: about 1 for the middle one, far more for some."""
    dispersions = []
    for _, times in made:
        if times:
            counts = Counter(us // 60_000_000 for us in times)
            minutes = [counts[minute] for minute in range(480)]
            dispersions.append(pvariance(minutes) / mean(minutes))
    print(
        f"dispersion: median {median(dispersions):.3f}, tenth decile {sorted(dispersions)[-len(dispersions) // 10]:.1f}"
    )
    assert 0.9 <= median(dispersions) <= 1.1
    assert sum(one > 4 for one in dispersions) >= len(dispersions) / 25


def test_it_takes_as_many_cpus_as_was_said():
    functions = generate(Generated(busy_cpus=40), Random(3), HOUR_US)
    assert sum(function.mean_us * function.per_us for function in functions) == pytest.approx(40)
    assert 150 < len({function.app for function in functions}) < 250


def test_the_same_seed_makes_the_same():
    first, again = (generate(Generated(busy_cpus=5, functions=50), Random(9), HOUR_US) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert (one.app, one.mean_us, one.takes(), list(one.times)) == (
            other.app,
            other.mean_us,
            other.takes(),
            list(other.times),
        )


def test_shares_are_those_of_all_calls():
    shares = call_shares(500, 0.3)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(0.3)
    assert shares == sorted(shares, reverse=True)
    assert [sum(call_shares(number, 0.631)) for number in (1, 7, 3_000)] == pytest.approx([1, 1, 1])


def test_a_burst_is_as_long_as_its_scatter_asks():
    turn_us = burst_turn_us(2e-6 * 30, 0.06, 20.0)
    assert burst_dispersion(2e-6 * 30, 0.06, turn_us) == pytest.approx(20, rel=0.001)
