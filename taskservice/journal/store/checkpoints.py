"""The last checkpoints of tasks, in SQLite: a table of their own, since few tasks have any and their rows move often."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from taskservice.core.types import TaskNo, Token
from taskservice.core.values import keys_of
from taskservice.journal.store.mapping import json_list
from taskservice.journal.store.moves import Standing, check_save
from taskservice.journal.store.references import References, superseded

SCHEMA = ("CREATE TABLE checkpoint (no INTEGER PRIMARY KEY, checkpoint BLOB NOT NULL)",)

SAVE = "INSERT OR REPLACE INTO checkpoint VALUES (?, ?)"

OF = "SELECT no, checkpoint FROM checkpoint WHERE no IN (SELECT value FROM json_each(?))"

DROP = "DELETE FROM checkpoint WHERE no IN (SELECT value FROM json_each(?)) RETURNING checkpoint"


class SqliteCheckpoints:
    """Those of one file. See `core.checkpoints.Checkpoints`."""

    def __init__(self, db: sqlite3.Connection, running: Mapping[TaskNo, Standing], references: References) -> None:
        self._db = db
        self._running = running
        self._references = references
        self._any = db.execute("SELECT 1 FROM checkpoint LIMIT 1").fetchone() is not None
        """Whether there may be some."""

    def save(self, rows: Sequence[tuple[TaskNo, bytes]], token: Token) -> tuple[str, ...]:
        nos = [no for no, _ in rows]
        check_save(nos, self._running, token)
        before = list(self.of(nos).values())
        self._any = True
        self._db.executemany(SAVE, rows)
        self._references.add(text for _, text in rows)
        return superseded(before, rows)

    def of(self, nos: Sequence[TaskNo]) -> dict[TaskNo, bytes]:
        return dict(self._db.execute(OF, (json_list(nos),)).fetchall()) if self._any else {}

    def drop(self, nos: Sequence[TaskNo]) -> tuple[str, ...]:
        if not self._any:
            return ()
        rows = self._db.execute(DROP, (json_list(nos),)).fetchall()
        return tuple(sorted(keys_of(*(text for (text,) in rows))))
