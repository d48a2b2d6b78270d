"""Seeded worlds: faults of all kinds, then peace, and every promise must have been kept."""

from __future__ import annotations

import os

import pytest

from world import checkers
from world.simulation import Simulation

SEEDS = int(os.environ.get("TASKSERVICE_SIM_SEEDS", "50"))
FIRST = int(os.environ.get("TASKSERVICE_SIM_FIRST", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_a_world_keeps_its_promises_and_repeats_itself(seed: int) -> None:
    """Nothing accepted is lost or ends twice; and the same seed gives the same bytes."""
    first = Simulation(seed)
    first.run()
    checkers.everything(first)
    again = Simulation(seed, checked=False)
    again.run()
    assert again.clock.trace() == first.clock.trace()
    assert again.store.epochs == first.store.epochs[: len(again.store.epochs)]
