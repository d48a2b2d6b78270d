"""Where the state is, opened for writing: objects, the journal, and the proof of whose it is."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from taskservice.journal import Journal, JournalCorrupt, checkpoint
from taskservice.journal import segments as log
from taskservice.journal.bucket import BucketJournal
from taskservice.journal.local import FILE_BYTES_MAX, LocalJournal
from taskservice.journal.manifest import Ownership, claim, latest
from taskservice.journal.tenure import Tenure
from taskservice.objects import ObjectStore
from taskservice.objects.location import open_objects
from taskservice.objects.probe import probe


class StateDir(NamedTuple):
    """The state, of which this process is the only writer now."""

    store: ObjectStore
    journal: Journal
    ownership: Ownership

    def close(self) -> None:
        """Files, locks and connections are released."""
        self.journal.close()
        self.store.close()


def open_state(
    state_dir: str,
    *,
    now_ms: Callable[[], int],
    in_flight_max: int = 4,
    file_bytes_max: int = FILE_BYTES_MAX,
    proven: bool = False,
    tenure: Tenure | None = None,
) -> StateDir:
    """The state in a local directory or in `s3://bucket/prefix`; whoever had it open is fenced, or has it still.

    A bucket has to show first that it refuses what would let two writers in, unless it has `proven` that to this
    service already. `tenure`: of the service that opens it. Raises JournalError, or StoreError.
    """
    store = open_objects(state_dir)
    try:
        if state_dir.startswith("s3:"):
            if not proven:
                probe(store)
            refuse_remains(store)
            nonce = _nonce(store, tenure)
            bucket = BucketJournal(store, now_ms=now_ms, in_flight_max=in_flight_max, nonce=nonce)
            return StateDir(store, bucket, bucket.ownership)
        latest(store)  # so that what a newer version has used, or an unfinished copy, is refused before it is touched
        journal = LocalJournal(Path(state_dir) / "journal", file_bytes_max=file_bytes_max)
        try:
            ownership = claim(
                store,
                log=uuid.uuid4().hex,
                nonce=_nonce(store, tenure),
                writer=writer_name(),
                at_ms=now_ms(),
                epoch=journal.epoch,
            )
        except BaseException:
            journal.close()
            raise
        return StateDir(store, journal, ownership)
    except BaseException:
        store.close()
        raise


def _nonce(store: ObjectStore, tenure: Tenure | None) -> str:
    return uuid.uuid4().hex if tenure is None else tenure.next_nonce(store)


def refuse_remains(store: ObjectStore) -> None:
    """A log is there with the manifest that says whose it is, or there is none. Raises JournalCorrupt for part of one."""
    if latest(store) is not None:
        return
    segments = (info.key for info in store.list(log.PREFIX) if log.place_if_any(info.key))
    indexes = (info.key for info in store.list(checkpoint.INDEX_PREFIX) if checkpoint.place_of(info.key))
    found = next(chain(segments, indexes), None)
    if found is None or latest(store) is not None:  # another service may have made both meanwhile
        return
    raise JournalCorrupt(
        f"{store.url} holds {found} and no manifest: it is part of a state, or of something else. Restore it whole, or"
        " name a prefix that is empty."
    )


def writer_name() -> str:
    """Who writes, for people: the machine and the process."""
    return f"{socket.gethostname()} {os.getpid()}"
