"""How many tasks a second the working table takes through their lives, on this machine: `python bench/table.py`.

Prints, for batches as the dispatcher makes them, the time for each step of a task's life in SQLite on disk.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from taskservice.core.table import Mark
from taskservice.core.types import FunctionName, Priority, RunnerId, Task, TaskId, TaskNo, TaskState, TenantId, Token
from taskservice.ids import uuid7
from taskservice.journal.store.sqlite import SqliteTable

BATCH = 200
BATCHES_PER_COMMIT = 5
FOLD_BYTES = 64 * 1024 * 1024
TENANTS = 5
NOW_MS = 1_700_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--payload-bytes", type=int, default=200)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.sqlite"
        run(SqliteTable(path), wish.tasks, b"x" * wish.payload_bytes)
        print(f"file          {path.stat().st_size / wish.tasks:8.0f} bytes/task")
    print(f"process       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:8} MiB at most")


def run(table: SqliteTable, tasks: int, payload: bytes) -> None:
    """Every task is inserted, found by its id, leased and succeeds."""
    batches = [[task(no + at, payload) for at in range(BATCH)] for no in range(0, tasks, BATCH)]
    nos = [[one.no for one in batch] for batch in batches]
    life_us = 0.0

    def insert(at: int) -> None:
        table.insert(batches[at])

    def find(at: int) -> None:
        assert len(table.find(batches[at][0].tenant, [one.id for one in batches[at]])) == BATCH

    def lease(at: int) -> None:
        table.lease(nos[at], Token(1, at), RunnerId("r1"), NOW_MS)

    def succeed(at: int) -> None:
        table.succeed([(no, b'{"ok":true}', NOW_MS, 500) for no in nos[at]], Token(1, at), NOW_MS)

    for step in (insert, find, lease, succeed):
        us = timed(step, len(batches), table) / (len(batches) * BATCH)
        life_us += us if step is not find else 0.0
        print(f"{step.__name__:13} {us:8.2f} us/task {1e6 / us:10,.0f}/s")
    print(f"whole life    {life_us:8.2f} us/task {1e6 / life_us:10,.0f}/s (insert, lease, succeed)")
    table.close()


def timed(step: Callable[[int], None], times: int, table: SqliteTable) -> float:
    """Microseconds that `step(0)`, `step(1)` ... take, with a commit every few of them."""
    began_ns = time.perf_counter_ns()
    for at in range(times):
        step(at)
        if at % BATCHES_PER_COMMIT == BATCHES_PER_COMMIT - 1:
            table.commit(Mark("log", "nonce", 1, at))
            if table.wal_bytes >= FOLD_BYTES:
                table.fold()
    return (time.perf_counter_ns() - began_ns) / 1e3


def task(no: int, payload: bytes) -> Task:
    """A task of one of the tenants, by turns of a batch each."""
    return Task(
        no=TaskNo(no),
        id=TaskId(uuid7()),
        tenant=TenantId(f"tenant-{no // BATCH % TENANTS}"),
        function=FunctionName("media.thumbnail"),
        priority=Priority.NORMAL,
        state=TaskState.QUEUED,
        payload=payload,
        tags=(),
        created_ms=NOW_MS + no // 100,
        due_ms=NOW_MS + no // 100,
        max_attempts=5,
        timeout_ms=600_000,
    )


if __name__ == "__main__":
    main()
