"""The part of the dispatcher that is counted, and tells what was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from taskservice.actors.commits import Commits
from taskservice.core.histogram import Histogram
from taskservice.core.metrics import MetricsAnswer, ShellMetrics, gather
from taskservice.core.shard import Shard

TURN_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Turns:
    """How long the turns of a loop took."""

    def __init__(self, clock_us: Callable[[], int] = lambda: time.perf_counter_ns() // 1_000) -> None:
        self.taken = Histogram(TURN_BOUNDS_S, 1_000_000)
        self._clock_us = clock_us

    def run(self, turn: Callable[[], object]) -> None:
        """The turn has been taken, and its time counted."""
        began_us = self._clock_us()
        turn()
        self.taken.observe(self._clock_us() - began_us)


async def metrics_of(shard: Shard, commits: Commits, turns: Turns, waits: int, now_ms: int) -> MetricsAnswer:
    """What there is to tell. The loop goes on between the steps of the count, each of which takes a few milliseconds."""
    steps = gather(shard.state, now_ms)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return MetricsAnswer(end.value, _shell(shard, commits, turns, waits))
        await asyncio.sleep(0)


def _shell(shard: Shard, commits: Commits, turns: Turns, waits: int) -> ShellMetrics:
    return ShellMetrics(
        commits.taken.data(),
        commits.segments.data(),
        shard.pending_records,
        commits.waited_s,
        turns.taken.data(),
        waits,
    )
