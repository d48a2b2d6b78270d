"""The log in a store, when its owner dies, stalls or is cut off at any of its calls: each call, each way, each moment.

Whatever happens, the next owner finds all that was acknowledged, once and in order, from either checkpoint; a zombie that goes on
acknowledges nothing that is not there, publishes nothing, and removes nothing that is needed. And the same enumerations
find each mistake of `helpers.mutants`, so they are not blind.
"""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path

import pytest

from helpers.mutants import MUTANTS, Change, mutant
from helpers.owners import CODE, Code, RecordingDirectory
from helpers.stories import (
    calls_of_a_claimant,
    calls_of_the_workload,
    everything,
    incumbents,
    last_words,
    one_successor,
    tell_of_a_last_word,
    tell_of_an_incumbent,
    tell_of_one_successor,
    tell_of_two_successors,
    told,
    two_successors,
)

pytestmark = pytest.mark.timeout(400)  # on a machine that has much else to do; alone, none takes a minute


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture):
    """Thousands of lost answers need no line in a log."""
    caplog.set_level(logging.CRITICAL)


def test_every_call_every_fate_every_moment(tmp_path: Path):
    calls = calls_of_the_workload(tmp_path)
    histories = list(one_successor(calls))
    assert len(calls) > 60
    assert len(histories) > 800
    for history in histories:
        told(tell_of_one_successor, tmp_path, CODE, history)


def test_an_owner_that_goes_on_while_another_claims_the_log(tmp_path: Path):
    """The claimant stalls at each of its calls, for as many checkpoints of the owner as it takes."""
    histories = list(incumbents(calls_of_a_claimant(tmp_path)))
    assert len(histories) > 200
    for history in histories:
        told(tell_of_an_incumbent, tmp_path, CODE, history)


def test_a_claimant_that_was_overtaken_and_has_seen_a_hole_that_was_none(tmp_path: Path):
    for history in last_words(calls_of_a_claimant(tmp_path)):
        told(tell_of_a_last_word, tmp_path, CODE, history)


def test_two_successors_the_first_of_which_dies_or_stalls_at_each_of_its_calls(tmp_path: Path):
    """While the owner before it stalls as well, and both go on when the second is done."""
    histories = list(two_successors(calls_of_the_workload(tmp_path), calls_of_a_claimant(tmp_path)))
    assert len(histories) > 500
    for history in histories:
        told(tell_of_two_successors, tmp_path, CODE, history)


def test_the_same_in_a_directory(tmp_path: Path):
    """One history in thirty: what differs there is tested for itself."""
    code = Code(store=RecordingDirectory)
    for tell, history in islice(everything(tmp_path), None, None, 31):
        told(tell, tmp_path, code, history)


@pytest.mark.parametrize("changes", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mistake_is_found(tmp_path: Path, changes: tuple[Change, ...]):
    """By one of the same histories."""
    code = mutant(*changes)
    for tell, history in everything(tmp_path):
        try:
            told(tell, tmp_path, code, history)
        except AssertionError:
            return
    pytest.fail("no history shows it")
