"""The states: one table says how tasks move, both task tables enforce the same, and the page about it is true."""

from __future__ import annotations

from pathlib import Path

from taskservice.core.apply import BORN, TRANSITIONS, Move
from taskservice.core.types import TERMINAL_STATES, TaskState
from taskservice.journal.store import moves

ROOT = Path(__file__).parents[2]


def test_the_task_tables_enforce_exactly_the_transitions() -> None:
    enforced = {(source, move.name): move.target for move in moves.MOVES for source in move.sources}
    assert enforced == {(source, str(move)): target for (source, move), target in TRANSITIONS.items()}
    assert set(moves.INSERT_STATES) == set(BORN)


def test_every_state_can_be_reached_and_every_one_but_the_ends_be_left() -> None:
    """An end is left for the next run only."""
    assert {*BORN, *TRANSITIONS.values()} == set(TaskState)
    assert {source for source, move in TRANSITIONS if move is not Move.RERUN} == set(TaskState) - set(TERMINAL_STATES)
    assert {source for source, move in TRANSITIONS if move is Move.RERUN} == set(TERMINAL_STATES)


def test_every_move_is_used() -> None:
    assert {move for _, move in TRANSITIONS} == set(Move)


def test_the_diagram_names_every_state_and_move() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    diagram = page.split("### States")[1].split("`TRANSITIONS`")[0]
    for word in [*TaskState, *Move]:
        assert word in diagram, word
