"""The loop: looks at the backlog, asks the policy, and sees to it that machines come and go.

    look -> plan -> retire what is not wanted: no more work for its runner -> its leases are over -> end the runner
                 -> request what is wanted, and what has not left yet -> release the machines of those that were ended

So no machine is taken from a task. A runner is an actor, and Ray keeps a machine with an actor for ever: it has to go first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from taskservice.autoscaler.plan import Leaving, Plan, Policy
from taskservice.autoscaler.provider import Provider, Runners
from taskservice.core.backlog import BacklogAnswer
from taskservice.core.types import RunnerId
from taskservice.errors import BackOffError

log = logging.getLogger(__name__)

BUSY_RATIO_MAX = 0.05
"""The part of its time that the dispatcher is asked for: with very many tenants the looks become fewer."""


class ScaleCounts(NamedTuple):
    """What one turn did."""

    requested: int
    """Machines that are to be up."""
    retired: int
    """Runners that get no more work, from this turn on."""
    ended: int
    """Those of them, or of others before, that were ended."""


class Autoscaler:
    """As many machines as the policy says."""

    def __init__(
        self,
        look: Callable[[], Awaitable[BacklogAnswer]],
        policy: Policy,
        provider: Provider,
        runners: Runners,
        interval_s: float = 1.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look`: what the shard says of its backlog."""
        self.plan = Plan()
        """What the policy said last."""
        self._look = look
        self._policy = policy
        self._provider = provider
        self._runners = runners
        self._interval_s = interval_s
        self._now_s = now_s
        self._retired: dict[RunnerId, Leaving] = {}

    async def run(self) -> None:
        """`run_once` every `interval_s`; for ever."""
        while True:
            began_s = self._now_s()
            try:
                await self.run_once()
            except BackOffError as error:
                log.warning("the autoscaler gets no answer, trying on: %s", error)
            took_s = self._now_s() - began_s
            await asyncio.sleep(max(self._interval_s - took_s, took_s * (1 / BUSY_RATIO_MAX - 1)))

    async def run_once(self) -> ScaleCounts:
        """What is wanted is requested, what is not wanted gets no more work, and what has none left is gone."""
        answer = await self._look()
        before, self.plan = self.plan, self._policy.plan(answer, self._now_s())
        self._tell(before)
        for leaving in self.plan.retire:
            self._retired[leaving.runner] = leaving
            self._runners.retire(leaving.runner)
        gone = [one for one in answer.runners if one.id in self._retired and one.draining and not one.leases]
        for one in gone:  # it was known to drain, and gets no more: an empty one stays empty
            await self._runners.end(one.id)
        requested = {kind.kind: kind.wanted + kind.leaving for kind in self.plan.kinds}
        for one in gone:
            requested[self._retired[one.id].kind] -= 1
        await self._provider.request(requested)
        await self._release(answer, [one.id for one in gone])
        return ScaleCounts(sum(requested.values()), len(self.plan.retire), len(gone))

    async def close(self) -> None:
        """Nothing is requested any more."""
        await self._provider.request({})

    async def _release(self, answer: BacklogAnswer, ended: list[RunnerId]) -> None:
        """The machines of runners that left are released, now that they are not requested any more."""
        there = {one.id for one in answer.runners}.difference(ended)
        for runner in [runner for runner in self._retired if runner not in there]:
            await self._provider.release(self._retired.pop(runner).node)

    def _tell(self, before: Plan) -> None:
        known = {kind.kind: kind.wanted for kind in before.kinds}
        for kind in self.plan.kinds:
            if known.get(kind.kind, 0) != kind.wanted:
                log.info("machines of %s: %d wanted, %d there: %s", kind.kind, kind.wanted, kind.there, kind.why)
