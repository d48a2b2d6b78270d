"""A store through which nothing can be changed: for whoever looks at what is somebody else's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskservice.objects import ObjectInfo, ObjectStore, StoreRefused


class ReadOnlyObjects:
    """An `ObjectStore` that reads and lists what `store` has, and refuses the rest."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def trouble(self) -> str:
        return self._store.trouble

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        raise StoreRefused(f"{self.url} was opened to look only: {key} is not created.")

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._store.get(key, start, end)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix, after)

    def delete(self, keys: Sequence[str]) -> None:
        raise StoreRefused(f"{self.url} was opened to look only: nothing is deleted.")

    def close(self) -> None:
        self._store.close()
