"""A downstream is away for ten minutes, and then it is back, with as much to do as it can just bear.

It serves calls in order, and goes on with those that their callers have given up: overload that once began feeds itself.
"""

from __future__ import annotations

import pytest

from helpers.retrying import START_MS, Retrying
from taskservice.core.flow.retry_budget import RetryBudget
from taskservice.core.flow.window import Window

OFFERED_PER_S = 100
OUTAGE_S = 600
BEFORE_S = 60
LATER_S = 300


def outage(*, capacity_per_s: int, budget: bool, window: bool, seed: int = 1) -> Retrying:
    """A minute of peace, the outage, and five minutes after it."""
    world = Retrying(
        offered_per_s=OFFERED_PER_S,
        servers=capacity_per_s // 10,
        service_ms=100,
        budget=RetryBudget("function.retries", START_MS) if budget else None,
        window=Window("downstream.window", START_MS) if window else None,
        seed=seed,
    )
    world.run(BEFORE_S)
    world.away = True
    world.run(OUTAGE_S)
    world.away = False
    world.run(LATER_S)
    return world


def calls_per_offered(world: Retrying) -> float:
    """During the outage."""
    during = slice(BEFORE_S, BEFORE_S + OUTAGE_S)
    return sum(world.seconds.calls[during]) / sum(world.seconds.offered[during])


def goodput(world: Retrying) -> list[float]:
    """Successes for each task offered, of each ten seconds after the outage."""
    after = world.seconds.succeeded[BEFORE_S + OUTAGE_S :]
    return [sum(after[at : at + 10]) / 10 / OFFERED_PER_S for at in range(0, LATER_S, 10)]


def worst_second(calls: list[int]) -> float:
    return max(calls) / (sum(calls) / len(calls))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("capacity_per_s", "window"), [(150, False), (120, True)], ids=["50 % spare", "20 % spare, with a window"]
)
def test_retries_neither_prolong_an_outage_nor_come_all_at_once(capacity_per_s: int, window: bool, seed: int) -> None:
    world = outage(capacity_per_s=capacity_per_s, budget=True, window=window, seed=seed)
    ratio, good = calls_per_offered(world), goodput(world)
    calls = world.seconds.calls
    during, after = worst_second(calls[BEFORE_S : BEFORE_S + OUTAGE_S]), worst_second(calls[BEFORE_S + OUTAGE_S :])
    back_s = 10 * next(at for at in range(len(good)) if min(good[at:]) >= 0.95)
    print(
        f"\n{capacity_per_s} of {OFFERED_PER_S} calls a second{', window' if window else ''}: "
        f"{ratio:.3f} calls for each task in the outage (at most 1.1); 95 % goodput for good after {back_s} s (60); "
        f"then {min(good[6:]):.2f} to {max(good[6:]):.2f}; worst second {during:.2f} of the mean, after it {after:.2f} (2)"
    )
    assert ratio <= 1.1
    assert back_s <= 60
    assert during <= 2
    assert after <= 2


def test_without_a_budget_they_do() -> None:
    """So that the test above can fail: the same, and nothing bounds the retries."""
    world = outage(capacity_per_s=150, budget=False, window=False)
    ratio, good = calls_per_offered(world), goodput(world)
    print(
        f"\nwithout a budget: {ratio:.2f} calls for each task in the outage; goodput after it {max(good):.2f} at most"
    )
    assert ratio > 5
    assert max(good[6:]) < 0.5
