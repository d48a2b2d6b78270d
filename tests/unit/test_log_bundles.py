"""Bundles of logs, their places, and what is chosen of a log."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskservice.core.types import TaskId, TaskNo, TenantId, Token
from taskservice.logs.bundle import HEAD_BYTES, BundleDamaged, make_bundle, read_bundle
from taskservice.logs.chosen import AttemptLog, Line, Wanted, choose, lines_of, text_of
from taskservice.logs.pieces import Framed, Piece, Written, frame, framed, read_page, unframe, write_page
from taskservice.logs.places import Place, day_of_key, first_day_kept, follow_link, parse_place, place_at

T = TenantId("t")


def piece(no: int, text: bytes = b"x\n", part: int = 0, tenant: TenantId = T) -> Piece:
    written = (Written(1_000, "stdout", text),)
    return Piece(tenant, TaskNo(no), TaskId(f"t{no}"), 1, 1, Token(1, 1), part, True, True, "", "", written)


def bundle(*pieces: Piece) -> bytes:
    return make_bundle(unframe(b"".join(map(frame, pieces))))


def read(data: bytes, no: int, tenant: TenantId = T) -> list[Piece]:
    return read_bundle(lambda start, end: data[start:end], tenant, TaskNo(no))


def test_each_task_finds_its_own_in_order() -> None:
    """Many small ones in a block, and large ones over several."""
    rng = Random(1)
    pieces = [piece(no, rng.randbytes(rng.choice([5, 5, 100, 90_000])), part) for part in range(3) for no in range(60)]
    data = bundle(*pieces)
    for no in range(60):
        assert read(data, no) == [one for one in pieces if one.no == no]
    assert read(data, 99) == []
    assert read(data, 7, TenantId("another")) == []


def test_a_directory_that_is_longer_than_what_is_read_first() -> None:
    rng = Random(2)
    data = bundle(*(piece(no, rng.randbytes(70_000)) for no in range(1, 1_500)))
    assert int.from_bytes(data[8:12], "little") > HEAD_BYTES
    assert [one.no for one in read(data, 1_499)] == [1_499]


def test_an_empty_bundle_has_nothing() -> None:
    assert read(make_bundle([]), 1) == []


def test_the_same_pieces_make_the_same_bytes() -> None:
    """So a put whose outcome is not known can be made again."""
    assert bundle(piece(2), piece(1)) == bundle(piece(2), piece(1))


@pytest.mark.parametrize("at", [0, 9, 13, 40, -3])
def test_damage_is_named_and_no_empty_log(at: int) -> None:
    data = bytearray(bundle(*(piece(no, bytes([no]) * 200) for no in range(1, 20))))
    data[at] ^= 0x55
    with pytest.raises(BundleDamaged):
        read(bytes(data), 5)
    with pytest.raises(BundleDamaged):
        read(bytes(data[:30]), 5)


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 60))
def test_a_file_that_a_writer_has_not_finished_is_read_as_far_as_it_goes(bodies: list[bytes], cut: int) -> None:
    whole = [Framed(TaskNo(no), body) for no, body in enumerate(bodies)]
    data = b"".join(map(framed, whole))
    found = list(unframe(data[: len(data) - cut] if cut else data))
    assert found == whole[: len(found)]
    assert cut or found == whole


def test_a_page_is_read_on_from_where_it_ended() -> None:
    said = [Written(no, "stdout", b"line\n" * no) for no in range(5)]
    data = write_page(said)
    first, at = read_page(data[: len(data) // 2])
    more, end = read_page(data[at:])
    assert (first + more, at + end) == (said, len(data))


def test_places_are_read_as_they_are_written() -> None:
    place = place_at(1_796_000_000_000, "1a2b", 17)
    assert (str(place), place.key) == ("20261130-1a2b-17", "tasklog/dt=2026-11-30/1a2b-000000017")
    assert parse_place(str(place)) == place
    assert day_of_key(place.key) == "2026-11-30"
    assert first_day_kept(1_796_000_000_000, 86_400) == "2026-11-29"
    assert [parse_place(text) for text in ("", "x", "20261130-../x-1", "20261130-a-1/2")] == [None] * 4
    assert day_of_key("tasklog/dt=2026-11-30/../x") is None


def test_a_link_says_how_many_attempts_were_lost_after_its_place() -> None:
    assert follow_link("") == (0, None)
    assert follow_link("~~") == (2, None)
    assert follow_link("~20261130-a-1") == (1, Place("20261130", "a", 1))


def log(*written: tuple[int, str, str], attempt: int = 1) -> AttemptLog:
    said = tuple(Written(at_ms, stream, text.encode()) for at_ms, stream, text in written)
    return AttemptLog(1, attempt, Token(1, attempt), said)


def test_lines_are_put_together_and_taken_apart() -> None:
    """What one stream said piece by piece is one line, unless another came between."""
    said = log((1, "stdout", "a"), (2, "stdout", "b\nc\nd"), (3, "stderr", "e\n"), (4, "stdout", "f"))
    assert [(line.at_ms, line.stream, line.text) for line in lines_of(said)] == [
        (1, "stdout", "ab\n"),
        (1, "stdout", "c\n"),
        (1, "stdout", "d"),
        (3, "stderr", "e\n"),
        (4, "stdout", "f"),
    ]


def test_a_character_that_came_in_two_pieces_is_whole() -> None:
    cut = AttemptLog(1, 1, None, (Written(1, "output", b"gr\xc3"), Written(2, "output", b"\xbcezi\n")))
    assert [line.text for line in lines_of(cut)] == ["grüezi\n"]


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["stdout", "stderr"]), st.text("ab\n", max_size=6))))
def test_nothing_of_a_log_is_lost_as_text(said: list[tuple[int, str, str]]) -> None:
    assert text_of(choose([log(*said)], Wanted())) == "".join(text for _, _, text in said)


def test_what_is_chosen() -> None:
    logs = [
        log((10, "stdout", "a\n"), (20, "stdout", "b\n")),
        log((30, "stdout", "c\n"), (0, "service", "!\n"), attempt=2),
    ]

    def chosen(**wanted: int) -> str:
        return "".join(line.text.strip() for line in choose(logs, Wanted(**wanted)))

    assert chosen() == "abc!"
    assert chosen(since_ms=20) == "bc!"
    assert chosen(until_ms=30) == "ab!", "what has no time is always shown"
    assert chosen(attempt=1, run=1) == "ab"
    assert chosen(tail=3) == "bc!"
    assert chosen(run=2) == ""


def test_attempts_are_told_apart_as_text() -> None:
    lines = [Line(1, 1, 1, "stdout", "a"), Line(1, 2, 2, "stdout", "b\n"), Line(2, 1, 2, "stdout", "c")]
    headed = "--- run 1, attempt 1 ---\na\n--- run 1, attempt 2 ---\nb\n--- run 2, attempt 1 ---\nc\n"
    assert text_of(lines) == headed
    assert text_of(lines[:1]) == "a"
