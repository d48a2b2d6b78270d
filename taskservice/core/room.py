"""Why no runner has room for a lease: none is large enough, all are full, or what is free is kept for somebody else.

The same question as `Pool.place` answers, and in the same order, but asked without touching anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from taskservice.core.demand import Demand
from taskservice.core.flow.gate import Reason
from taskservice.core.pool import Pool
from taskservice.core.resources import fits, times
from taskservice.core.runner import Runner

NO_RUNNER = "no runner"


def suitable(pool: Pool, demand: Demand) -> list[Runner]:
    """The runners that could have such a lease if they were empty."""
    return [runner for runner in pool.runners.values() if runner.suits(demand)]


def slots(runners: Iterable[Runner], demand: Demand) -> int:
    """How many such leases these runners could have at once."""
    need = dict(demand.need)
    return sum(times(need, runner.capacity) for runner in runners)


def lacking(pool: Pool, demand: Demand, ahead_max: int, now_ms: int, lasts_ms: int | None) -> Reason | None:
    """What is missing for one such lease; None if it has room somewhere."""
    able = suitable(pool, demand)
    if not able:
        return _too_large(pool, demand)
    need = dict(demand.need)
    kept = [runner for runner in able if runner.reserved_for not in (None, demand)]
    free = [runner for runner in able if runner.fits(need) or runner.fits_behind(need, ahead_max)]
    for runner in free:
        if runner not in kept:
            return None
        if pool.reservations.by_runner[runner.id].admits(need, ahead_max, now_ms, lasts_ms):
            return None
    count = slots(able, demand)
    if free:
        return Reason("pool.reserved", count, count)
    own = [each.at_ms for each in pool.reservations.by_runner.values() if each.demand == demand]
    clears_ms = max(now_ms, min(own)) if own else None
    return Reason("pool.room", count, count, clears_ms, cause=_scarce(able, demand))


def _too_large(pool: Pool, demand: Demand) -> Reason:
    """No runner could have it, whatever else runs."""
    open_runners = [runner for runner in pool.runners.values() if not runner.draining]
    if not open_runners:
        return Reason("pool.too_large", 0, 0, cause=NO_RUNNER)
    for kind, amount in demand.need:
        most = max(runner.capacity.get(kind, 0) for runner in open_runners)
        if most < amount:
            return Reason("pool.too_large", most, amount, cause=kind)
    return Reason("pool.too_large", 0, 0, cause="labels" if demand.labels else "all at once")


def _scarce(runners: Iterable[Runner], demand: Demand) -> str:
    """The resource that is missing on most of the runners."""
    missing = Counter(
        kind
        for runner in runners
        for kind, amount in demand.need
        if not fits({kind: amount}, runner.used, runner.capacity)
    )
    return missing.most_common(1)[0][0] if missing else ""
