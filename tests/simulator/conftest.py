"""What the simulator's tests share: small worlds, described in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskservice.journal.store.memory import MemoryTable
from taskservice.simulator.run import simulate
from taskservice.simulator.scenario import parse_scenario

SMALL: dict[str, Any] = {
    "title": "small",
    "duration": "10s",
    "sample": "1s",
    "service": {"commit": "10ms", "lease_start": 0},
    "fleet": [{"cpus": 1}],
    "tenants": [{"name": "a"}],
    "functions": [{"name": "f", "takes": "100ms"}],
    "workload": [{"tenant": "a", "function": "f", "arrivals": {"periodic": {"every": "1s"}}}],
}
"""One task a second on one CPU, of which it takes a tenth."""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the small scenario with some of it replaced; gives its report."""

    def run(**parts: Any) -> dict[str, Any]:
        return simulate(parse_scenario({**SMALL, **parts}), tmp_path, MemoryTable())

    return run
