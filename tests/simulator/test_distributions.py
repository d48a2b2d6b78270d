"""Durations: what is drawn is distributed as it is stated."""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log
from random import Random

import pytest
from pydantic import ValidationError

from taskservice.simulator.distributions import Curve, Takes

DRAWS = 20_000

STATED = {
    "exponential": {"exponential": {"mean": "200ms"}},
    "lognormal": {"lognormal": {"median": "200ms", "sigma": 1.2}},
    "pareto": {"pareto": {"min": "10ms", "alpha": 0.7, "max": "1000s"}},
    "weibull": {"weibull": {"scale": "420ms", "shape": 0.42}},
    "empirical": {"empirical": {0: "1ms", 0.5: "30ms", 0.99: "1s", 1: "2s"}},
}


@pytest.mark.parametrize("kind", STATED)
def test_a_sampler_draws_what_its_quantiles_say(kind):
    """Kolmogorov and Smirnov's distance of 20,000 draws, which 1.63 / sqrt(n) is passed by in one case of a hundred."""
    distribution = Takes.model_validate(STATED[kind]).distribution
    draw = distribution.sampler(Random(7))
    drawn = sorted(draw() for _ in range(DRAWS))
    for ratio in (at / 100 for at in range(1, 100)):
        below = bisect_right(drawn, distribution.quantile_us(ratio)) / DRAWS
        assert abs(below - ratio) < 1.63 / DRAWS**0.5, (kind, ratio)


@pytest.mark.parametrize(
    ("stated", "ratio", "us"),
    [
        ("200ms", 0.9, 200_000),
        (0.25, 0.1, 250_000),
        ({"exponential": {"mean": "1s"}}, 0.5, 1e6 * log(2)),
        ({"lognormal": {"median": "200ms", "sigma": 1.2}}, 0.5, 200_000),
        ({"lognormal": {"median": "200ms", "sigma": 1}}, 0.841344746, 200_000 * exp(1)),
        ({"pareto": {"min": "10ms", "alpha": 1, "max": "10s"}}, 0.9, 100_000),
        ({"pareto": {"min": "10ms", "alpha": 1, "max": "10s"}}, 0.9999, 10_000_000),
        ({"weibull": {"scale": "1s", "shape": 2}}, 1 - exp(-4), 2e6),
        ({"empirical": {0: "1ms", 0.5: "30ms", 1: "2s"}}, 0.5, 30_000),
    ],
)
def test_quantiles(stated, ratio, us):
    assert Takes.model_validate(stated).distribution.quantile_us(ratio) == pytest.approx(us, rel=1e-6)


def test_the_logarithm_grows_evenly_between_two_quantiles():
    curve = Curve([0.0, 1.0], [999.0, 99_999.0])
    assert curve.quantile_us(0.5) == pytest.approx(9_999.0)


def test_the_same_seed_draws_the_same():
    first, second = (Takes.model_validate(STATED["lognormal"]).distribution.sampler(Random(3)) for _ in range(2))
    assert [first() for _ in range(50)] == [second() for _ in range(50)]


@pytest.mark.parametrize(
    ("stated", "complaint"),
    [
        ({}, "give one of constant"),
        ({"exponential": {"mean": "1s"}, "constant": "1s"}, "give one of constant"),
        ({"gamma": {}}, "Extra inputs"),
        ("soon", "is not a duration"),
        ({"lognormal": {"median": "0s", "sigma": 1}}, "greater than 0"),
        ({"pareto": {"min": "1s", "alpha": 1}}, "max"),
        ({"pareto": {"min": "2s", "alpha": 1, "max": "1s"}}, "cannot be below min"),
        ({"empirical": {0: "1s", 0.5: "2s"}}, "the quantiles 0 and 1"),
        ({"empirical": {0: "2s", 1: "1s"}}, "cannot be shorter"),
    ],
)
def test_what_is_no_distribution_is_told_why(stated, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Takes.model_validate(stated)
