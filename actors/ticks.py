"""The ticks of a dispatcher: what is due by the clock happens, so many tasks at a time, with pauses between.

A million tasks that fall due, expire or are resumed at the same moment are a thousand ticks. Each is followed by a pause as long
as it took (`Pauses`), so nobody waits for more than one of them.
"""

from __future__ import annotations

from random import Random

from taskservice.actors.pauses import Pauses
from taskservice.core.events import Ticked
from taskservice.core.shard import Shard
from taskservice.core.ticks import next_tick_ms


class Ticks:
    """Those of one shard."""

    def __init__(self, shard: Shard, pauses: Pauses) -> None:
        self._shard = shard
        self._pauses = pauses

    def run_once(self, now_ms: int, rng: Random, *, may: bool) -> int | None:
        """What was due by the clock has happened, or a part of it if that is much, or nothing in a pause or if it may not.

        Gives when there may be a tick to run again, on the wall clock; None: nothing waits for the clock, or it may not happen
        and whoever says so calls again when it may.
        """
        next_ms = next_tick_ms(self._shard.state)
        if next_ms is None or next_ms > now_ms:
            return next_ms
        if not may:
            return None
        if not self._pauses.take_turn("ticks", lambda: self._shard.handle(Ticked(), now_ms, rng)):
            return self._pauses.over_ms(now_ms)
        next_ms = next_tick_ms(self._shard.state)
        return None if next_ms is None else max(next_ms, self._pauses.over_ms(now_ms))
