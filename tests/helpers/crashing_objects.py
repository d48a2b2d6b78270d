"""A store as one process sees it, which dies, stalls, or loses an answer at one of its calls.

All calls are numbered. To enumerate what may go wrong in a workload, run it once to count them, and then once for each
number and each fate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from taskservice.objects import ObjectInfo, ObjectStore, StoreUnavailable

Effect = Callable[[], Any]
"""What a call does to the store; gives its answer."""


class Died(BaseException):
    """The process is no more; nothing in it catches this."""


class Call(NamedTuple):
    """One call that was made."""

    verb: str
    key: str

    @property
    def changes(self) -> bool:
        """Whether it may change the store."""
        return self.verb in {"put", "delete"}


class CrashingObjects:
    """An `ObjectStore` over another one. At call number `at` (from 0) comes `fate`: a function of this and the effect."""

    def __init__(self, store: ObjectStore, fate: Callable[[CrashingObjects, Effect], Any] | None = None, at: int = -1):
        self.url = store.url
        self.trouble = ""
        self.calls: list[Call] = []
        self.later: list[Effect] = []
        """Calls that are still on their way, though nobody waits for them."""
        self._store = store
        self._fate = fate
        self._at = at
        self._turn = threading.Condition()
        self._dead = False
        self._held: list[str] = []
        self._arrived: set[str] = set()

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        return self._call("put", key, lambda: self._store.put_if_absent(key, data))

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._call("get", key, lambda: self._store.get(key, start, end))

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        yield from self._call("list", prefix, lambda: list(self._store.list(prefix, after)))

    def delete(self, keys: Sequence[str]) -> None:
        """One after another: a request that removes several may be cut short between any two."""
        for key in keys:
            self._call("delete", key, lambda key=key: self._store.delete([key]))

    def close(self) -> None:
        """Nothing to do."""

    def in_order(self, keys: Sequence[str]) -> None:
        """The next puts of these keys get to the store in this order, and only when all are under way."""
        self._held, self._arrived = list(keys), set()

    def die(self) -> None:
        """No call of this process gets through any more."""
        with self._turn:
            self._dead = True
            self._turn.notify_all()

    def _call(self, verb: str, key: str, effect: Effect) -> Any:
        held = verb == "put" and key in self._held
        with self._turn:
            self._arrived.add(key)
            self._turn.notify_all()
            if held:
                self._turn.wait_for(lambda: self._dead or (self._arrived >= {*self._held} and self._held[0] == key))
            if self._dead:
                raise Died
            number = len(self.calls)
            self.calls.append(Call(verb, key))
        try:
            return self._fate(self, effect) if self._fate is not None and number == self._at else effect()
        finally:
            with self._turn:
                if held:
                    self._held.remove(key)
                self._turn.notify_all()


# Fates. `meanwhile` is what others do while this process, or its call, is held up.


def dies_before(process: CrashingObjects, effect: Effect) -> None:
    process.die()
    raise Died


def dies_without_an_answer(process: CrashingObjects, effect: Effect) -> None:
    effect()
    process.die()
    raise Died


def loses_the_answer(process: CrashingObjects, effect: Effect) -> None:
    effect()
    raise StoreUnavailable("the answer was lost")


def is_late_and_repeated(process: CrashingObjects, effect: Effect) -> None:
    """The first copy of the call arrives at the very end; see `later`."""
    process.later.append(effect)
    raise StoreUnavailable("no answer yet")


def dies_and_is_late(meanwhile: Callable[[], None]) -> Callable[[CrashingObjects, Effect], None]:
    """The process is gone, and its last call takes effect later."""

    def fate(process: CrashingObjects, effect: Effect) -> None:
        process.die()
        meanwhile()
        effect()
        raise Died

    return fate


def stalls_before(meanwhile: Callable[[], None]) -> Callable[[CrashingObjects, Effect], Any]:
    """The process is suspended, or its call on its way, and then it goes on."""

    def fate(process: CrashingObjects, effect: Effect) -> Any:
        meanwhile()
        return effect()

    return fate


def stalls_after(meanwhile: Callable[[], None]) -> Callable[[CrashingObjects, Effect], Any]:
    """The answer is long on its way, and then the process goes on."""

    def fate(process: CrashingObjects, effect: Effect) -> Any:
        answer = effect()
        meanwhile()
        return answer

    return fate
