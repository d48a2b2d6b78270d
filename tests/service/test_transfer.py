"""Files in and out of a live service: exactly once, however often the importer dies, in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.live import APPS, Live, eventually
from taskservice import Client

ROWS = 20_000
SOAK_ROWS = 1_000_000
MEMORY_BYTES_MAX = 300 << 20


def write_rows(path: Path, rows: int) -> None:
    """A file of so many rows for `work.noop`."""
    with pq.ParquetWriter(path, pa.schema([("i", pa.int64()), ("customer", pa.string())])) as writer:
        for start in range(0, rows, 100_000):
            numbers = range(start, min(rows, start + 100_000))
            writer.write_batch(
                pa.record_batch(
                    [pa.array(numbers, pa.int64()), [f"c{i % 7}" for i in numbers]], names=["i", "customer"]
                )
            )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "taskservice", *words]


@contextmanager
def started(live: Live, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command, running; it has ended, or was killed, at the end."""
    environment = {**os.environ, "TASKSERVICE_HOME": str(live.home)}
    process = subprocess.Popen(command(*words), cwd=APPS, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Watch:
    """What a process takes at most, looked at until it ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.most_bytes = 0
        self._process = process
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        watched = psutil.Process(self._process.pid)
        while self._process.poll() is None:
            try:
                self.most_bytes = max(self.most_bytes, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                return
            threading.Event().wait(0.05)

    def ended(self, within_s: float) -> int:
        """The process's exit code."""
        code = self._process.wait(within_s)
        self._thread.join()
        return code


def known(client: Client) -> int:
    """How many tasks there are."""
    return sum(client.status()["counts"].values())


def imported_with_kills(live: Live, client: Client, tmp_path: Path, rows: int, within_s: float) -> None:
    """A file of so many rows is imported by an importer that is killed twice in the middle, and run a third time."""
    before = known(client)
    write_rows(tmp_path / "tasks.parquet", rows)
    words = (
        "import",
        str(tmp_path / "tasks.parquet"),
        "--function",
        "work.noop",
        "--task-column",
        "tags.customer=customer",
    )
    for part in (4, 2):
        with started(live, *words):
            eventually(lambda part=part: known(client) - before >= rows // part, within_s, "the importer stands still")
    there = known(client) - before
    assert there < rows, "it was over before it could be killed"
    began_s = time.monotonic()
    with started(live, *words) as process:
        watch = Watch(process)
        assert watch.ended(within_s) == 0
    seconds = time.monotonic() - began_s
    print(
        f"third run: {rows:,} rows in {seconds:.1f} s, {there:,} of them known already; "
        f"{watch.most_bytes / (1 << 20):.0f} MiB at most"
    )
    assert watch.most_bytes < MEMORY_BYTES_MAX
    assert known(client) - before == rows


def exported(live: Live, tmp_path: Path, rows: int, within_s: float) -> None:
    """What is exported has each row's task once, as DuckDB reads it."""
    began_s = time.monotonic()
    with started(live, "export", str(tmp_path / "out.parquet"), "--function", "work.noop") as process:
        watch = Watch(process)
        assert watch.ended(within_s) == 0
    seconds = time.monotonic() - began_s
    print(f"export: {rows:,} tasks in {seconds:.1f} s; {watch.most_bytes / (1 << 20):.0f} MiB at most")
    assert watch.most_bytes < MEMORY_BYTES_MAX
    query = """
        select count(*), count(distinct id), count(distinct (payload->>'i')::bigint), min((payload->>'i')::bigint),
               max((payload->>'i')::bigint), count(distinct tags['customer'])
        from read_parquet(?)
    """
    found = duckdb.execute(query, [str(tmp_path / "out.parquet")]).fetchone()
    assert found == (rows, rows, rows, 0, rows - 1, 7)


def test_an_importer_that_is_killed_twice_brings_each_row_once(live: Live, client: Client, tmp_path: Path) -> None:
    imported_with_kills(live, client, tmp_path, ROWS, 100)
    exported(live, tmp_path, ROWS, 60)
    again = live.cli(
        "import", str(tmp_path / "tasks.parquet"), "--function", "work.noop", "--task-column", "tags.customer=customer"
    )
    assert again.returncode == 0, again.stderr
    assert f"0 accepted, {ROWS:,} known already, 0 refused" in again.stdout


@pytest.mark.soak
def test_a_million_rows_in_and_out(mortal: Live, tmp_path: Path) -> None:
    client = mortal.up()
    imported_with_kills(mortal, client, tmp_path, SOAK_ROWS, 1_200)
    exported(mortal, tmp_path, SOAK_ROWS, 1_200)
    client.close()
    mortal.down()
