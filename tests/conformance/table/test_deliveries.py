"""Callbacks in both tables: by task, by endpoint and time, and gone when they are old."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from helpers.tables import mark
from taskservice.core.deliveries import Delivery, DeliveryKey, DeliveryState, EndpointKey, Try
from taskservice.core.table import TaskTable
from taskservice.core.types import TaskState
from taskservice.journal.store import deliveries
from taskservice.journal.store.sqlite import SqliteTable

A, B = EndpointKey("acme", "https://a.example"), EndpointKey("acme", "https://b.example:8443")  # type: ignore[arg-type]


def owed(no: int, next_ms: int | None, run: int = 1, endpoint: EndpointKey = A, ended_ms: int = 5) -> Delivery:
    url = f"{endpoint.origin}/told?no={no}"
    return Delivery(no, run, endpoint.tenant, f"task-{no}", url, TaskState.SUCCEEDED, ended_ms, b"{}", next_ms=next_ms)  # type: ignore[arg-type]


def test_each_is_found_by_its_task_and_run(table: TaskTable) -> None:
    first, second, other = owed(1, 10), owed(1, 20, run=2), owed(2, 30)
    table.deliveries.put([second, first, other])
    assert table.deliveries.of_task(1) == [first, second]
    assert table.deliveries.get([other.key, DeliveryKey(9, 9), first.key]) == [other, first]
    done = replace(first, state=DeliveryState.DELIVERED, next_ms=None, tries=(Try(11, 204, ""),))
    table.deliveries.put([done])
    assert table.deliveries.of_task(1) == [done, second]


def test_what_an_endpoint_is_owed_is_in_the_order_of_its_time(table: TaskTable) -> None:
    late, soon, then, done, elsewhere = owed(1, 30), owed(2, 10), owed(3, 10), owed(4, None), owed(5, 1, endpoint=B)
    table.deliveries.put([late, soon, then, done, elsewhere])
    assert table.deliveries.owed(A, 29, 9) == [soon, then]
    assert table.deliveries.owed(A, 30, 9) == [soon, then, late]
    assert table.deliveries.owed(A, 30, 1) == [soon]
    assert table.deliveries.owed(A, 9, 9) == []
    assert table.deliveries.endpoints() == {A: 10, B: 1}
    assert (table.deliveries.next_ms(A), table.deliveries.next_ms(B)) == (10, 1)
    table.deliveries.put([replace(elsewhere, next_ms=None)])
    assert table.deliveries.next_ms(B) is None
    assert table.deliveries.endpoints() == {A: 10}


def test_old_ones_can_go(table: TaskTable) -> None:
    table.deliveries.put([owed(3, 10, ended_ms=7), owed(1, 10, ended_ms=6), owed(2, None, ended_ms=8)])
    assert table.deliveries.old(6, 9) == []
    assert table.deliveries.old(8, 9) == [(1, 1), (3, 1)]
    assert table.deliveries.old(9, 2) == [(1, 1), (3, 1)]
    table.deliveries.drop([DeliveryKey(1, 1), DeliveryKey(9, 9)])
    assert table.deliveries.old(9, 9) == [(3, 1), (2, 1)]
    assert table.deliveries.of_task(1) == []


def test_they_are_in_the_file_of_a_commit(tmp_path: Path) -> None:
    path = tmp_path / "table.sqlite"
    with closing(SqliteTable(path)) as table:
        table.deliveries.put([owed(1, 10)])
        table.commit(mark(1, 0))
        table.deliveries.put([owed(2, 20)])
    with closing(SqliteTable.open(path, lambda _: 0)) as table:
        assert table.deliveries.old(9, 9) == [(1, 1)]


@pytest.mark.parametrize(
    ("statement", "plan"),
    [
        (deliveries.GET, "sqlite_autoindex_delivery_1 (no=? AND run=?)"),
        (deliveries.OF_TASK, "sqlite_autoindex_delivery_1 (no=?)"),
        (deliveries.OWED, "delivery_owed (endpoint=? AND next_ms>? AND next_ms<?)"),
        (deliveries.NEXT, "delivery_owed (endpoint=? AND next_ms>?)"),
        (deliveries.OLD, "delivery_old (ended_ms<?)"),
        (deliveries.DROP, "sqlite_autoindex_delivery_1 (no=? AND run=?)"),
    ],
)
def test_no_statement_walks_through_them(statement: str, plan: str) -> None:
    with closing(SqliteTable(":memory:")) as table:
        rows = table._db.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")).fetchall()
        steps = [row[3] for row in rows if " delivery " in row[3]]
        assert len(steps) == 1
        assert steps[0].startswith("SEARCH")
        assert plan in steps[0]
