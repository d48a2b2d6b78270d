"""The turns of bulk operations: a step of `operation_batch_max` tasks, then a pause of `PAUSE_RATIO` times what it took.

So submits, reports and leases wait for one step at most, and have at least half of the dispatcher's time between them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random

from taskservice.core.events import OperationTurn
from taskservice.core.shard import Shard

PAUSE_RATIO = 1.0
PUT_OFF_S = 0.001
"""So that others have a turn before."""


class BulkTurns:
    """Belongs to one event loop. `wake` asks for a turn of the dispatcher, in which `run_once` is called."""

    def __init__(self, shard: Shard, wake: Callable[[], None], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._shard = shard
        self._wake = wake
        self._clock_s = clock_s
        self._next_s = 0.0
        """When the next step may be taken."""
        self._timer: asyncio.TimerHandle | None = None

    def run_once(self, now_ms: int, rng: Random) -> bool:
        """A step has been taken, if it is time for one; there will be a turn for the next. Gives whether it has."""
        if not self._shard.operating:
            return False
        began_s = self._clock_s()
        stepped = began_s >= self._next_s
        if stepped:
            self._shard.handle(OperationTurn(), now_ms, rng)
            ended_s = self._clock_s()
            self._next_s = ended_s + PAUSE_RATIO * (ended_s - began_s)
            began_s = ended_s
        if self._shard.operating:
            self.stop()
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self._next_s - began_s), self._wake)
        return stepped

    def put_off(self) -> None:
        """This turn has had enough to do: the next step is not taken in it."""
        self._next_s = max(self._next_s, self._clock_s() + PUT_OFF_S)

    def stop(self) -> None:
        """Nobody is woken any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
