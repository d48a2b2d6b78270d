"""A process that ends at any moment leaves a table file that is worth something: whole as of each of its last commits.

Histories and moments come from seeds. The table in memory goes through the same, and its copies say what must be found.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from helpers.histories import History, mark_at
from helpers.tables import seen, task
from taskservice.core.table import TaskTable
from taskservice.journal.store.file import Stored
from taskservice.journal.store.memory import MemoryTable
from taskservice.journal.store.sqlite import SqliteTable

TESTS = Path(__file__).resolve().parent.parent
WRITER = TESTS / "helpers" / "table_writer.py"
SMALL_CACHE_PAGES = 4
"""So few that a transaction's pages go to the log before it commits."""


def without(last: int, of: int):
    """What the journal says that has all but the last so many of the commits 0 ... `of`."""

    def keep(stored: Stored) -> int:
        return max(0, stored.mark.segment - (of - last))

    return keep


def shown(table: TaskTable) -> tuple:
    return (*seen(table), table.mark)


def copied(path: Path, folder: Path) -> Path:
    """The file as a process that ends now would leave it."""
    folder.mkdir()
    for each in path.parent.glob(path.name + "*"):
        shutil.copy(each, folder)
    return folder / path.name


def go_on(found: SqliteTable, expected: MemoryTable, path: Path) -> None:
    """What was taken up can be changed, committed and taken up again."""
    for table in (found, expected):
        table.insert([task(9_999)])
        table.commit(mark_at(9_999))
    found.close()
    with closing(SqliteTable.open(path, lambda stored: 0)) as again:
        assert shown(again) == shown(expected)


@pytest.mark.parametrize("seed", range(8))
def test_any_number_of_commits_since_the_last_fold_can_be_taken_back(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    path = tmp_path / "table.sqlite"
    plain, history_seed = MemoryTable(), rng.random()
    versions: list[MemoryTable] = []
    foldable_from = 0
    with closing(SqliteTable(path)) as table:
        table._ids.generation = 30
        if seed % 2:
            table._db.execute(f"PRAGMA cache_size = {SMALL_CACHE_PAGES}")
        writing, modelled = History(table, Random(history_seed)), History(plain, Random(history_seed))
        for number, _ in zip(writing.commits(), modelled.commits(), strict=False):
            versions.append(plain.copy())
            if rng.random() < 0.1:
                table.fold()
                foldable_from = number
            for _ in range(rng.randrange(3)):
                writing.step()
                modelled.step()
            if rng.random() < 0.3:
                last = rng.randrange(12)
                taken = copied(path, tmp_path / str(number))
                with closing(SqliteTable.open(taken, without(last, number))) as found:
                    expected = MemoryTable() if number - last < foldable_from else versions[number - last]
                    assert shown(found) == shown(expected), (seed, number, last)
                    go_on(found, expected.copy(), taken)
            if number == 60:
                break
    assert foldable_from


@pytest.mark.parametrize(
    ("seed", "cache_pages"), [(1, 2_000), (2, 2_000), (3, SMALL_CACHE_PAGES), (4, SMALL_CACHE_PAGES)]
)
def test_a_killed_process_leaves_what_it_committed(tmp_path: Path, seed: int, cache_pages: int) -> None:
    path = tmp_path / "table.sqlite"
    rng = Random(seed)
    enough = rng.randrange(5, 80)
    with writer(path, seed, cache_pages) as process:
        assert process.stdout
        said = [int(line) for _, line in zip(range(enough), process.stdout, strict=False)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    found: list[Stored] = []
    last = rng.randrange(4)

    def keep(stored: Stored) -> int:
        found.append(stored)
        return last if len(found) == 1 else 0

    with closing(SqliteTable.open(path, keep)) as table:
        assert found[0].mark in (mark_at(said[-1]), mark_at(said[-1] + 1))
        plain = MemoryTable()
        kept = found[0].mark.segment - last
        for number in History(plain, Random(seed)).commits():
            if number == kept:
                break
        assert shown(table) == shown(plain)


@contextmanager
def writer(path: Path, seed: int, cache_pages: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(WRITER), str(path), str(seed), str(cache_pages)]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.kill()
