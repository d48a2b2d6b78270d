"""Stores that are away for a while, refuse, or were tampered with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from taskservice.objects import StoreRefused, StoreUnavailable
from taskservice.objects.memory import MemoryObjects


class UnreliableObjects(MemoryObjects):
    """Objects in RAM whose next calls fail as often as is said. Counts what gets through."""

    def __init__(self) -> None:
        super().__init__()
        self.away = 0
        self.refusing: set[str] = set()
        """Verbs that are refused."""
        self.done: Counter[str] = Counter()

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        self._fail("put")
        return super().put_if_absent(key, data)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self._fail("get")
        return super().get(key, start, end)

    def delete(self, keys: Sequence[str]) -> None:
        self._fail("delete")
        super().delete(keys)

    def keys(self, prefix: str = "") -> list[str]:
        return [info.key for info in self.list(prefix)]

    def replace(self, key: str, data: bytes) -> None:
        """As nobody may: the object holds something else now."""
        assert key in self._objects
        self._objects[key] = (data, 0)

    def _fail(self, verb: str) -> None:
        with self._lock:
            if self.away:
                self.away -= 1
                raise StoreUnavailable("the store is away")
        if verb in self.refusing:
            raise StoreRefused(f"no access: {verb}")
        self.done[verb] += 1
