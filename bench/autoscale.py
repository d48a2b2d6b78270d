"""Compares the autoscaler with policies as others use them: the same work in virtual time, what was paid for and who waited how long.

    .venv/bin/python bench/autoscale.py            four traces, three policies: about two minutes
    .venv/bin/python bench/autoscale.py steady     one of them

The references' parameters are theirs, and frozen: `autoscaler/references.py`. All else is the same: the machines (8 CPUs, a minute to
start), the least and the most of them, and that one that goes ends its tasks first, the one with the least of them.
"""

from __future__ import annotations

import sys
from math import prod
from pathlib import Path
from typing import Any

from taskservice.journal.store.memory import MemoryTable
from taskservice.simulator.run import simulate
from taskservice.simulator.scenario import parse_scenario

POLICIES = ("backlog", "queue_length", "utilisation")
MACHINES = [{"name": "node", "cpus": 8, "min": 1, "max": 40, "starts_in": "60s"}]
COMMIT_S = 0.005
"""A commit, and so a turn of the dispatcher, takes as long."""
COMMON: dict[str, Any] = {"tenants": [{"name": "a"}], "sample": "1m"}


def work(arrivals: dict[str, Any], function: str = "f") -> dict[str, Any]:
    """What tenant a submits."""
    return {"tenant": "a", "function": function, "arrivals": arrivals}


TRACES: dict[str, dict[str, Any]] = {
    "steady": {
        "duration": "90m",
        "warm_up": "15m",
        "functions": [{"name": "f", "takes": {"lognormal": {"median": "8s", "sigma": 0.8, "max": "5m"}}}],
        "workload": [work({"poisson": {"per_s": 4}})],
    },
    "diurnal": {
        "duration": "6h",
        "warm_up": "15m",
        "functions": [{"name": "f", "takes": {"lognormal": {"median": "20s", "sigma": 0.8, "max": "10m"}}}],
        "workload": [work({"diurnal": {"per_s": 1, "swing": 0.8, "period": "3h", "peak_at": "90m"}})],
    },
    "flash crowd": {
        "duration": "2h",
        "warm_up": "10m",
        "functions": [{"name": "f", "takes": {"lognormal": {"median": "10s", "sigma": 0.8, "max": "2m"}}}],
        "workload": [
            work({"poisson": {"per_s": 1}}),
            *(work({"once": {"at": f"{at}m", "tasks": 2000}}) for at in (20, 55, 90)),
        ],
    },
    "heavy-tailed": {
        "duration": "4h",
        "warm_up": "15m",
        "functions": [{"name": "f", "takes": {"pareto": {"min": "1s", "alpha": 1.1, "max": "30m"}}}],
        "workload": [
            work({"poisson": {"per_s": 1}}),
            work({"bursts": {"per_s": 10, "lasts": "30s", "pauses": "10m"}}),
        ],
    },
}


def run(trace: str, policy: str) -> tuple[float, float, float]:
    """Node-hours, and the waits' p50 and p99 in seconds."""
    stated = {**COMMON, **TRACES[trace], "title": trace, "autoscaler": {"policy": policy, "machines": MACHINES}}
    report = simulate(parse_scenario(stated), Path(), MemoryTable())
    waits = report["tasks"]["wait_ms"]
    return report["fleet"]["node_hours"], waits["p50"] / 1000, waits["p99"] / 1000


def main(traces: list[str]) -> None:
    """A table; and of each trace, our node-hours beside those of each reference, the one with the shorter p99 first."""
    print(f"{'TRACE':14}{'POLICY':16}{'NODE-HOURS':>11}{'WAIT P50':>11}{'P99':>11}")
    ratios = []
    for trace in traces:
        found = {policy: run(trace, policy) for policy in POLICIES}
        for policy, (hours, p50, p99) in found.items():
            print(f"{trace:14}{policy:16}{hours:11.2f}{p50:10.3f}s{p99:10.3f}s", flush=True)
        own = found["backlog"]
        others = sorted(POLICIES[1:], key=lambda policy: (found[policy][2], found[policy][0]))
        ratios.append(own[0] / found[others[0]][0])
        print(f"{'':14}{'; '.join(compared(own, policy, found[policy]) for policy in others)}")
    print(f"geometric mean beside the ones with the shorter waits: {prod(ratios) ** (1 / len(ratios)):.1%}")


def compared(own: tuple[float, float, float], policy: str, other: tuple[float, float, float]) -> str:
    """How we did beside one of the others. Waits that differ by less than a turn of the dispatcher are the same."""
    waits = "shorter" if own[2] < other[2] - COMMIT_S else "longer" if own[2] > other[2] + COMMIT_S else "the same"
    worse = ", WORSE IN BOTH" if own[0] > other[0] and waits == "longer" else ""
    return f"{own[0] / other[0]:.0%} of {policy}'s node-hours, p99 {waits}{worse}"


if __name__ == "__main__":
    main(sys.argv[1:] or list(TRACES))
