"""Which epochs one service has taken, over all restarts of its dispatcher.

A dispatcher that is fenced ends its process, and whatever keeps it alive starts it again. If that took the next epoch, two
services on one state would take it from each other for ever. So a dispatcher that starts again looks first: if the last claim
is none of its own service, another service has the state, and this one has to end. Of several, the one whose claim was last
stays, for none of its own sees a later one.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from taskservice.journal import JournalError
from taskservice.journal.manifest import Manifest, latest
from taskservice.objects import ObjectStore


class Superseded(JournalError):
    """Another service has taken the state over: this one ends, and does not come back."""


class Tenure:
    """The claims of one service, in a file on its machine: `<nonce> <the epoch before>` a line."""

    def __init__(self, path: Path, *, again: bool) -> None:
        """`again`: the service has run before this process did; else its tenure begins."""
        self._path = path
        if not again:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    def next_nonce(self, store: ObjectStore) -> str:
        """The name for a claim that is about to be made. Raises Superseded if the state is another service's by now."""
        last = latest(store)
        claims = [line.split() for line in self._path.read_text().splitlines()]
        known = [nonce for nonce, _ in claims]
        if last is not None and claims and last.epoch > int(claims[-1][1]) and last.owners[-1].nonce not in known:
            raise Superseded(_told(store, last))
        nonce = uuid.uuid4().hex
        with self._path.open("a") as file:  # before the claim: it may outlive this process
            file.write(f"{nonce} {last.epoch if last is not None else 0}\n")
        return nonce


def _told(store: ObjectStore, last: Manifest) -> str:
    since = datetime.fromtimestamp(last.at_ms / 1000, UTC).isoformat(timespec="seconds")
    return (
        f"{store.url}: another service ({last.writer}) took it over by {since}, and goes on with all that was accepted."
        " This one ends: one state has one service."
    )
