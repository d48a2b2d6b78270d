"""How long, and how often, a store is asked again. No test waits: time is what the sleeps add up to."""

from __future__ import annotations

from random import Random

import pytest

from taskservice.objects import StoreUnavailable
from taskservice.objects.retry import Backoff, Left, Retries, Undecided


class Time:
    """A clock that only sleeping, and what is asked, moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, s: float) -> None:
        self.slept_s.append(s)
        self.now_s += s

    def retries(self, deadline_s: float, seed: int = 0) -> Retries:
        return Retries(deadline_s, clock=self.clock, sleep=self.sleep, rng=Random(seed))


def failing(times: int, *, takes_s: float = 0.0, time: Time):
    """An attempt that has no answer so many times, and then one."""
    asked: list[float] = []

    def attempt(left_s: Left) -> int:
        asked.append(time.now_s)
        time.now_s += takes_s
        if len(asked) <= times:
            raise Undecided("no answer")
        return len(asked)

    return attempt, asked


def test_an_answer_is_given_at_once():
    time = Time()
    attempt, _ = failing(0, time=time)
    assert time.retries(10).until_decided("asking", attempt) == 1
    assert time.slept_s == []


def test_it_is_asked_until_there_is_an_answer():
    time = Time()
    attempt, _ = failing(5, time=time)
    assert time.retries(10).until_decided("asking", attempt) == 6
    assert len(time.slept_s) == 5


def test_while_it_is_asked_again_it_says_why():
    time = Time()
    retries = time.retries(10)
    seen: list[str] = []
    attempt, _ = failing(2, time=time)

    def looking(left_s: Left) -> int:
        seen.append(retries.trouble)
        return attempt(left_s)

    retries.until_decided("asking", looking)
    assert seen == ["", "asking: no answer", "asking: no answer"]
    assert retries.trouble == ""


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("takes_s", [0.0, 0.3, 4.0, 30.0])
def test_no_attempt_begins_after_the_deadline(seed: int, takes_s: float):
    time = Time()
    attempt, asked = failing(10**9, takes_s=takes_s, time=time)
    with pytest.raises(StoreUnavailable, match=rf"asking: no answer \({'1 attempt' if takes_s > 10 else ''}"):
        time.retries(10, seed).until_decided("asking", attempt)
    assert max(asked) <= 110
    assert time.now_s == pytest.approx(max(110, asked[-1] + takes_s)), "nor is any time given away before it"


def test_an_attempt_is_told_how_long_it_may_take():
    time = Time()
    seen = []

    def attempt(left_s: Left) -> None:
        seen.append(left_s())
        time.now_s += 4
        seen.append(left_s())

    time.retries(10).until_decided("asking", attempt)
    assert seen == [10, 6]


def test_what_is_no_missing_answer_is_passed_on():
    time = Time()

    def attempt(left_s: Left) -> None:
        raise KeyError("mistake")

    with pytest.raises(KeyError):
        time.retries(10).until_decided("asking", attempt)
    assert time.slept_s == []


def test_pauses_are_drawn_below_a_bound_that_doubles_up_to_the_most():
    backoff = Backoff(first_s=0.1, most_s=2.0)
    for failures, bound_s in [(1, 0.1), (2, 0.2), (3, 0.4), (5, 1.6), (6, 2.0), (7, 2.0), (10_000, 2.0)]:
        drawn = [backoff.pause_s(failures, Random(seed)) for seed in range(300)]
        assert 0 <= min(drawn) < bound_s * 0.05
        assert bound_s * 0.95 < max(drawn) <= bound_s
