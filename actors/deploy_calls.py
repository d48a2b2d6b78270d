"""The part of the dispatcher that speaks of versions of apps: each call is one question to the shard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from taskservice.core import events as e
from taskservice.core.deploying import (
    AppDeployed,
    AppsAnswer,
    AppsAsked,
    RolloutAnswer,
    RolloutAsked,
    RolloutMove,
)
from taskservice.core.specs import Bundle, FunctionSpec

A = TypeVar("A")


class DeployCalls(ABC):
    """For a dispatcher to inherit."""

    @abstractmethod
    async def ask(self, make: Callable[[int], e.Event], kind: type[A]) -> A:
        """The answer to an event, once all that it shows is durable."""

    async def deploy(
        self, app: str, bundle: Bundle, functions: Sequence[FunctionSpec], share: float = 1.0
    ) -> RolloutAnswer:
        """See `DispatcherPort`; so for all that follow."""
        return await self.ask(lambda ref: AppDeployed(ref, app, bundle, tuple(functions), share), RolloutAnswer)

    async def roll(self, app: str, move: RolloutMove, version: int = 0) -> RolloutAnswer:
        return await self.ask(lambda ref: RolloutAsked(ref, app, move, version), RolloutAnswer)

    async def apps(self, app: str | None = None) -> AppsAnswer:
        return await self.ask(lambda ref: AppsAsked(ref, app), AppsAnswer)

    async def code_referred(self, keys: Sequence[str]) -> list[str]:
        """Those of these archives that some version names."""
        found = await self.apps()
        named = {status.version.bundle.key for app in found.apps for status in app.versions}
        return [key for key in keys if key in named]
