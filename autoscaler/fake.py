"""A provider in memory: machines come when they are let, and go when they are released."""

from __future__ import annotations

from collections.abc import Mapping


class FakeProvider:
    """What was asked of it, for whoever wants to see."""

    def __init__(self) -> None:
        self.requested: dict[str, int] = {}
        self.up: dict[str, str] = {}
        """Kind by machine."""
        self._made = 0

    async def request(self, machines: Mapping[str, int]) -> None:
        """See `Provider`."""
        self.requested = dict(machines)

    async def release(self, node: str) -> None:
        """See `Provider`."""
        self.up.pop(node, None)

    def start(self) -> list[str]:
        """All that are missing are up; gives their names."""
        started: list[str] = []
        for kind, wanted in self.requested.items():
            for _ in range(wanted - list(self.up.values()).count(kind)):
                self._made += 1
                started.append(f"{kind}-{self._made}")
                self.up[started[-1]] = kind
        return started
