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
from world.saves import check_restored
from world.simulation import Simulation

SEEDS = int(os.environ.get("TASKSERVICE_SIM_SEEDS", "50"))
FILE_SEEDS_MIN, FILE_SEEDS_MAX = 5, 20
RARE = (
    "file_taken_up",
    "commits_cut_off",
    *(f"archiver_{what}" for what in ("written", "resumed", "removed")),
    *(f"schedule_{what}" for what in ("fired", "late", "overlap")),
    *(f"held_by_{kind}" for kind in OperationKind),
    "stopped_for_others",
    "cancelled_stopped",
    "restored",
)
"""What happens in some of the worlds."""
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


@pytest.mark.timeout(600)
def test_worlds_go_on_from_the_files_of_those_that_crashed(tmp_path: Path) -> None:
    """As above, with the table in a file: a start takes it up and cuts off what the journal does not have. So many worlds as it
    takes until everything has happened in one of them."""
    happened: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + FILE_SEEDS_MAX):
        disk = FileDisk(tmp_path / f"{seed}.sqlite", Random(seed))
        simulation = Simulation(seed, disk=disk)
        simulation.run()
        held = checkers.everything(simulation)
        records = checkers.records_of(simulation)
        happened += Counter(file_taken_up=disk.taken_up.count(0), commits_cut_off=sum(disk.taken_up))
        happened += Counter({f"archiver_{what}": count for what, count in simulation.archived.items()})
        happened += Counter(
            {f"schedule_{what}": n for what, n in checkers.schedules_are_accounted_for(records).items()}
        )
        happened += Counter({f"held_by_{kind}": count for kind, count in held.items()})
        happened += Counter({f"cancelled_{how}": count for how, count in checkers.cancels(records).items()})
        happened += check_restored(records, simulation.saves)
        happened["stopped_for_others"] += sum(checkers.stops(records).values())
        if seed >= FIRST + FILE_SEEDS_MIN - 1 and all(happened[what] for what in RARE):
            break
    print(f"in {seed + 1 - FIRST} worlds: {dict(happened)}")
    assert [what for what in RARE if not happened[what]] == [], "these worlds are too tame"
