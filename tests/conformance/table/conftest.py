"""Every test here runs over both tables: so the one in memory is a verified stand-in for the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskservice.core.table import TaskTable
from taskservice.journal.store.memory import MemoryTable
from taskservice.journal.store.sqlite import SqliteTable


@pytest.fixture(params=["memory", "sqlite"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskTable]:
    if request.param == "memory":
        yield MemoryTable()
    else:
        sqlite = SqliteTable(tmp_path / "table.sqlite")
        yield sqlite
        sqlite.close()
