"""Whether a store keeps the one promise that all else stands on: that of several creators of one key, one succeeds."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from taskservice.objects import ObjectStore, StoreRefused

CREATORS = 8
ROUNDS_MAX = 5
NO_ROUND_AFTER_S = 1.0
"""A store that ignores the condition fails the first round. One that looks first and writes then, in two steps, passes a
round if each of the 8 happens to look after the first has written: so there are several. But a store that takes long
over a round is one that makes the 8 wait for each other (SeaweedFS: seconds), and starts should not."""


@dataclass(frozen=True)
class Latencies:
    """How long calls took, in milliseconds, in the order in which they were made. Small objects, from this machine."""

    create_ms: list[float] = field(default_factory=list)
    """One creator alone."""
    contended_ms: list[float] = field(default_factory=list)
    """The slowest of 8 creators of one key at once, a number for each round."""
    read_ms: list[float] = field(default_factory=list)
    list_ms: list[float] = field(default_factory=list)
    delete_ms: list[float] = field(default_factory=list)


def probe(store: ObjectStore, *, clock: Callable[[], float] = time.perf_counter) -> Latencies:
    """The store refuses a second creation, also in a race, and reads, lists and deletes what was created.

    It holds what it held before. Raises StoreRefused if it does not keep its promise, or allows it less; and
    StoreUnavailable if it is not there.
    """
    latencies = Latencies()
    folder = f"probe/{secrets.token_hex(8)}"
    keys = [f"{folder}/0"]
    try:
        with _timed(latencies.create_ms, clock):
            _expect(store, store.put_if_absent(keys[0], b"first"), None)
        _expect(store, store.put_if_absent(keys[0], b"second"), b"first")
        _expect(store, store.put_if_absent(keys[0], b"first"), None)
        with ThreadPoolExecutor(CREATORS, thread_name_prefix="probe") as pool:
            for there in pool.map(
                store.get, keys * CREATORS
            ):  # and connections are open, which would spread the racers
                _expect(store, there, b"first")
            no_round_after = clock() + NO_ROUND_AFTER_S
            while len(keys) <= ROUNDS_MAX and clock() < no_round_after:
                keys.append(f"{folder}/{len(keys)}")
                with _timed(latencies.contended_ms, clock):
                    winner = _race(store, keys[-1], pool)
                with _timed(latencies.read_ms, clock):
                    _expect(store, store.get(keys[-1]), winner)
        with _timed(latencies.list_ms, clock):
            listed = [found.key for found in store.list(f"{folder}/")]
        if listed != sorted(keys):
            raise StoreRefused(f"{store.url} does not list what was just created there: it cannot hold this state.")
    finally:
        with _timed(latencies.delete_ms, clock):
            store.delete(keys)
    return latencies


def _race(store: ObjectStore, key: str, pool: ThreadPoolExecutor) -> bytes:
    """What the one creator that succeeded has put there."""
    start = threading.Barrier(CREATORS)
    offers = [f"{key} {number} {secrets.token_hex(8)}".encode() for number in range(CREATORS)]

    def create(offer: bytes) -> bytes | None:
        start.wait()
        return store.put_if_absent(key, offer)

    seen = list(pool.map(create, offers))
    winners = [offer for offer, there in zip(offers, seen, strict=True) if there is None]
    if len(winners) != 1:
        raise StoreRefused(_broken(store, f"{len(winners)} of {CREATORS} that created one object at once were told so"))
    for there in filter(None, seen):
        _expect(store, there, winners[0])
    return winners[0]


def _expect(store: ObjectStore, there: bytes | None, expected: bytes | None) -> None:
    if there != expected:
        raise StoreRefused(_broken(store, f"after a creation, {there!r:.60} was found instead of {expected!r:.60}"))


def _broken(store: ObjectStore, what: str) -> str:
    return (
        f"{store.url} does not keep its promise about conditional writes (If-None-Match: *): {what}. Two services could "
        "both take themselves for the owner of the state, and overwrite each other's. Use a store, or a version of it, "
        "that creates an object only if there is none; a bucket with versions or a proxy in between may be the cause, too."
    )


@contextmanager
def _timed(into: list[float], clock: Callable[[], float]) -> Iterator[None]:
    """How long it took is added, if it succeeded."""
    begun = clock()
    yield
    into.append((clock() - begun) * 1000)
