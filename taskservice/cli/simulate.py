"""`simulate`: what would happen, from scenario files; tables, JSON, a page of charts, and gates for programs."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from taskservice.cli import render
from taskservice.cli.tasks import AsJson

ROWS_MAX = 20
"""Rows of a table; the rest is in the JSON."""

Scenarios = Annotated[list[Path], typer.Argument(metavar="SCENARIO.yaml", help="Scenario files.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the traces; that of the scenario if not given.")]
Seed = Annotated[int | None, typer.Option(help="Another seed than the scenario's.")]
Changes = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Change the scenario: fleet.0.nodes=500; may be repeated."),
]
Charts = Annotated[Path | None, typer.Option(help="Write charts there: a page for each scenario, in this folder.")]


def simulate(
    scenarios: Scenarios,
    data: Data = None,
    seed: Seed = None,
    set_: Changes = [],  # noqa: B006
    charts: Charts = None,
    as_json: AsJson = False,
) -> None:
    """Run scenarios in virtual time, with the scheduler of the service itself. Exit code 1 if a gate of one fails."""
    from taskservice.simulator.charts import page  # noqa: PLC0415 - for those who simulate
    from taskservice.simulator.scenario import load_scenario  # noqa: PLC0415

    changes = set_ if seed is None else [*set_, f"seed={seed}"]
    loaded = [(path, load_scenario(path, changes)) for path in scenarios]
    reports = []
    for path, scenario in loaded:
        report = _timed(scenario, data or path.parent)
        reports.append(report)
        if not as_json:
            _show(report)
        if charts is not None:
            charts.mkdir(parents=True, exist_ok=True)
            (charts / f"{path.stem}.html").write_text(page(report), encoding="utf-8")
    if as_json:
        render.print_json(reports if len(reports) > 1 else reports[0])
    if not all(gate["passed"] for report in reports for gate in report["gates"]):
        raise typer.Exit(1)


def _timed(scenario: Any, folder: Path) -> Mapping[str, Any]:
    """The report; how long it took is said on stderr, for it is not the same each time."""
    from taskservice.journal.store.memory import MemoryTable  # noqa: PLC0415 - for those who simulate
    from taskservice.simulator.run import simulate as run  # noqa: PLC0415

    began_s = time.perf_counter()
    report = run(scenario, folder, MemoryTable())
    took_s = time.perf_counter() - began_s
    tasks = report["tasks"]["submitted"]
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{scenario.title}: {tasks:,} tasks in {took_s:.1f} s ({tasks / took_s:,.0f}/s), {memory_mib:.0f} MiB at most",
        file=sys.stderr,
    )
    return report


def _show(report: Mapping[str, Any]) -> None:
    render.print_line(report["title"], "bold")
    tasks, fleet = report["tasks"], report["fleet"]
    render.print_facts(
        [
            ("measured", f"{report['measured_s']:,.0f} s"),
            ("submitted", f"{tasks['submitted']:,}"),
            ("refused", _counts(tasks["refused"])),
            ("ended", f"{_counts(tasks['ended'])} ({tasks['ended_per_s']:,.1f}/s)"),
            ("not ended", _counts(tasks["left"])),
            ("attempts", f"{_counts(tasks['attempts'])}, in {tasks['leases']:,} leases"),
            ("fleet in use", ", ".join(f"{name} {use:.1%}" for name, use in fleet["utilisation"].items())),
        ]
    )
    _show_groups("TENANT", report["tenants"])
    if len(report["classes"]) > 1:
        _show_groups("CLASS", report["classes"])
    _show_groups("FUNCTION", report["functions"])
    _show_downstreams(report["downstreams"])
    _show_gates(report["gates"])


def _show_groups(what: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Those that used most, in a table."""
    entitled = any("entitled_share" in figures for figures in groups.values())
    columns = (what, "SHARE", *(("ENTITLED", "OFF") if entitled else ()), "SUBMITTED", "ENDED", "REFUSED")
    shown = sorted(groups, key=lambda name: -groups[name]["share"])[:ROWS_MAX]
    rows = [
        (
            name,
            f"{(figures := groups[name])['share']:.2%}",
            *((f"{figures['entitled_share']:.2%}", f"{figures['share_error']:+.2%}") if entitled else ()),
            f"{figures['submitted']:,}",
            f"{sum(figures['ended'].values()):,}",
            f"{figures['refused']:,}",
            *(render.duration(figures["wait_ms"][quantile]) for quantile in ("p50", "p90", "p99", "max")),
        )
        for name in shown
    ]
    print()
    render.print_table((*columns, "WAIT P50", "P90", "P99", "MAX"), rows, "")
    if len(groups) > len(shown):
        render.print_line(f"and {len(groups) - len(shown)} more: see --json", "dim")


def _show_downstreams(downstreams: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        (
            name,
            f"{figures['calls']:,}",
            f"{figures['throttled']:,} ({figures['throttled_ratio']:.1%})",
            f"{figures['in_flight_mean']:.1f}",
            "-" if figures["used_ratio"] is None else f"{figures['used_ratio']:.1%}",
        )
        for name, figures in downstreams.items()
    ]
    if rows:
        print()
        render.print_table(("DOWNSTREAM", "CALLS", "THROTTLED", "IN FLIGHT", "OF ITS CAPACITY"), rows, "")


def _show_gates(gates: list[Mapping[str, Any]]) -> None:
    rows = [
        (
            Text("passed", "green") if gate["passed"] else Text("FAILED", "bold red"),
            gate["gate"],
            f"{gate['value']:g}",
            gate["path"],
        )
        for gate in gates
    ]
    if rows:
        print()
        render.print_table(("GATE", "", "VALUE", "OF"), rows, "")
    print()


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"
