"""The part of the dispatcher that speaks of callbacks: each call is one question to the shard, or a wait for news."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from taskservice.actors.notifier import Notifier
from taskservice.core import callback_events as ce
from taskservice.core import events as e
from taskservice.core.effects import DoneAnswer
from taskservice.core.types import TaskId, TenantId

A = TypeVar("A")


class CallbackCalls(ABC):
    """For a dispatcher to inherit."""

    _notifier: Notifier

    @abstractmethod
    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        """The answer to an event, once all that it shows is durable."""

    async def callbacks(self, limit: int, busy: Sequence[ce.Busy]) -> ce.CallbacksAnswer:
        """See `DispatcherPort`; so for all that follow."""
        return await self.ask(lambda ref: ce.CallbacksAsked(ref, limit, tuple(busy)), ce.CallbacksAnswer)

    async def callbacks_attempted(self, attempts: Sequence[ce.Attempted]) -> None:
        await self.ask(lambda ref: ce.CallbacksAttempted(ref, tuple(attempts)), DoneAnswer)

    async def callbacks_owed(self, known_version: int, wait_s: float) -> int:
        await self._notifier.owed.other_than(known_version, wait_s)
        return self._notifier.owed.version

    async def deliveries(self, tenant: TenantId, id: TaskId) -> ce.DeliveriesAnswer:
        return await self.ask(lambda ref: ce.DeliveriesAsked(ref, tenant, id), ce.DeliveriesAnswer)

    async def redeliver(self, tenant: TenantId, id: TaskId) -> ce.DeliveriesAnswer:
        return await self.ask(lambda ref: ce.RedeliveryAsked(ref, tenant, id), ce.DeliveriesAnswer)

    async def endpoints(self, tenant: TenantId | None) -> ce.EndpointsAnswer:
        return await self.ask(lambda ref: ce.EndpointsAsked(ref, tenant), ce.EndpointsAnswer)

    async def enable_endpoint(self, tenant: TenantId, origin: str) -> ce.EndpointsAnswer:
        return await self.ask(lambda ref: ce.EndpointEnabled(ref, tenant, origin), ce.EndpointsAnswer)

    async def put_secret(self, tenant: TenantId, secret: bytes, rotate: bool) -> ce.SecretAnswer:
        return await self.ask(lambda ref: ce.SecretPut(ref, tenant, secret, rotate), ce.SecretAnswer)
