"""Machines and runners for tests of the autoscaler."""

from __future__ import annotations

from taskservice.autoscaler.kinds import Kind
from taskservice.core.backlog import RunnerUse
from taskservice.core.types import RunnerId

CPU = Kind("cpu", (("CPU", 4000),), machines_max=10, starts_s=60.0)


def runner(name: str, kind: str = "cpu", leases: int = 0, busy_ms: int = 0, *, draining: bool = False) -> RunnerUse:
    labels = (("ray.io/node-group", kind),)
    return RunnerUse(RunnerId(name), name, (("CPU", 4000),), labels, draining, leases, busy_ms)
