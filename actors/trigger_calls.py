"""The part of the dispatcher that speaks of triggers: each call is one question to the shard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from taskservice.core import events as e
from taskservice.core import trigger_events as te
from taskservice.core.triggers import TriggerId, TriggerKey, TriggerSpec
from taskservice.core.types import TenantId

A = TypeVar("A")


class TriggerCalls(ABC):
    """For a dispatcher to inherit."""

    @abstractmethod
    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        """The answer to an event, once all that it shows is durable."""

    async def put_trigger(self, tenant: TenantId, id: TriggerId, spec: TriggerSpec) -> te.TriggerAnswer:
        """See `DispatcherPort`; so for all that follow."""
        return await self.ask(lambda ref: te.TriggerPut(ref, tenant, id, spec), te.TriggerAnswer)

    async def remove_trigger(self, tenant: TenantId, id: TriggerId) -> te.TriggerAnswer:
        return await self.ask(lambda ref: te.TriggerRemoveAsked(ref, tenant, id), te.TriggerAnswer)

    async def trigger(self, tenant: TenantId, id: TriggerId) -> te.TriggerAnswer:
        return await self.ask(lambda ref: te.TriggerAsked(ref, tenant, id), te.TriggerAnswer)

    async def triggers(self, tenant: TenantId | None, after: TriggerKey | None, limit: int) -> te.TriggersAnswer:
        return await self.ask(lambda ref: te.TriggersListed(ref, tenant, after, limit), te.TriggersAnswer)

    async def triggers_met(self, tenant: TenantId, types: list[str]) -> te.TriggersAnswer:
        return await self.ask(lambda ref: te.TriggersMet(ref, tenant, tuple(types)), te.TriggersAnswer)
