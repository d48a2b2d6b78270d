"""The protocol of the journal on a bucket keeps its promises in every order of events, and with any rule broken does not.

A failure prints the shortest way to it. Bounds are the segments and the checkpoints of each owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from model.bucket import Bounds, Rules, SecondLine, World
from model.explore import Result, explore
from model.journal import Journal


class Case(NamedTuple):
    bounds: Bounds
    states_min: int
    """Of which at least so many are explored: a model in which little can happen proves little."""
    happens: tuple[str, ...] = ()
    """Steps that are among those taken."""


HOLDS = {
    "three owners fence each other": Case(
        Bounds((3, 3, 3), (0, 0, 0)), 63_000, ("owner 2 is fenced at 2/0", "owner 3 reads 2/2")
    ),
    "a zombie publishes and collects": Case(
        Bounds((3, 3), (3, 3)), 112_000, ("owner 1 finds manifest 3 taken", "owner 2 sees its claim void")
    ),
    "a reader against a collector": Case(
        Bounds((2, 0, 2), (1, 0, 2)),
        279_000,
        ("owner 2 misses 1/0", "owner 2 misses chunk/1/1", "owner 2 sees a later"),
    ),
    "two successors, the first of which collects": Case(
        Bounds((2, 1, 1), (2, 1, 0)), 240_000, ("owner 3 sees its claim void", "owner 3 loads the checkpoint at 2/1")
    ),
    "checkpoints before the first segment": Case(
        Bounds((1, 1, 1), (1, 1, 0), in_flight=1, early=True), 43_000, ("owner 3 loads the checkpoint at 2/0",)
    ),
}
HOLDS_LONGER = {
    "four owners": Case(Bounds((2, 1, 1, 1), (0, 0, 0, 0)), 860_000),
    "long epochs": Case(Bounds((4, 3), (3, 2)), 420_000),
    "checkpoints before the first segment": Case(Bounds((3, 3), (3, 3), early=True), 340_000),
    "three owners publish": Case(Bounds((2, 1, 1), (2, 1, 1), in_flight=1), 440_000),
    "a reader that would write": Case(Bounds((2, 1, 2), (1, 0, 2), in_flight=1), 318_000),
    "three owners write, two publish": Case(Bounds((2, 2, 2), (1, 1, 0), in_flight=1), 260_000),
}
TWO = Bounds((2, 2), (2, 2))
COLLECTED = Bounds((1, 1, 1), (1, 1, 0))
"""The second or third owner collects what the other still reads."""
BREAKS = {
    "claims_before_it_seals": TWO,
    "signs_its_claim": Bounds((1, 1, 1), (0, 0, 0)),
    "looks_after_its_claim": TWO,
    "seals_all_earlier_epochs": Bounds((1, 1, 1), (0, 0, 0)),
    "fences_at_the_first_hole": TWO,
    "looks_before_it_serves": COLLECTED,
    "minds_any_later_manifest": TWO,
    "acknowledges_by_prefix": TWO,
    "asks_whose_segment_it_is": TWO,
    "asks_whose_manifest_it_is": TWO,
    "checkpoints_what_is_durable": Bounds((3, 1), (3, 1)),
    "publishes_after_its_own": TWO,
    "collects_after_publishing": TWO,
    "keeps_fences": TWO,
    "keeps_claims": TWO,
    "keeps_what_the_older_needs": TWO,
    "collects_chunks_it_knows": TWO,
    "names_chunks_once": Bounds((3, 1), (3, 1)),
    "names_chunks_by_its_epoch": Bounds((2, 1), (2, 1), early=True),
}


def shown(result: Result) -> Result:
    print(f"{result.states} states", *(result.path or ["hold"]), sep="\n  ")
    return result


def check(case: Case) -> None:
    journal, steps = Journal(case.bounds), set()

    def next_states(world: World) -> Iterator[tuple[str, World]]:
        for step, after in journal.next_states(world):
            steps.add(step)
            yield step, after

    result = shown(explore(journal.initial(), next_states, journal.violation))
    assert result.path is None
    assert result.states >= case.states_min
    assert not [wanted for wanted in case.happens if not any(step.startswith(wanted) for step in steps)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", HOLDS.values(), ids=HOLDS)
def test_the_protocol_holds(case: Case):
    check(case)


@pytest.mark.soak
@pytest.mark.parametrize("case", HOLDS_LONGER.values(), ids=HOLDS_LONGER)
def test_the_protocol_holds_for_longer(case: Case):
    check(case)


class Heirless(Journal):
    """Without the promise that nobody is stopped without an heir: what is left is what is lost."""

    def violation_of_fences(self, world: World) -> None:
        return None


ONLY_STOPS = ["claims_before_it_seals", "looks_after_its_claim"]
"""Broken, these lose nothing; but an owner is stopped and nobody has taken its place."""


@pytest.mark.parametrize("rule", Rules._fields)
def test_each_rule_is_needed(rule: str):
    kind = Journal if rule in ONLY_STOPS else Heirless
    assert shown(kind(BREAKS[rule], Rules()._replace(**{rule: False})).explored()).path


@pytest.mark.parametrize("rule", ONLY_STOPS)
def test_two_rules_keep_nothing_but_an_owner_from_being_stopped_without_an_heir(rule: str):
    assert shown(Heirless(COLLECTED, Rules()._replace(**{rule: False})).explored()).path is None


def test_an_owner_that_never_looks_again_loses_what_was_acknowledged():
    """Its claim landed in the place of a removed manifest, and it takes what was collected for a hole."""
    blind = Rules(looks_after_its_claim=False, looks_before_it_serves=False)
    result = shown(Heirless(TWO, blind).explored())
    assert result.path
    assert "acknowledged" in result.path[-1]


def test_the_look_before_serving_finds_who_took_a_missing_object_for_the_end():
    careless = SecondLine(ends_if_an_object_is_missing=False)
    assert shown(Journal(COLLECTED, second=careless).explored()).path is None


def test_a_missing_object_taken_for_the_end_loses_what_was_acknowledged():
    """The reader has sealed all, and misses what it reads after that; the look that would tell it is left out."""
    careless = SecondLine(ends_if_an_object_is_missing=False)
    result = shown(Journal(COLLECTED, Rules(looks_before_it_serves=False), careless).explored())
    assert result.path
