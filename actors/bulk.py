"""The turns of bulk operations: a step of `operation_batch_max` tasks, then a pause as long as it took (`Pauses`)."""

from __future__ import annotations

from random import Random

from taskservice.actors.pauses import Pauses
from taskservice.core.events import OperationTurn
from taskservice.core.shard import Shard


class BulkTurns:
    """Those of one shard."""

    def __init__(self, shard: Shard, pauses: Pauses) -> None:
        self._shard = shard
        self._pauses = pauses

    def run_once(self, now_ms: int, rng: Random) -> int | None:
        """A step has been taken, if it is time for one. Gives when the next may be, on the wall clock; None: there is none."""
        if self._shard.operating:
            self._pauses.take_turn("bulk", lambda: self._shard.handle(OperationTurn(), now_ms, rng))
        return self._pauses.over_ms(now_ms) if self._shard.operating else None
