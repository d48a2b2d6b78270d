"""Which endpoints are to be told something, and when; those in trouble; and what callbacks are signed with.

What is owed is in the table (`deliveries`). Here is, for each endpoint to which anything is owed, when the first of it is due: so
what one endpoint is owed, however much, keeps no other one waiting.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from taskservice.core.deliveries import Endpoint, EndpointKey, SigningSecret
from taskservice.core.table import TaskTable
from taskservice.core.types import TenantId


@dataclass(slots=True)
class Outbox:
    """That of one shard."""

    troubled: dict[EndpointKey, Endpoint] = field(default_factory=dict)
    """Those that fail, or are disabled."""
    secrets: dict[TenantId, SigningSecret] = field(default_factory=dict)

    # What follows from the table.
    first_ms: dict[EndpointKey, int] = field(default_factory=dict)
    """When the first of what is owed to an endpoint is due."""
    _order: list[tuple[int, EndpointKey]] = field(default_factory=list)
    """The same, in the order of these times; without those that are disabled."""

    def endpoint(self, key: EndpointKey) -> Endpoint:
        """How the endpoint is."""
        return self.troubled.get(key) or Endpoint(*key)

    def is_disabled(self, key: EndpointKey) -> bool:
        return self.endpoint(key).disabled_ms is not None

    def set(self, endpoint: Endpoint) -> None:
        """The endpoint is like that."""
        key = endpoint.key
        first_ms = self.first_ms.get(key)
        self._leave(key)
        if endpoint == Endpoint(*key):
            self.troubled.pop(key, None)
        else:
            self.troubled[key] = endpoint
        self._enter(key, first_ms)

    def look_again(self, table: TaskTable, keys: Iterable[EndpointKey]) -> None:
        """What is owed to these endpoints is as the table says."""
        for key in keys:
            self._leave(key)
            self._enter(key, table.deliveries.next_ms(key))

    def due(self, now_ms: int) -> Iterator[EndpointKey]:
        """The endpoints that can be told something now, the one that waits for the longest first."""
        return (key for _, key in self._order[: bisect_left(self._order, (now_ms + 1,))])

    def next_ms(self, after_ms: int) -> int | None:
        """When an endpoint can be told something that cannot be by then; None: none will."""
        at = bisect_left(self._order, (after_ms + 1,))
        return self._order[at][0] if at < len(self._order) else None

    def _enter(self, key: EndpointKey, first_ms: int | None) -> None:
        if first_ms is not None:
            self.first_ms[key] = first_ms
            if not self.is_disabled(key):
                insort(self._order, (first_ms, key))

    def _leave(self, key: EndpointKey) -> None:
        first_ms = self.first_ms.pop(key, None)
        if first_ms is not None and not self.is_disabled(key):
            del self._order[bisect_left(self._order, (first_ms, key))]
