"""One task's log, from bundle to bundle: in order, in part, and with remarks where something is not there."""

from __future__ import annotations

import pytest

from helpers.tables import task as a_task
from taskservice.core.types import TaskId, TaskNo, TaskState, TenantId, Token
from taskservice.logs.chosen import ALL, Wanted, choose
from taskservice.logs.pieces import Piece, Written
from taskservice.logs.places import Place
from taskservice.logs.stored import BEGINNING_LOST, CUT_OFF, LOST, READ_BYTES_MAX, TOO_MUCH, read_stored


class Bundles:
    """Bundles in a dictionary, by their numbers."""

    def __init__(self) -> None:
        self.pieces: dict[int, list[Piece]] = {}
        self.fetched: list[int] = []

    def add(self, number: int, attempt: int, seq: int, text: str, **fields: object) -> None:
        plain = {"part": 0, "whole": True, "ended": True, "before": "", "previous": ""}
        written = (Written(1_000 * seq, "stdout", text.encode()),)
        named = {**plain, **fields}
        self.pieces.setdefault(number, []).append(
            Piece(TenantId("t"), TaskNo(1), TaskId("t1"), 1, attempt, Token(1, seq), written=written, **named)
        )

    def fetch(self, place: Place) -> list[Piece] | str:
        self.fetched.append(place.number)
        return self.pieces.get(place.number, f"bundle {place.number} is gone")

    def read(self, log: str, wanted: Wanted = ALL, **fields: object) -> list[tuple[int, str]]:
        task = a_task(1, **{"log": log, "state": TaskState.SUCCEEDED, "attempt": 9, **fields})
        return [(line.attempt, line.text.strip()) for line in choose(read_stored(task, self.fetch, wanted), wanted)]


def at(number: int) -> str:
    return f"20261130-a-{number}"


@pytest.fixture
def bundles() -> Bundles:
    return Bundles()


def three(bundles: Bundles) -> None:
    bundles.add(1, 1, 5, "one\n")
    bundles.add(2, 2, 6, "two\n", previous=at(1))
    bundles.add(2, 3, 7, "three\n", previous=at(2))


def test_a_task_without_a_log_asks_for_nothing(bundles: Bundles) -> None:
    assert bundles.read("") == []
    assert bundles.fetched == []


def test_from_the_last_to_the_first_each_bundle_once(bundles: Bundles) -> None:
    three(bundles)
    assert bundles.read(at(2)) == [(1, "one"), (2, "two"), (3, "three")]
    assert bundles.fetched == [2, 1]


def test_pieces_of_an_attempt_from_the_last_that_is_whole(bundles: Bundles) -> None:
    bundles.add(1, 1, 5, "a\n", ended=False)
    bundles.add(2, 1, 5, "b\n", part=1, whole=False, ended=False, before=at(1))
    bundles.add(3, 1, 5, "c\n", part=2, whole=False, before=at(2))
    assert bundles.read(at(3)) == [(1, "a"), (1, "b"), (1, "c")]
    bundles.add(3, 1, 5, "a b c d\n", part=3, whole=True)
    assert bundles.read(at(3)) == [(1, "a b c d")]


def test_what_is_not_there_is_said_in_its_place(bundles: Bundles) -> None:
    bundles.add(2, 1, 5, "b\n", part=1, whole=False, ended=False, before=at(1))
    assert bundles.read(at(2)) == [(1, "[bundle 1 is gone]"), (1, "b"), (1, f"[{CUT_OFF}]")]
    bundles.pieces[1] = []
    assert bundles.read(at(2))[0] == (1, f"[{BEGINNING_LOST}]")
    bundles.add(3, 2, 6, "next\n", previous=at(7))
    assert bundles.read(at(3)) == [(2, "[bundle 7 is gone]"), (2, "next")]


def test_an_attempt_that_was_lost_before_anything_was_stored(bundles: Bundles) -> None:
    bundles.add(1, 1, 5, "one\n")
    bundles.add(2, 2, 7, "two\n", previous="~" + at(1))
    assert bundles.read(at(2)) == [(1, "one"), (2, f"[{LOST}]"), (2, "two")]
    assert bundles.read("~~") == [(9, f"[{LOST}]")] * 2
    assert bundles.read("~", state=TaskState.RETRYING, attempt=0) == [(1, f"[{LOST}]")]


def test_a_bundle_in_which_only_its_neighbours_wrote(bundles: Bundles) -> None:
    bundles.pieces[4] = []
    assert bundles.read(at(4)) == []


def test_no_more_is_read_than_is_wanted(bundles: Bundles) -> None:
    three(bundles)
    bundles.add(3, 1, 9, "again\n", previous=at(2))
    bundles.pieces[3][0] = Piece(
        *(getattr(bundles.pieces[3][0], name) if name != "run" else 2 for name in Piece.__struct_fields__)
    )
    for wanted in (Wanted(tail=1), Wanted(since_ms=9_000), Wanted(run=2), Wanted(after=Token(1, 9))):
        bundles.fetched.clear()
        assert bundles.read(at(3), wanted)[-1] == (1, "again")
        assert bundles.fetched in ([3], [3, 2])
    assert bundles.read(at(3), Wanted(run=1, attempt=2)) == [(2, "two")]


def test_too_much_is_left_out_with_a_remark(bundles: Bundles) -> None:
    for number in range(1, 40):
        bundles.add(number, number, number, "x" * (1 << 20) + "\n", previous=at(number - 1) if number > 1 else "")
    shown = bundles.read(at(39))
    assert shown[0][1] == f"[{TOO_MUCH}]"
    assert len(shown) == 1 + READ_BYTES_MAX // (1 << 20)
    assert bundles.read(at(39), Wanted(attempt=2, run=1))[0][1].startswith("xxx"), "one attempt is always to be had"


def test_links_in_a_circle_end(bundles: Bundles) -> None:
    """No writer makes one; a reader must not hang on it all the same."""
    bundles.add(1, 1, 5, "a\n", part=1, whole=False, before=at(2))
    bundles.add(2, 1, 5, "b\n", part=2, whole=False, before=at(1))
    assert (1, "a") in bundles.read(at(1))
