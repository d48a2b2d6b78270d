"""Whoever starts machines, and whoever knows the runners on them, as the autoscaler uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from taskservice.core.types import RunnerId


class Provider(Protocol):
    """Starts machines and ends them. Raises BackOffError while it cannot be asked."""

    async def request(self, machines: Mapping[str, int]) -> None:
        """So many of each kind are kept up from now on: missing ones are started. None is ended by this."""

    async def release(self, node: str) -> None:
        """The machine, on which nothing of ours runs, may be ended."""


class Runners(Protocol):
    """The runners of a service."""

    def retire(self, id: RunnerId) -> None:
        """The runner gets no more work; nothing happens if it is not there."""

    async def end(self, id: RunnerId) -> None:
        """The runner, which has no work, is ended, and its machine gets no other one for a while."""
