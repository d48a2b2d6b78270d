"""Seeded worlds: faults of all kinds, then peace, and every promise must have been kept."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from taskservice.core.operations import OperationKind
from world import checkers
from world.durable import FileDisk
from world.simulation import Simulation

SEEDS = int(os.environ.get("TASKSERVICE_SIM_SEEDS", "50"))
FILE_SEEDS = 7
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


def test_worlds_go_on_from_the_files_of_those_that_crashed(tmp_path: Path) -> None:
    """As above, with the table in a file: a start takes it up and cuts off what the journal does not have."""
    cuts: list[int] = []
    archived: Counter[str] = Counter()
    came_of_schedules: Counter[str] = Counter()
    held: Counter[OperationKind] = Counter()
    stopped = 0
    for seed in range(FIRST, FIRST + FILE_SEEDS):
        disk = FileDisk(tmp_path / f"{seed}.sqlite", Random(seed))
        simulation = Simulation(seed, disk=disk)
        simulation.run()
        held += checkers.everything(simulation)
        came_of_schedules += checkers.schedules_are_accounted_for(checkers.records_of(simulation))
        cuts += disk.taken_up
        archived += simulation.archived
        stopped += sum(checkers.stops(checkers.records_of(simulation)).values())
    print(f"{stopped} tasks were stopped for others")
    assert stopped > 10
    assert 0 in cuts
    assert max(cuts) > 0
    assert min(archived[what] for what in ("written", "resumed", "removed")) > 0, "the archivers' lives are too tame"
    print(f"of the schedules' times: {dict(came_of_schedules)}")
    assert min(came_of_schedules[what] for what in ("fired", "late", "overlap")) > 0, (
        "the schedules' lives are too tame"
    )
    assert min(held[kind] for kind in OperationKind) > 0, "bulk operations of some kind found nothing to do"
