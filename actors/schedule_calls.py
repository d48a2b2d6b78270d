"""The part of the dispatcher that speaks of schedules: each call is one question to the shard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from taskservice.core import events as e
from taskservice.core.effects import ScheduleAnswer, SchedulesAnswer
from taskservice.core.schedules import ScheduleId, ScheduleKey, ScheduleSpec
from taskservice.core.types import TenantId

A = TypeVar("A")


class ScheduleCalls(ABC):
    """For a dispatcher to inherit."""

    @abstractmethod
    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        """The answer to an event, once all that it shows is durable."""

    async def put_schedule(
        self, tenant: TenantId, id: ScheduleId, spec: ScheduleSpec, version: int | None
    ) -> ScheduleAnswer:
        """See `DispatcherPort`; so for all that follow."""
        return await self.ask(lambda ref: e.SchedulePut(ref, tenant, id, spec, version), ScheduleAnswer)

    async def remove_schedule(self, tenant: TenantId, id: ScheduleId) -> ScheduleAnswer:
        return await self.ask(lambda ref: e.ScheduleRemoveAsked(ref, tenant, id), ScheduleAnswer)

    async def schedule(self, tenant: TenantId, id: ScheduleId) -> ScheduleAnswer:
        return await self.ask(lambda ref: e.ScheduleAsked(ref, tenant, id), ScheduleAnswer)

    async def schedules(self, tenant: TenantId | None, after: ScheduleKey | None, limit: int) -> SchedulesAnswer:
        return await self.ask(lambda ref: e.SchedulesListed(ref, tenant, after, limit), SchedulesAnswer)
