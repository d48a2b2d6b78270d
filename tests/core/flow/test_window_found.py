"""The window in front of simulated downstreams: it finds what they bear, keeps it, and follows when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp, log2
from random import Random

import pytest

from helpers.downstream import START_MS, Caller, Duration, Places, Rate, Second, World, lognormal
from taskservice.core.flow.aimd import Aimd, Why
from taskservice.core.flow.window import Window

SETTLED_S = 60

DURATIONS = {"even": (500, 0.21), "usual": (1_000, 0.55), "uneven": (600, 1.14)}
"""Median in milliseconds, and sigma of the logarithm, as within real functions: a quarter, half, three quarters of them have less."""
CAPACITIES = [20, 100, 500]


def duration(name: str) -> Duration:
    return lognormal(*DURATIONS[name])


def mean_s(name: str) -> float:
    median_ms, sigma = DURATIONS[name]
    return median_ms / 1_000 * exp(sigma**2 / 2)


def caller(name: str) -> Caller:
    return Caller(Window("downstream.window", START_MS), duration(name))


def throttled_share(seconds: Sequence[Second]) -> float:
    throttled = sum(second.throttled for second in seconds)
    return throttled / (throttled + sum(second.finished for second in seconds))


def served_share(seconds: Sequence[Second], capacity: float) -> float:
    return sum(second.served for second in seconds) / len(seconds) / capacity


def periods_until(limits: Sequence[int], least: float) -> int:
    return next(number for number, limit in enumerate(limits, start=1) if limit >= least)


def since_first_shrink(limits: Sequence[int]) -> Sequence[int]:
    return limits[next(at for at in range(1, len(limits)) if limits[at] < limits[at - 1]) :]


def jain(shares: Sequence[float]) -> float:
    """1 if all are equal, 1/n if one has everything (Jain, Chiu, Hawe, 1984)."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_it_finds_what_runs_at_once_and_keeps_it(capacity: int, name: str) -> None:
    one = caller(name)
    world = World(Places(capacity), [one], seed=1)
    seconds = world.run(SETTLED_S + 180)[SETTLED_S:]
    found, most = periods_until(one.limits, 0.9 * capacity), max(since_first_shrink(one.limits))
    served, throttled = served_share(seconds, capacity), throttled_share(seconds)
    print(
        f"\n{capacity} at once, {name}: 90 % in {found} periods (at most {log2(capacity) + 2:.1f}); goodput {served:.3f}; "
        f"throttled {throttled:.3f}; limit at most {most} after the first shrink"
    )
    assert found <= log2(capacity) + 2
    assert most <= max(1.15 * capacity, capacity + 5)
    assert served >= 0.95
    assert throttled <= (0.05 if capacity >= 100 else 0.10)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_it_finds_a_rate_and_keeps_it(capacity: int, name: str) -> None:
    """A downstream that bears a rate at which, on average, `capacity` are in flight.

    A place too many is seen later than where places are counted. A bucket with half a second's burst (as API gateways have) takes 1.5
    times its rate for a whole period, and nothing tells it from one that bears so much: so the limit may be 1.5 of the capacity.
    """
    per_s = capacity / mean_s(name)
    one = caller(name)
    world = World(Rate(per_s), [one], seed=1)
    seconds = world.run(SETTLED_S + 180)[SETTLED_S:]
    found, most = periods_until(one.limits, 0.9 * capacity), max(since_first_shrink(one.limits))
    served, throttled = served_share(seconds, per_s), throttled_share(seconds)
    print(
        f"\n{per_s:.0f} a second, {name}: {capacity} in flight, 90 % in {found} periods (at most {log2(capacity) + 2:.1f}); "
        f"goodput {served:.3f}; throttled {throttled:.3f}; limit at most {most} after the first shrink"
    )
    assert found <= log2(capacity) + 2
    assert most <= max(1.5 * capacity, capacity + 5)
    assert served >= 0.95
    assert throttled <= (0.05 if capacity >= 100 else 0.12)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_it_follows_when_the_capacity_changes(capacity: int, name: str) -> None:
    one, downstream = caller(name), Places(capacity)
    world = World(downstream, [one], seed=2)
    world.run(SETTLED_S)
    half, before = capacity // 2, len(one.limits)
    downstream.capacity = half
    world.run(SETTLED_S)
    halved = one.limits[before:]
    down = next(number for number, limit in enumerate(halved, start=1) if limit <= 1.1 * half)
    before = len(one.limits)
    downstream.capacity = capacity
    world.run(2 * SETTLED_S)
    doubled = one.limits[before:]
    up = periods_until(doubled, 0.9 * capacity)
    print(
        f"\n{capacity}, {name}: half of it after {down} periods (at most 8), then at most {max(halved[down:])}; "
        f"the double of that after {up} (50), then at most {max(doubled)}"
    )
    assert down <= 8
    assert max(halved[down:]) <= max(1.15 * half, half + 5)
    assert up <= 50
    assert max(doubled) <= max(1.15 * capacity, capacity + 5)


def noisy(attempts: int, periods: int, rng: Random) -> float:
    """In what share of periods a window shrinks of whose attempts one in a hundred is throttled at random."""
    odds = [
        comb(attempts, errors) * 0.01**errors * 0.99 ** (attempts - errors) for errors in range(min(attempts, 30) + 1)
    ]
    errors = rng.choices(range(len(odds)), odds, k=periods)
    aimd, shrinks = Aimd(ceiling=attempts), 0
    for congested in errors:
        aimd.attempts += attempts
        aimd.congested += congested
        shrinks += aimd.end_period(wanted=False) is Why.CONGESTED
    return shrinks / periods


def test_noise_does_not_shrink_it() -> None:
    rng = Random(1)
    counts = [1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100, 101, 105, 110, 119, 120, 140, 150, 200, 500]
    shares = {attempts: noisy(attempts, 50_000, rng) for attempts in counts}
    worst = max(shares, key=lambda attempts: shares[attempts])
    print(
        f"\n1 % noise: shrinks in {shares[worst]:.2%} of periods at worst, which have {worst} attempts (at most 0.5 %)"
    )
    assert shares[worst] <= 0.005


def test_it_grows_in_spite_of_noise() -> None:
    one = caller("usual")
    seconds = World(Places(500, noise=0.01), [one], seed=3).run(300)
    print(f"\n500 at once, 1 % noise: 90 % in {periods_until(one.limits, 450)} periods")
    assert served_share(seconds[SETTLED_S:], 500) >= 0.95


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_two_windows_before_one_downstream_become_equal(capacity: int) -> None:
    """One was there alone for a minute."""
    first, second = caller("usual"), caller("usual")
    world = World(Places(capacity), [first], seed=1)
    world.run(SETTLED_S)
    world.callers.append(second)
    shares = []
    for _ in range(6):
        before = (first.finished, second.finished)
        seconds = world.run(100)
        shares.append((first.finished - before[0], second.finished - before[1]))
    late = [sum(each) for each in zip(*shares[3:], strict=True)]
    print(
        f"\n{capacity}: two windows, Jain {[round(jain(share), 2) for share in shares]} in each 100 s; "
        f"{jain(late):.3f} in the last 300 (at least 0.95), goodput {served_share(seconds, capacity):.3f}"
    )
    assert jain(late) >= 0.95
    assert served_share(seconds, capacity) >= 0.95


def test_two_functions_that_share_a_window_have_what_their_turns_give_them() -> None:
    """The window lets so many start, and the fair queues before it say whose: here each one's turn comes after the other's."""
    short, long = caller("even"), caller("usual")
    long.window = short.window
    seconds = World(Places(100), [short, long], seed=1).run(SETTLED_S + 120)[SETTLED_S:]
    share = jain([short.finished, long.finished])
    print(f"\none window, two functions: Jain {share:.3f}, goodput {served_share(seconds, 100):.3f}")
    assert share >= 0.95
    assert served_share(seconds, 100) >= 0.95


@pytest.mark.parametrize("retry_after_ms", [0, 1_000, 5_000])
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_after_an_outage_it_is_back_within_a_minute(capacity: int, retry_after_ms: int) -> None:
    """Ten minutes in which everything is throttled: it is asked about once a round trip, or as rarely as it says itself."""
    one, downstream = caller("usual"), Places(capacity)
    world = World(downstream, [one], seed=1, retry_after_ms=retry_after_ms)
    world.run(SETTLED_S)
    downstream.capacity = 0
    calls = sum(second.throttled for second in world.run(600)[SETTLED_S:])
    downstream.capacity = capacity
    seconds = world.run(90)
    back_s = next(at for at, second in enumerate(seconds, start=1) if second.served >= 0.9 * capacity)
    print(
        f"\n{capacity}, retry_after {retry_after_ms} ms: {calls} calls in the last nine minutes of the outage, "
        f"90 % goodput {back_s} s after it (at most 60)"
    )
    assert calls <= 540_000 / max(900, retry_after_ms) + 10
    assert back_s <= 60


def test_one_task_that_says_an_hour_stops_nobody() -> None:
    one = caller("usual")
    world = World(Places(100, noise=0.01), [one], seed=1, retry_after_ms=3_600_000)
    assert served_share(world.run(SETTLED_S + 120)[SETTLED_S:], 100) >= 0.95
