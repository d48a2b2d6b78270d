"""What `doctor` looks at when the state is in a bucket: whether it can be used, whether it refuses what it must, and how fast.

It creates a few small objects below `probe/` and removes them, beside a running service or without one.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from taskservice.cli.checks import Check, Finding, fail, ok, warn
from taskservice.config import Settings
from taskservice.journal import JournalError
from taskservice.journal.manifest import latest
from taskservice.journal.opening import refuse_remains
from taskservice.objects import NoSuchObject, ObjectInfo, ObjectStore, StoreError, StoreRefused, StoreUnavailable
from taskservice.objects.location import open_objects
from taskservice.objects.probe import probe

BUDGET_S = 30.0
"""For all checks together; a call that is under way then may still take as long as one may."""
CALL_S = 4.0
CALLS = 10
"""Objects that are created and read to see how long that takes."""
SLOW_MS = 200.0
SKEW_MS_WARN = 5_000
SKEW_MS_FAIL = 600_000
"""S3 refuses whoever is wrong by 15 minutes."""
SECOND_MS = 1_000
"""S3 tells times to the second."""

Clock = Callable[[], float]


class Unusable(Exception):
    """What was to be looked at depends on what has failed before."""


class Hurried:
    """An `ObjectStore` that is there until the time is up."""

    def __init__(self, store: ObjectStore, until_s: float, clock_s: Clock) -> None:
        self.url = store.url
        self._store = store
        self._until_s = until_s
        self._clock_s = clock_s

    @property
    def trouble(self) -> str:
        return self._store.trouble

    def _hurry(self) -> ObjectStore:
        if self._clock_s() > self._until_s:
            raise StoreUnavailable(f"{self.url} took so long that this was not finished.")
        return self._store

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        return self._hurry().put_if_absent(key, data)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self._hurry().get(key, start, end)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        return self._hurry().list(prefix, after)

    def delete(self, keys: Sequence[str]) -> None:
        self._store.delete(keys)  # tidying up is done in any case

    def close(self) -> None:
        self._store.close()


class Timed(NamedTuple):
    """When something was done, by this machine's clock."""

    before_ms: int
    after_ms: int


class BucketChecks:
    """The checks of one bucket, in their order. Each needs some of those before it, and says so if they have failed."""

    def __init__(
        self,
        open_store: Callable[[], ObjectStore],
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock_s: Clock = time.monotonic,
    ) -> None:
        self._open_store = open_store
        self._now_ms = now_ms
        self._clock_s = clock_s
        self._until_s = clock_s() + BUDGET_S
        self._opened: ObjectStore | None = None
        self._folder = f"probe/{secrets.token_hex(8)}"
        self._created: list[str] = []
        self._first: Timed | None = None
        self._failed = False
        """Whether the bucket cannot be used for anything that is still to come."""

    @property
    def checks(self) -> tuple[tuple[str, Check], ...]:
        """Their names, and themselves."""
        steps = (
            ("bucket", self._check_list),
            ("create", self._check_create),
            ("read", self._check_read),
            ("clock", self._check_clock),
            ("conditions", self._check_conditions),
            ("latency", self._check_latency),
            ("delete", self._check_delete),
            ("journal", self._check_journal),
        )
        return tuple((name, self._guarded(step)) for name, step in steps)

    def close(self) -> None:
        """Connections are released; what was created is gone, if the store lets us."""
        if self._opened is not None:
            with suppress(StoreError):
                self._opened.delete(self._created)
            self._opened.close()

    def _guarded(self, step: Callable[[ObjectStore], Finding]) -> Check:
        def check(_: Settings) -> Finding:
            try:
                return step(self._store())
            except Unusable:
                return warn("not tried", "See to what is above first.")
            except StoreRefused as error:
                self._failed = self._failed or step in {self._check_list, self._check_create}
                return fail("refused", str(error))
            except StoreUnavailable as error:
                self._failed = True
                advice = (
                    "Look at the network, AWS_ENDPOINT_URL and the store itself. A running service waits and tries on."
                )
                return fail(str(error), advice)
            except (StoreError, JournalError) as error:
                return fail("not as it must be", str(error))

        return check

    def _store(self) -> ObjectStore:
        if self._failed:
            raise Unusable
        if self._opened is None:
            try:
                self._opened = Hurried(self._open_store(), self._until_s, self._clock_s)
            except StoreError:
                self._failed = True
                raise
        return self._opened

    def _check_list(self, store: ObjectStore) -> Finding:
        next(iter(store.list("probe/")), None)
        return ok(f"{store.url} answers, and may be listed")

    def _check_create(self, store: ObjectStore) -> Finding:
        before_ms = self._now_ms()
        self._create(store)
        self._first = Timed(before_ms, self._now_ms())
        return ok("objects may be created")

    def _check_read(self, store: ObjectStore) -> Finding:
        key = self._needed()
        if store.get(key) != key.encode():
            return fail("what was created reads differently", f"{store.url} cannot hold this state: use another store.")
        return ok("they may be read, and are as they were created")

    def _check_clock(self, store: ObjectStore) -> Finding:
        """By the time that the store gives an object which was created just now."""
        key = self._needed()
        found = next((info for info in store.list(f"{self._folder}/") if info.key == key), None)
        if found is None or self._first is None:
            return fail("what was created is not listed", f"{store.url} cannot hold this state: use another store.")
        skew_ms = max(found.modified_ms - self._first.after_ms, 0)
        if not skew_ms:
            skew_ms = min(found.modified_ms + SECOND_MS - self._first.before_ms, 0)
        if abs(skew_ms) < SECOND_MS:
            return ok("the store's and this machine's agree, to a second")
        said = f"the store's is {abs(skew_ms) / 1000:.0f} s {'ahead of' if skew_ms > 0 else 'behind'} this machine's"
        advice = (
            "Set this machine's clock (NTP): S3 refuses whoever is wrong by 15 minutes, and delays are by this clock."
        )
        if abs(skew_ms) >= SKEW_MS_FAIL:
            return fail(said, advice)
        return warn(said, advice) if abs(skew_ms) >= SKEW_MS_WARN else ok(said)

    def _check_conditions(self, store: ObjectStore) -> Finding:
        """The promise that keeps two services from writing to one state."""
        self._needed()
        rounds = len(probe(store).contended_ms)
        return ok(f"of 8 creators of one object one succeeds, in {rounds} of {rounds} races")

    def _check_latency(self, store: ObjectStore) -> Finding:
        self._needed()
        created_ms = [self._took_ms(lambda: self._create(store)) for _ in range(CALLS)]
        read_ms = [self._took_ms(lambda key=key: store.get(key)) for key in self._created[-CALLS:]]  # type: ignore[misc]
        said = f"to create takes {_spread(created_ms)}, to read {_spread(read_ms)}"
        if statistics.median(created_ms) < SLOW_MS:
            return ok(said)
        return warn(
            said, "Every submit waits for one creation: use a bucket that is nearer, or a faster class of storage."
        )

    def _check_delete(self, store: ObjectStore) -> Finding:
        self._needed()
        first = self._created[0]
        store.delete(self._created)
        self._created.clear()
        try:
            store.get(first)
        except NoSuchObject:
            return ok("objects may be deleted, and are gone")
        return fail("what was deleted is still there", f"{store.url} cannot hold this state: use another store.")

    def _check_journal(self, store: ObjectStore) -> Finding:
        manifest = latest(store)
        if manifest is None:
            refuse_remains(store)
            return ok("none yet: `taskservice up` makes one")
        newest = next(iter(manifest.checkpoints), None)
        place = "no checkpoint yet" if newest is None else f"newest checkpoint at {newest.epoch}/{newest.segment}"
        age_s = max(0, self._now_ms() - manifest.at_ms) // 1000
        return ok(f"epoch {manifest.epoch}, owned by {manifest.writer}; {place}; last manifest {age_s} s ago")

    def _create(self, store: ObjectStore) -> None:
        key = f"{self._folder}/{len(self._created)}"
        self._created.append(key)
        store.put_if_absent(key, key.encode())

    def _needed(self) -> str:
        """The first object that was created."""
        if self._first is None:
            raise Unusable
        return self._created[0]

    def _took_ms(self, call: Callable[[], object]) -> float:
        began_s = self._clock_s()
        call()
        return (self._clock_s() - began_s) * 1000


def _spread(times_ms: Sequence[float]) -> str:
    return f"{statistics.median(times_ms):.0f} ms (p50), {max(times_ms):.0f} ms at most"


def of_settings(settings: Settings) -> BucketChecks:
    """The checks of the bucket that the settings name."""

    def opened() -> ObjectStore:
        from taskservice.objects.s3 import S3Options  # noqa: PLC0415 - boto3 takes long to import

        return open_objects(
            settings.state_dir, s3=S3Options(deadline_s=CALL_S, connect_timeout_s=2.0, read_timeout_s=3.0)
        )

    return BucketChecks(opened)
