"""The keys of the values that are objects of their own: few tasks have any."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from taskservice.core.types import TaskNo
from taskservice.core.values import MARK, keys_of
from taskservice.journal.store import statements
from taskservice.journal.store.mapping import json_list


def keys_among(values: Iterable[bytes]) -> list[str]:
    """The keys to which some of these payloads or results refer."""
    return [key for value in values if value.startswith(MARK) for key in keys_of(value)]


def superseded(before: Iterable[bytes], rows: Sequence[tuple[TaskNo, bytes]]) -> tuple[str, ...]:
    """The keys to which referred what these checkpoints have come in place of: that of `before`, and earlier rows of a task."""
    now = frozenset(keys_among(dict(rows).values()))
    return tuple(sorted(frozenset(keys_among([*before, *(text for _, text in rows)])) - now))


class References:
    """Those of one file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, values: Iterable[bytes]) -> None:
        """Whatever these payloads or results refer to is referred to."""
        keys = keys_among(values)
        if keys:
            self._db.executemany(statements.ADD_REFERENCE, [(key,) for key in keys])

    def among(self, keys: Sequence[str]) -> list[str]:
        """Those of these keys that are referred to, in the order given."""
        found = {key for (key,) in self._db.execute(statements.REFERENCES, (json_list(keys),))}
        return [key for key in keys if key in found]

    def drop(self, keys: Sequence[str]) -> None:
        """They are not referred to any more."""
        self._db.executemany(statements.DROP_REFERENCE, [(key,) for key in keys])
