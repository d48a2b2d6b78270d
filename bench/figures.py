"""What was measured, on what, and whether it is good enough: shown as a table, kept as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

BUSY_LOAD = 0.5
"""Processes that wanted to run in the last minute, before anything of ours did."""
THE_LESS_THE_BETTER = {"ms", "s", "MiB", "requests"}

console = Console()


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement. `target` is its bound: at least for a rate or a share, at most for a time or a size."""

    name: str
    value: float
    unit: str
    target: float | None = None

    @property
    def is_cost(self) -> bool:
        return self.unit in THE_LESS_THE_BETTER

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.is_cost else self.value >= self.target


def load_before() -> float:
    """How busy the machine is, said if it is too much."""
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        console.print(f"The machine is busy (load {load:.1f}): the figures will be too low.", style="yellow")
    return load


def write(path: Path, sizes: Mapping[str, object], figures: Sequence[Figure], load: float) -> None:
    """The file has the figures and what they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("taskservice", "ray")},
        "machine": {
            "platform": platform.platform(),
            "processor": processor(),
            "cpus": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "load_before": load,
        },
        "sizes": sizes,
        "figures": [asdict(figure) | {"met": figure.met} for figure in figures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written to {path}", soft_wrap=True)


def processor() -> str:
    """The processor's name where the machine tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def show(figures: Sequence[Figure]) -> None:
    """Prints the table."""
    table = Table("", "value", "unit", "target", "met")
    for figure in figures:
        bound = "" if figure.target is None else f"{'<=' if figure.is_cost else '>='} {figure.target:,g}"
        met = {None: "", True: "yes", False: "no"}[figure.met]
        digits = 0 if figure.value >= 1000 else 2
        table.add_row(figure.name, f"{figure.value:,.{digits}f}", figure.unit, bound, met)
    console.print(table)
