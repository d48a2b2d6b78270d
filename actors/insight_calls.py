"""The part of the dispatcher that explains, and is told how to treat functions, downstreams and classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from taskservice.core import events as e
from taskservice.core.backlog import BacklogAnswer, BacklogAsked
from taskservice.core.effects import DoneAnswer
from taskservice.core.insight import TimelineAnswer, TimelineAsked, UsageAnswer, UsageAsked, WhyAnswer, WhyAsked
from taskservice.core.specs import Policy
from taskservice.core.types import TaskId, TenantId

A = TypeVar("A")


class InsightCalls(ABC):
    """For a dispatcher to inherit."""

    @abstractmethod
    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        """The answer to an event, once all that it shows is durable."""

    async def why(self, tenant: TenantId, id: TaskId) -> WhyAnswer:
        """See `DispatcherPort`; so for all that follow."""
        return await self.ask(lambda ref: WhyAsked(ref, tenant, id), WhyAnswer)

    async def timeline(self, tenant: TenantId, id: TaskId) -> TimelineAnswer:
        return await self.ask(lambda ref: TimelineAsked(ref, tenant, id), TimelineAnswer)

    async def usage(self, tenant: TenantId | None) -> UsageAnswer:
        return await self.ask(lambda ref: UsageAsked(ref, tenant), UsageAnswer)

    async def backlog(self) -> BacklogAnswer:
        """What waits for machines, and what bounds it."""
        return await self.ask(BacklogAsked, BacklogAnswer)

    async def put_policy(self, policy: Policy) -> None:
        await self.ask(lambda ref: e.PolicyPut(ref, policy), DoneAnswer)
