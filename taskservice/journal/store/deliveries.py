"""Deliveries in the working table's file: a row for each, by task and run, and by endpoint and time while it is owed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from taskservice.core.deliveries import Delivery, DeliveryKey, EndpointKey
from taskservice.core.types import TaskNo, TenantId

SCHEMA = (
    """
    CREATE TABLE delivery (
        no INTEGER NOT NULL, run INTEGER NOT NULL, endpoint TEXT NOT NULL, next_ms INTEGER, ended_ms INTEGER NOT NULL,
        delivery BLOB NOT NULL, UNIQUE (no, run)
    )
    """,
    # Of those that are owed only.
    "CREATE INDEX delivery_owed ON delivery (endpoint, next_ms) WHERE next_ms IS NOT NULL",
    "CREATE INDEX delivery_old ON delivery (ended_ms)",
)

PUT = """
    INSERT INTO delivery VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (no, run) DO UPDATE SET
        endpoint = excluded.endpoint, next_ms = excluded.next_ms, ended_ms = excluded.ended_ms, delivery = excluded.delivery
"""

GET = "SELECT delivery FROM delivery WHERE no = ? AND run = ?"

OF_TASK = "SELECT delivery FROM delivery WHERE no = ? ORDER BY run"

OWED = """
    SELECT delivery FROM delivery INDEXED BY delivery_owed
    WHERE endpoint = ? AND next_ms IS NOT NULL AND next_ms <= ? ORDER BY next_ms, rowid LIMIT ?
"""

NEXT = "SELECT min(next_ms) FROM delivery INDEXED BY delivery_owed WHERE endpoint = ? AND next_ms IS NOT NULL"

ENDPOINTS = """
    SELECT endpoint, min(next_ms) FROM delivery INDEXED BY delivery_owed WHERE next_ms IS NOT NULL GROUP BY endpoint
"""

OLD = "SELECT no, run FROM delivery INDEXED BY delivery_old WHERE ended_ms < ? ORDER BY ended_ms, no, run LIMIT ?"

DROP = "DELETE FROM delivery WHERE no = ? AND run = ?"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Delivery).decode


class SqliteDeliveries:
    """A `Deliveries`: the part of a `SqliteTable` that its owner shares its connection with."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, deliveries: Sequence[Delivery]) -> None:
        rows = [(one.no, one.run, _text(one.endpoint), one.next_ms, one.ended_ms, _encode(one)) for one in deliveries]
        self._db.executemany(PUT, rows)

    def get(self, keys: Sequence[DeliveryKey]) -> list[Delivery]:
        return [one for key in keys for one in self._read(GET, key)]

    def of_task(self, no: TaskNo) -> list[Delivery]:
        return self._read(OF_TASK, (no,))

    def owed(self, endpoint: EndpointKey, until_ms: int, limit: int) -> list[Delivery]:
        return self._read(OWED, (_text(endpoint), until_ms, limit))

    def next_ms(self, endpoint: EndpointKey) -> int | None:
        found: int | None = self._db.execute(NEXT, (_text(endpoint),)).fetchone()[0]
        return found

    def endpoints(self) -> dict[EndpointKey, int]:
        return {_key(text): next_ms for text, next_ms in self._db.execute(ENDPOINTS)}

    def old(self, before_ms: int, limit: int) -> list[DeliveryKey]:
        return [DeliveryKey(*row) for row in self._db.execute(OLD, (before_ms, limit))]

    def drop(self, keys: Sequence[DeliveryKey]) -> None:
        self._db.executemany(DROP, keys)

    def _read(self, statement: str, wish: Iterable[object]) -> list[Delivery]:
        return [_decode(row) for (row,) in self._db.execute(statement, tuple(wish))]


def _text(endpoint: EndpointKey) -> str:
    """A tenant's name has no space."""
    return f"{endpoint.tenant} {endpoint.origin}"


def _key(text: str) -> EndpointKey:
    tenant, _, origin = text.partition(" ")
    return EndpointKey(TenantId(tenant), origin)
