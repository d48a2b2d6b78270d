"""Objects in RAM, for simulations and tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from taskservice.objects import NoSuchObject, ObjectInfo
from taskservice.objects.keys import check_key, check_prefix, check_range


class MemoryObjects:
    """An `ObjectStore` that lives as long as this object. Its clock is a count of the objects ever created."""

    url = "memory:"
    trouble = ""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._created = 0
        self._lock = threading.Lock()

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        check_key(key)
        with self._lock:
            there = self._objects.get(key)
            if there is not None:
                return None if there[0] == data else there[0]
            self._created += 1
            self._objects[key] = (bytes(data), self._created)
            return None

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        check_range(start, end)
        there = self._objects.get(check_key(key))
        if there is None:
            raise NoSuchObject(f"there is no object {key}")
        return there[0][start:end]

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        check_prefix(after)
        with self._lock:
            keys = sorted(key for key in self._objects if key.startswith(prefix) and key > after)
            found = [ObjectInfo(key, len(self._objects[key][0]), self._objects[key][1]) for key in keys]
        yield from found

    def delete(self, keys: Sequence[str]) -> None:
        gone = [check_key(key) for key in keys]
        with self._lock:
            for key in gone:
                self._objects.pop(key, None)

    def close(self) -> None:
        """Nothing to do."""
