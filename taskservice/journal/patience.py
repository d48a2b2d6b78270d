"""Calls to a store that are repeated until it answers: for work in the background, which may wait but not fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TypeVar

from taskservice.objects import ObjectInfo, ObjectStore, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
WARN_INTERVAL = 12
"""So many failed attempts between two lines in our own log."""


class Stopped(Exception):
    """The work was given up because this process was told to stop. Whether its last write has happened is unknown."""


class PatientObjects:
    """An `ObjectStore` whose calls wait while the store is away, and then raise Stopped if `stop` is set.

    Everything else that the store raises is raised. Counts what it does; may be used by several threads.
    """

    def __init__(self, store: ObjectStore, stop: threading.Event, *, pause_s_max: float = 5.0) -> None:
        self.url = store.url
        self.trouble = ""
        """Why calls do not get through at the moment; empty while they do."""
        self.requests = 0
        self.bytes_put = 0
        self.bytes_got = 0
        self._store = store
        self._stop = stop
        self._pause_s_max = pause_s_max
        self._jitter = Random()
        self._lock = threading.Lock()

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        """As the store's. The same bytes go to the same key until it is known what became of them."""
        answer = self.patiently(key, lambda: self._store.put_if_absent(key, data))
        with self._lock:
            self.bytes_put += len(data)
        return answer

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """As the store's."""
        data = self.patiently(key, lambda: self._store.get(key, start, end))
        with self._lock:
            self.bytes_got += len(data)
        return data

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """As the store's; the whole listing is in RAM before the first is given."""
        yield from self.patiently(prefix, lambda: list(self._store.list(prefix, after)))

    def delete(self, keys: Sequence[str]) -> None:
        """As the store's."""
        if keys:
            self.patiently(keys[0], lambda: self._store.delete(keys))

    def close(self) -> None:
        """Nothing: the store belongs to whoever opened it."""

    def patiently(self, what: str, call: Callable[[], T]) -> T:
        """What the call gives. It is repeated while it raises StoreUnavailable; `what` names it in the log."""
        attempts = 0
        while True:
            if self._stop.is_set():
                raise Stopped(f"{self.url}: {what}: this process is stopping.")
            with self._lock:
                self.requests += 1
            try:
                answer = call()
            except StoreUnavailable as error:
                self.trouble = str(error)
                attempts += 1
                if attempts % WARN_INTERVAL == 1:
                    log.warning("%s: %s cannot be reached, trying on: %s", self.url, what, error)
                self._stop.wait(self._jitter.random() * min(self._pause_s_max, 0.1 * 2.0 ** min(attempts, 10)))
            else:
                self.trouble = ""
                return answer
