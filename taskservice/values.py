"""Payloads and results that are too large for the journal: each an object of its own, below the state directory.

    value/dt=2026-02-03/<32 random hex digits>     the JSON text as it is, written once

Gateways write payloads and the supervisors of leases results, before anybody is told of them; whoever needs one fetches
it by its reference (`core.values`), which also says what must be found there. All calls block, and may come from
several threads at once; the store is opened, and boto3 imported, by the first one.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random
from typing import TypeVar

from taskservice.core.values import PREFIX, ValueRef, is_value_key
from taskservice.objects import NoSuchObject, ObjectStore, StoreError
from taskservice.objects.location import open_objects
from taskservice.objects.retry import Backoff

PART_BYTES = 1 << 20
"""What is read at a time where a value is wanted in parts."""

T = TypeVar("T")


class ValuesAway(Exception):
    """The store cannot do it at the moment; the message says why. Whether a write has happened is unknown."""


class ValueLost(Exception):
    """The object is gone, or is not what was written: no later call can help."""


class Values:
    """The values of one state directory."""

    def __init__(
        self, open_store: Callable[[], ObjectStore], now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._open_store = open_store
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._store: ObjectStore | None = None

    def write(self, text: bytes) -> ValueRef:
        """The value is durable, under a key that nobody can guess. Raises ValuesAway."""
        day = datetime.fromtimestamp(self._now_ms() / 1000, UTC).strftime("%Y-%m-%d")
        ref = ValueRef(f"{PREFIX}dt={day}/{uuid.uuid4().hex}", len(text), hashlib.sha256(text).digest())
        with _as_away():
            there = self._opened().put_if_absent(ref.key, text)
        assert there is None, "a key that was never used before"
        return ref

    def read(self, ref: ValueRef) -> bytes:
        """The value, which is what was written. Raises ValuesAway or ValueLost."""
        with _as_away():
            text = self._get(ref, 0, ref.size_bytes + 1)
        if len(text) != ref.size_bytes or hashlib.sha256(text).digest() != ref.sha256:
            raise _another(ref)
        return text

    def parts(self, ref: ValueRef) -> Iterator[bytes]:
        """The value, part by part. Raises ValuesAway or ValueLost, the latter at the latest instead of giving the last part:
        so whoever has them all has what was written."""
        digest = hashlib.sha256()
        for start in range(0, ref.size_bytes, PART_BYTES):
            end = min(start + PART_BYTES, ref.size_bytes)
            is_last = end == ref.size_bytes
            with _as_away():
                part = self._get(ref, start, end + is_last)
            digest.update(part)
            if len(part) != end - start or (is_last and digest.digest() != ref.sha256):
                raise _another(ref)
            yield part

    def remove(self, keys: Sequence[str]) -> None:
        """There are no values of these keys. Raises ValuesAway; then some may be there."""
        others = [key for key in keys if not is_value_key(key)]
        assert not others, f"no values: {others[:3]}"
        with _as_away():
            self._opened().delete(keys)

    def older_than(self, before_ms: int) -> Iterator[str]:
        """The keys of the values that were written before then, by the store's clock. Raises ValuesAway."""
        with _as_away():
            for found in self._opened().list(PREFIX):
                if found.modified_ms < before_ms and is_value_key(found.key):
                    yield found.key

    def _get(self, ref: ValueRef, start: int, end: int) -> bytes:
        try:
            return self._opened().get(ref.key, start, end)
        except NoSuchObject:
            raise ValueLost(f"{ref.key}, which held {ref.size_bytes} bytes of JSON, is gone") from None

    def _opened(self) -> ObjectStore:
        with self._lock:
            if self._store is None:
                self._store = self._open_store()
            return self._store


def values_in(state_dir: str, deadline_s: float) -> Values:
    """The values of a state directory, or of `s3://bucket/prefix`. A call gives up about `deadline_s` after it was made."""

    def open_store() -> ObjectStore:
        if not state_dir.startswith("s3:"):
            return open_objects(state_dir)
        from taskservice.objects.s3 import S3Options  # noqa: PLC0415 - boto3 takes long to import

        return open_objects(state_dir, s3=S3Options(deadline_s=deadline_s))

    return Values(open_store)


def patiently(call: Callable[[], T], patience_s: float, stop: threading.Event) -> T:
    """What `call` gives; asked again with pauses while the store is away, for so long or until `stop`.

    Raises ValuesAway, as it was last.
    """
    end_s = time.monotonic() + patience_s
    backoff, rng = Backoff(), Random()
    failures = 0
    while True:
        try:
            return call()
        except ValuesAway:
            failures += 1
            left_s = end_s - time.monotonic()
            if left_s <= 0 or stop.wait(min(left_s, backoff.pause_s(failures, rng))):
                raise


def _another(ref: ValueRef) -> ValueLost:
    return ValueLost(f"{ref.key} does not hold the {ref.size_bytes} bytes of JSON that were written there")


@contextmanager
def _as_away() -> Iterator[None]:
    """What the store does not do is raised as ValuesAway: a refusal, too, for somebody may see to it."""
    try:
        yield
    except StoreError as error:
        raise ValuesAway(str(error)) from error
