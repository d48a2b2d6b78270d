"""What `taskservice top` shows, made of what the service said: no I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from taskservice.cli import render
from taskservice.cli.explain import percent

ROWS_MAX = 12
"""Of each table on a terminal; those with most to do."""

Counters = Mapping[tuple[str, str], float]
"""By metric and function: summed over tenants; of `oldest_queued_seconds` the greatest."""


class Snapshot(NamedTuple):
    """What the service said at one time."""

    usage: Mapping[str, Any]
    cluster: Mapping[str, Any]
    counters: Counters | None
    """None: the key may not see /metrics."""


def seen(now: Snapshot, before: Snapshot | None = None) -> dict[str, Any]:
    """The figures of a moment; rates are those since `before`, and None without it."""
    usage = now.usage
    return {
        "at": usage["at"],
        "tasks": now.cluster["counts"],
        "functions": [_function(one, now, before) for one in _busiest(usage["functions"])],
        "tenants": [
            {name: one[name] for name in ("name", "used_ratio", "due_ratio", "running", "unfinished")}
            for one in sorted(usage["tenants"], key=lambda one: (-one["used_ratio"], -one["unfinished"], one["name"]))
        ],
        "downstreams": [
            {name: one[name] for name in ("name", "in_flight", "limit", "ceiling", "closed_until")}
            for one in usage["downstreams"]
        ],
        "nodes": now.cluster["runners"],
    }


def _busiest(functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(functions, key=lambda one: (-sum(one["counts"].values()), one["name"]))


def _function(one: Mapping[str, Any], now: Snapshot, before: Snapshot | None) -> dict[str, Any]:
    name, counts = one["name"], one["counts"]
    capacity = now.usage["capacity"]
    parts = [amount / capacity[kind] for kind, amount in one["holds"].items() if capacity.get(kind)]
    return {
        "name": name,
        "paused": one["paused"],
        "waiting": sum(counts.values()) - counts.get("running", 0),
        "running": counts.get("running", 0),
        "oldest_s": None if now.counters is None else now.counters.get(("oldest_queued_seconds", name), 0.0),
        "submitted_per_s": _rate("submits", name, now, before),
        "ended_per_s": _rate("tasks_ended", name, now, before),
        "share": max(parts, default=0.0),
    }


def _rate(metric: str, name: str, now: Snapshot, before: Snapshot | None) -> float | None:
    if before is None or now.counters is None or before.counters is None:
        return None
    span = datetime.fromisoformat(now.usage["at"]) - datetime.fromisoformat(before.usage["at"])
    more = now.counters.get((metric, name), 0.0) - before.counters.get((metric, name), 0.0)
    # Counters begin anew with another dispatcher.
    return max(0.0, more) / span.total_seconds() if span.total_seconds() > 0 else None


def view(figures: Mapping[str, Any], rows_max: int = ROWS_MAX, note: str = "") -> RenderableType:
    """The figures as tables that fit the terminal; `note` is what else there is to say."""
    counts = "  ".join(f"{state} {count}" for state, count in figures["tasks"].items() if count) or "no tasks"
    parts: list[RenderableType] = [Text.assemble((render.local_time(figures["at"]), "bold"), "  ", counts)]
    if note:
        parts.append(Text(note, "red"))
    for title, columns, rows in _tables(figures):
        if rows:
            parts += [Text(), render.table_of((title, *columns), rows[:rows_max])]
        if len(rows) > rows_max:
            parts.append(Text(f"... and {len(rows) - rows_max} more", "dim"))
    return Group(*parts)


def _tables(figures: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], list[tuple[object, ...]]]]:
    functions: list[tuple[object, ...]] = [
        (
            f"{one['name']} (paused)" if one["paused"] else one["name"],
            *(one["waiting"], one["running"], _age(one["oldest_s"])),
            *(_per_s(one["submitted_per_s"]), _per_s(one["ended_per_s"]), percent(one["share"])),
        )
        for one in figures["functions"]
    ]
    tenants: list[tuple[object, ...]] = [
        (one["name"], percent(one["used_ratio"]), percent(one["due_ratio"]), one["running"], one["unfinished"])
        for one in figures["tenants"]
    ]
    downstreams: list[tuple[object, ...]] = [
        (one["name"], one["in_flight"], one["limit"], one["ceiling"], render.local_time(one["closed_until"]))
        for one in figures["downstreams"]
    ]
    nodes: list[tuple[object, ...]] = [
        (one["node"], f"{one['cpus_used']:g}/{one['cpus']:g}", one["leases"], "draining" if one["draining"] else "")
        for one in figures["nodes"]
    ]
    return [
        ("FUNCTION", ("WAITING", "RUNNING", "OLDEST", "IN/S", "OUT/S", "SHARE"), functions),
        ("TENANT", ("USED", "DUE", "RUNNING", "UNFINISHED"), tenants),
        ("DOWNSTREAM", ("IN FLIGHT", "WINDOW", "CEILING", "CLOSED UNTIL"), downstreams),
        ("NODE", ("CPUS", "LEASES", ""), nodes),
    ]


def _per_s(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
