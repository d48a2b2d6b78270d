"""Keys in order, where almost all come at the end and go at the beginning: no move of the rest for either."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=tuple[Any, ...])

SPARE_MAX = 64
"""Places of gone keys at the beginning of the list that are left alone, however short it is."""


class Ordered(Generic[K]):
    """Keys, each once, in ascending order. Adding at the end and removing the first take the same time however many there
    are; elsewhere it is a binary search and one move of memory."""

    __slots__ = ("_begin", "_keys")

    def __init__(self) -> None:
        self._keys: list[K] = []
        self._begin = 0
        """The place of the first; what is before it is gone."""

    def copy(self) -> Ordered[K]:
        twin = Ordered[K]()
        twin._keys, twin._begin = list(self._keys), self._begin
        return twin

    def add(self, key: K) -> None:
        """The key, which is not there, is."""
        keys = self._keys
        if len(keys) == self._begin or key > keys[-1]:
            keys.append(key)
        else:
            insort(keys, key, self._begin)

    def remove(self, key: K) -> None:
        """The key, which is there, is not any more."""
        keys, begin = self._keys, self._begin
        if keys[begin] != key:
            del keys[bisect_left(keys, key, begin)]
            return
        self._begin = begin = begin + 1
        if begin > SPARE_MAX and 2 * begin > len(keys):
            del keys[:begin]
            self._begin = 0

    @property
    def first(self) -> K | None:
        """The least key; None if there is none."""
        return self._keys[self._begin] if self._begin < len(self._keys) else None

    def within(self, low: tuple[Any, ...] | None, high: tuple[Any, ...] | None, limit: int) -> list[K]:
        """The keys from `low` on and below `high`, the least first. Both may be the beginning of a key; None: no bound."""
        keys, begin = self._keys, self._begin
        start = begin if low is None else bisect_left(keys, low, begin)
        end = len(keys) if high is None else bisect_left(keys, high, start)
        return keys[start : min(end, start + limit)]
