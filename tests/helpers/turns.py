"""Several processes that use one store, whose calls are put into one order by a seed: the same seed, the same history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from taskservice.objects import ObjectInfo, ObjectStore

PATIENCE_S = 30.0
"""A process that neither calls nor ends for so long hangs."""


class Turns:
    """Threads that each wait for their turn before every call to the store. Only one is ever within a call."""

    def __init__(self, store: ObjectStore, rng: Random) -> None:
        self.store = store
        self.calls: list[str] = []
        """Whose they were, in order, and what."""
        self._rng = rng
        self._turn = threading.Condition()
        self._waiting: set[str] = set()
        self._granted = ""
        self._living: list[str] = []
        self._threads: list[threading.Thread] = []

    def add(self, name: str, life: Callable[[ObjectStore], None]) -> None:
        """A process that lives its life, which is given the store as it sees it."""

        def live() -> None:
            try:
                life(Turned(self, name))
            finally:
                with self._turn:
                    self._living.remove(name)
                    self._turn.notify_all()

        self._living.append(name)
        self._threads.append(threading.Thread(target=live, name=name, daemon=True))

    def run(self) -> None:
        """All have ended."""
        names = list(self._living)
        for thread in self._threads:
            thread.start()
        while names:
            name = self._rng.choice(names)
            # Several calls of one in a row are as likely as one: or nobody would ever get far while another stalls.
            for _ in range(self._rng.choice((1, 1, 2, 5, 20))):
                if not self._grant(name):
                    names.remove(name)
                    break
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _grant(self, name: str) -> bool:
        """The process has made one call; False if it has ended instead."""
        with self._turn:
            self._wait_for(lambda: name in self._waiting or name not in self._living, name)
            if name not in self._living:
                return False
            self._granted = name
            self._turn.notify_all()
            self._wait_for(lambda: not self._granted, name)
            return True

    def _wait_for(self, reached: Callable[[], bool], name: str) -> None:
        assert self._turn.wait_for(reached, PATIENCE_S), f"{name} hangs, after {self.calls}"

    def call(self, name: str, what: str, effect: Callable[[], Any]) -> Any:
        """The effect's answer, when it is this process's turn."""
        with self._turn:
            self._waiting.add(name)
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._granted == name)
            self._waiting.discard(name)
            try:
                self.calls.append(f"{name}: {what}")
                return effect()
            finally:
                self._granted = ""
                self._turn.notify_all()


class Turned:
    """The store as one process sees it."""

    def __init__(self, turns: Turns, name: str) -> None:
        self.url = turns.store.url
        self._turns = turns
        self._name = name

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        return self._turns.call(self._name, f"put {key}", lambda: self._turns.store.put_if_absent(key, data))

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._turns.call(self._name, f"get {key}", lambda: self._turns.store.get(key, start, end))

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        yield from self._turns.call(self._name, f"list {prefix}", lambda: list(self._turns.store.list(prefix, after)))

    def delete(self, keys: Sequence[str]) -> None:
        """One after another: others may see some of them gone and some not."""
        for key in keys:
            self._turns.call(self._name, f"delete {key}", lambda key=key: self._turns.store.delete([key]))

    def close(self) -> None:
        """Nothing to do."""
