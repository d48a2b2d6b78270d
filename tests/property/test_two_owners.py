"""Two dispatchers on one bucket that believe to own it, again and again, their calls in every order that seeds make up."""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import pytest

from helpers.crashing_objects import CrashingObjects
from helpers.mutants import MUTANTS, Change, mutant
from helpers.owners import Code, Owner, RecordingObjects, Violated, check
from helpers.stories import OPEN, PUBLISH, append_two
from helpers.turns import Turns
from taskservice.objects import ObjectStore

SEEDS = 200
ONE_AT_A_TIME = Change("bucket", "READ_AHEAD = 16\n", "READ_AHEAD = 1\n")
"""Threads of one process that fetch at once would make an order of their own."""
LIVES_MAX = 3


class Contest:
    """What two writers did to one store."""

    def __init__(self, directory: Path, code: Code, seed: int, names: str = "ab") -> None:
        self.store = RecordingObjects()
        self.owners: list[Owner] = []
        self.violations: list[Violated] = []
        self._directory = directory
        self._code = code
        self._seed = seed
        self._names = names

    def run(self) -> list[str]:
        """Both have come to an end, and all is as it must be; gives the order of their calls."""
        turns = Turns(self.store, Random(self._seed))
        for name in self._names:
            turns.add(name, lambda store, name=name: self._live(store, name))
        turns.run()
        for violation in self.violations:
            raise violation
        check(self.store, self.owners, self._directory)
        return turns.calls

    def _live(self, store: ObjectStore, name: str) -> None:
        """It opens the log, works, is fenced, opens it again."""
        rng = Random(f"{self._seed} {name}")
        for life in range(LIVES_MAX):
            owner = Owner(CrashingObjects(store), self._directory, f"{name}{life}", self._code)
            owner.others = self.owners
            self.owners.append(owner)
            steps = [*OPEN]
            for _ in range(rng.randrange(3, 12)):
                steps += rng.choice([[Owner.append], [append_two(1, 0)], [append_two(0, 1)], PUBLISH, PUBLISH])
            try:
                owner.do(steps)
            except Violated as violation:
                self.violations.append(violation)
                return
            finally:
                owner.close()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.CRITICAL)


@pytest.fixture(scope="module")
def code() -> Code:
    return mutant(ONE_AT_A_TIME)


@pytest.mark.parametrize("begin", range(0, SEEDS, 20))
def test_nothing_acknowledged_is_lost_and_no_zombie_does_harm(tmp_path: Path, code: Code, begin: int):
    for seed in range(begin, begin + 20):
        try:
            Contest(tmp_path, code, seed).run()
        except Violated as violation:
            raise AssertionError(f"seed {seed}: {violation}") from violation


def test_three_owners(tmp_path: Path, code: Code):
    for seed in range(SEEDS // 2):
        try:
            Contest(tmp_path, code, seed, "abc").run()
        except Violated as violation:
            raise AssertionError(f"seed {seed}: {violation}") from violation


def test_a_seed_is_a_history(tmp_path: Path, code: Code):
    assert Contest(tmp_path, code, 7).run() == Contest(tmp_path, code, 7).run()


def test_the_seeds_are_worth_something(tmp_path: Path, code: Code):
    """In them owners are overtaken, while others have acknowledged and published before and after."""
    overtaken = acknowledged = published = 0
    for seed in range(20):
        contest = Contest(tmp_path, code, seed)
        contest.run()
        acknowledging = [owner for owner in contest.owners if owner.acknowledged]
        overtaken += len(contest.owners) - 1
        acknowledged += len(acknowledging)
        published += sum(len(owner.published) for owner in contest.owners)
    assert overtaken > 20
    assert acknowledged > 40
    assert published > 60


TOO_RARE = {"an opener does not look whether it was overtaken while it sealed"}
"""What seeds do not find; `test_crash_points` does."""


@pytest.mark.parametrize("name", sorted(MUTANTS.keys() - TOO_RARE))
def test_the_seeds_find_mistakes(tmp_path: Path, name: str):
    wrong = mutant(ONE_AT_A_TIME, *MUTANTS[name])
    for seed in range(SEEDS):
        try:
            Contest(tmp_path, wrong, seed).run()
        except Violated:
            return
    pytest.fail("no seed shows it")
