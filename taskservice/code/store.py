"""Archives of code on the object store of the state: written once, under the hash of what is in them and a word of their own.

    code/<sha256 of the files>-<8 random hex digits>.tar.zst

Each is written once: so one that is old is not about to be deployed, and if no version names it, it can be removed. All calls block.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence

from taskservice.code.archive import Packed
from taskservice.objects import NoSuchObject, ObjectStore, StoreError
from taskservice.objects.location import open_objects
from taskservice.values import ValueLost, ValuesAway

PREFIX = "code/"
_KEY = re.compile(r"code/[0-9a-f]{64}-[0-9a-f]{8}\.tar\.zst")


class CodeStore:
    """The archives of one state directory. Any thread may call."""

    def __init__(self, open_store: Callable[[], ObjectStore]) -> None:
        """The store is opened by the first call."""
        self._open_store = open_store
        self._lock = threading.Lock()
        self._store: ObjectStore | None = None

    def put(self, archive: Packed) -> str:
        """The archive is durable, under the key that is given. Raises ValuesAway."""
        key = f"{PREFIX}{archive.sha256}-{uuid.uuid4().hex[:8]}.tar.zst"
        try:
            self._opened().put_if_absent(key, archive.data)
        except StoreError as error:
            raise ValuesAway(str(error)) from error
        return key

    def get(self, key: str, size_bytes: int) -> bytes:
        """What is there, up to one byte more than it should have. Raises ValuesAway or ValueLost."""
        try:
            return self._opened().get(key, 0, size_bytes + 1)
        except NoSuchObject:
            raise ValueLost(f"{key}, which held code, is gone") from None
        except StoreError as error:
            raise ValuesAway(str(error)) from error

    def older_than(self, before_ms: int) -> Iterator[str]:
        """The keys of the archives that were written before then, by the store's clock. Raises ValuesAway."""
        try:
            for found in self._opened().list(PREFIX):
                if found.modified_ms < before_ms and _KEY.fullmatch(found.key):
                    yield found.key
        except StoreError as error:
            raise ValuesAway(str(error)) from error

    def remove(self, keys: Sequence[str]) -> None:
        """There are no archives of these keys. Raises ValuesAway; then some may be there."""
        others = [key for key in keys if not _KEY.fullmatch(key)]
        assert not others, f"no archives: {others[:3]}"
        try:
            self._opened().delete(keys)
        except StoreError as error:
            raise ValuesAway(str(error)) from error

    def _opened(self) -> ObjectStore:
        with self._lock:
            if self._store is None:
                self._store = self._open_store()
            return self._store


def code_in(state_dir: str) -> CodeStore:
    """The archives below a state directory, or `s3://bucket/prefix`."""
    return CodeStore(lambda: open_objects(state_dir))
