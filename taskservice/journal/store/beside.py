"""What SQLite's table keeps beside its tasks: notes, references to values, and whom is still to be told of an end."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from taskservice.journal.store import statements
from taskservice.journal.store.deliveries import SqliteDeliveries
from taskservice.journal.store.references import References


class Beside:
    """The part of `SqliteTable` that is about no task's row."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._references = References(db)
        self._deliveries = SqliteDeliveries(db)

    @property
    def deliveries(self) -> SqliteDeliveries:
        return self._deliveries

    def references(self, keys: Sequence[str]) -> list[str]:
        return self._references.among(keys)

    def drop_references(self, keys: Sequence[str]) -> None:
        self._references.drop(keys)

    def note(self, kind: str, key: str, value: bytes | None) -> None:
        statement = statements.DELETE_NOTE if value is None else statements.SET_NOTE
        self._db.execute(statement, {"kind": kind, "key": key, "value": value})

    def notes(self, kind: str) -> dict[str, bytes]:
        return dict(self._db.execute(statements.NOTES, (kind,)).fetchall())
