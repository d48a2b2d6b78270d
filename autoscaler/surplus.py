"""Which machines go when there are too many: those that are soonest free, with the least work to wait for. None is taken from its tasks:
it gets no more of them, and goes when those that it has are over."""

from __future__ import annotations

from collections.abc import Iterable

from taskservice.core.backlog import RunnerUse


def surplus(runners: Iterable[RunnerUse], wanted: int, drain_s_max: float) -> list[RunnerUse]:
    """Of these runners, those to retire so that no more than `wanted` are left; fewer if the others are busy for longer than
    `drain_s_max`: they would be paid for and take no work."""
    staying = [runner for runner in runners if not runner.draining]
    soonest = sorted(staying, key=lambda runner: (runner.leases, runner.busy_ms))
    free = [runner for runner in soonest if not runner.leases or runner.busy_ms <= drain_s_max * 1000]
    return free[: max(0, len(staying) - wanted)]
