"""Where large and lasting things are kept: immutable objects by key, in a bucket or a directory.

Five verbs, of which one has a condition: `put_if_absent`. An object is never changed; it is created whole, read, and
some day deleted. What creates it is durable when it returns, through the loss of power too. All calls block, and may
come from several threads at once.

A key is words of `[A-Za-z0-9._=-]` joined by single slashes; no word begins with a dot (`keys` has the bounds). A key
is never the folder of another: who has `a/b` does not make `a`. What is no key or no range is a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class ObjectInfo(NamedTuple):
    """One object of a listing."""

    key: str
    size_bytes: int
    modified_ms: int
    """When it was created, by the clock of the store, in milliseconds since the Unix epoch."""


class StoreError(Exception):
    """The store did not do what it was asked; the message says what to do."""


class StoreUnavailable(StoreError):
    """The store is slow, overloaded or cannot be reached: come back. Whether a write has happened is unknown."""


class StoreRefused(StoreError):
    """The store says no (no such bucket, no access, wrong credentials, disk full): somebody has to do something."""


class NoSuchObject(StoreError):
    """There is no object of that key."""


class ObjectStore(Protocol):
    """A bucket's prefix, or a directory. Every call raises StoreUnavailable or StoreRefused if it cannot be done."""

    @property
    def url(self) -> str:
        """Where it is, for people: `s3://bucket/prefix`, or a path."""

    @property
    def trouble(self) -> str:
        """Why calls that are under way do not get through at the moment, for people; empty while they do."""

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        """The object exists, whole and durable. None: it holds `data`; otherwise what somebody else put there.

        Several callers with one key: exactly one's data is there. After an unknown outcome (time-out, server error, conflict in
        flight) the same bytes go to the same key again, within the store's bound on time; if that finds `data` there,
        it is this caller's own. So data that must tell its writer has to contain a nonce.
        """

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The object's bytes from `start` up to `end` (exclusive), or its end, whichever comes first.

        Raises NoSuchObject.
        """

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose keys begin with `prefix` and come after the key `after`, in the order of their keys.

        All that existed before the call and still do are in it.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """None of these objects exist. Those that did not are no error; one that cannot be deleted is."""

    def close(self) -> None:
        """Connections and files are released."""
