"""One call from a scenario to its report."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from taskservice.core.table import TaskTable
from taskservice.simulator.plan import plan
from taskservice.simulator.report import Report, report
from taskservice.simulator.scenario import Scenario
from taskservice.simulator.world import World


def simulate(scenario: Scenario, folder: Path, table: TaskTable) -> Report:
    """The report of one run. `folder`: where the scenario's traces are. `table` is empty, and nobody else's.

    Raises RequestError for a trace that cannot be read, or a gate that names no number of the report.
    """
    with _uncollected():
        world = World(scenario, plan(scenario, folder), table)
        world.run()
        return report(scenario, world, table)


@contextmanager
def _uncollected() -> Generator[None]:
    """Meanwhile no garbage is looked for: a run makes no cycles, and looking for them takes a tenth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
