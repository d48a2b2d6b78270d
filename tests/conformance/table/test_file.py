"""What is promised of a working table's file: when it changes, and what becomes of one that cannot be gone on from."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers.tables import LEASE, mark, put, seen, task
from taskservice.core.table import Mark
from taskservice.core.types import ListFilter, TaskState
from taskservice.journal.store import file, mapping
from taskservice.journal.store.sqlite import SqliteTable
from taskservice.journal.store.wal import FRAME_HEAD_BYTES, HEAD_BYTES, Log

PAGE_BYTES = 8192


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.sqlite"


@pytest.fixture
def table(path: Path) -> Iterator[SqliteTable]:
    with closing(SqliteTable(path)) as table:
        yield table


def all_of_it(stored: file.Stored) -> int:
    return 0


def digest(table: SqliteTable) -> str:
    return hashlib.sha256(table.folded(0, table.folded_bytes)).hexdigest()


def committed(path: Path, commits: int = 1) -> None:
    """A table with a task for each commit, left as a process leaves it that ends."""
    with closing(SqliteTable(path)) as table:
        for number in range(commits):
            put(table, TaskState.RUNNING, number)
            table.commit(mark(1, number))


def is_empty(table: SqliteTable) -> bool:
    return table.mark is None and not table.listing(ListFilter(), None, 10) and not table.counts()


def test_between_two_folds_the_database_file_does_not_change(table: SqliteTable) -> None:
    put(table, TaskState.RUNNING, 1)
    table.commit(mark(1, 0))
    table.fold()
    before = digest(table)
    for number in range(2, 30):
        put(table, TaskState.QUEUED, number, payload=b"x" * 5_000)
        table.commit(mark(1, number))
    table.insert([task(100)])
    assert digest(table) == before
    table.commit(mark(1, 100))
    assert table.wal_bytes > 0
    table.fold()
    assert digest(table) != before
    assert table.wal_bytes == 0


def test_the_database_file_is_the_table_as_of_the_last_fold(table: SqliteTable, path: Path, tmp_path: Path) -> None:
    put(table, TaskState.RUNNING, 1)
    table.commit(mark(1, 0))
    table.fold()
    before = seen(table)
    put(table, TaskState.QUEUED, 2)
    table.commit(mark(1, 1))
    snapshot = tmp_path / "snapshot.sqlite"
    half = table.folded_bytes // 2
    snapshot.write_bytes(table.folded(0, half) + table.folded(half, table.folded_bytes))
    with closing(SqliteTable.open(snapshot, all_of_it)) as copy:
        assert (seen(copy), copy.mark) == (before, mark(1, 0))


def test_closing_folds_nothing(table: SqliteTable, path: Path) -> None:
    put(table, TaskState.RUNNING, 1)
    table.commit(mark(1, 0))
    before, whole = path.read_bytes(), seen(table)
    put(table, TaskState.QUEUED, 2)
    table.close()
    assert path.read_bytes() == before
    with closing(SqliteTable.open(path, all_of_it)) as again:
        assert (seen(again), again.mark) == (whole, mark(1, 0))


def test_what_is_not_committed_cannot_be_folded(table: SqliteTable) -> None:
    table.commit(mark(1, 0))
    table.fold()
    put(table, TaskState.QUEUED)
    with pytest.raises(AssertionError, match="not committed"):
        table.fold()


def test_reading_between_commit_and_fold_does_no_harm(table: SqliteTable) -> None:
    put(table, TaskState.QUEUED)
    table.commit(mark(1, 0))
    before = seen(table)
    table.fold()
    assert seen(table) == before


def test_there_is_no_file_of_shared_memory(table: SqliteTable, path: Path) -> None:
    put(table, TaskState.QUEUED)
    table.commit(mark(1, 0))
    assert sorted(each.name for each in path.parent.iterdir()) == ["table.sqlite", "table.sqlite-wal"]


def test_reading_what_is_folded_leaves_the_file_locked(table: SqliteTable, path: Path) -> None:
    """Closing a handle of its own would free the file for other processes."""
    put(table, TaskState.QUEUED)
    table.commit(mark(1, 0))
    table.folded(0, 10)
    command = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('SELECT * FROM task')"
    tried = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert "database is locked" in tried.stderr


def test_what_a_commit_says_is_given_to_whoever_decides(path: Path) -> None:
    committed(path, 3)
    asked: list[file.Stored] = []
    with closing(SqliteTable.open(path, lambda stored: asked.append(stored) or 0)) as table:
        assert asked == [file.Stored(mark(1, 2), file.boot_id())]
        assert table.mark == mark(1, 2)


def test_after_a_cut_it_is_asked_again(path: Path) -> None:
    committed(path, 3)
    asked: list[Mark] = []

    def keep(stored: file.Stored) -> int:
        asked.append(stored.mark)
        return 2 if len(asked) == 1 else 0

    with closing(SqliteTable.open(path, keep)) as table:
        assert asked == [mark(1, 2), mark(1, 0)]
        assert [one.no for one in table.listing(ListFilter(), None, 10)] == [0]
    committed(path, 3)
    with closing(SqliteTable.open(path, lambda stored: 1)) as table:
        assert is_empty(table), "after the cut there was still something to cut"


def test_what_was_taken_back_is_not_found_later(path: Path) -> None:
    committed(path, 3)
    SqliteTable.open(path, lambda stored: stored.mark.segment - 1).close()
    with closing(SqliteTable.open(path, all_of_it)) as table:
        assert table.mark == mark(1, 1)


def test_what_runs_can_be_reported_after_a_restart(path: Path) -> None:
    committed(path)
    with closing(SqliteTable.open(path, all_of_it)) as table:
        table.succeed([(0, b"1", 4_000, 1)], LEASE, 5_000)
        assert table.grants() == []
        table.commit(mark(1, 1))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM lease").fetchone() == (0,)


def overwrite(path: Path, offset: int, what: bytes) -> None:
    with path.open("r+b") as opened:
        opened.seek(offset)
        opened.write(what)


def alter(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (file.discard, "there is none"),
    "an empty file": (lambda path: path.write_bytes(b""), "another version"),
    "no database": (lambda path: path.write_bytes(b"not a database" * 1_000), "not a database"),
    "somebody else's": (lambda path: alter(path, "PRAGMA application_id = 7"), "another version"),
    "an older version": (lambda path: alter(path, f"PRAGMA user_version = {mapping.SCHEMA_VERSION + 1}"), "version"),
    "nothing committed": (lambda path: alter(path, "DELETE FROM meta"), "nothing was ever committed"),
    "another boot": (lambda path: alter(path, "UPDATE meta SET boot = 'another'"), "started again"),
    "a boot that nobody knew": (lambda path: alter(path, "UPDATE meta SET boot = ''"), "started again"),
    "a table is missing": (lambda path: alter(path, "DROP TABLE lease"), "no such table"),
    "names are missing": (lambda path: alter(path, "UPDATE leaf SET priority = 'odd'"), "odd"),
    "a lease is no list": (lambda path: alter(path, "UPDATE lease SET nos = '[1'"), "malformed"),
    "pages are gone": (lambda path: os.truncate(path, PAGE_BYTES + 100), "malformed"),
    "a page is zero": (lambda path: overwrite(path, PAGE_BYTES, bytes(PAGE_BYTES * 30)), "malformed"),
}
"""What becomes of a folded file, and what is said of it then."""


@pytest.mark.parametrize("name", SPOILERS)
def test_a_file_that_is_of_no_use_is_replaced(path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    spoil, reason = SPOILERS[name]
    with closing(SqliteTable(path)) as table:
        put(table, TaskState.RUNNING, 1)
        table.commit(mark(1, 0))
        table.fold()
    spoil(path)
    with caplog.at_level(logging.INFO), closing(SqliteTable.open(path, all_of_it)) as table:
        assert is_empty(table)
        assert reason in caplog.text
        put(table, TaskState.QUEUED)
        table.commit(mark(2, 0))
    with closing(SqliteTable.open(path, all_of_it)) as table:
        assert table.mark == mark(2, 0)


def test_whoever_decides_may_want_none_of_it(path: Path) -> None:
    committed(path)
    with closing(SqliteTable.open(path, lambda stored: None)) as table:
        assert is_empty(table)


def test_a_file_in_use_is_left_to_whoever_uses_it(table: SqliteTable, path: Path) -> None:
    """As when two dispatchers are there: each goes on with what it has."""
    put(table, TaskState.QUEUED, 1)
    table.commit(mark(1, 0))
    with closing(SqliteTable.open(path, all_of_it)) as other:
        assert is_empty(other)
        put(other, TaskState.QUEUED, 2)
        other.commit(mark(2, 0))
        put(table, TaskState.QUEUED, 3)
        table.commit(mark(1, 1))
        assert [one.no for one in other.listing(ListFilter(), None, 10)] == [2]


def test_the_boot_does_not_matter_for_a_file_that_was_just_written_whole(path: Path) -> None:
    committed(path)
    alter(path, "UPDATE meta SET boot = 'another'")
    with closing(SqliteTable.open(path, all_of_it, any_boot=True)) as table:
        assert table.mark == mark(1, 0)


def test_more_commits_than_there_are_since_the_last_fold_cannot_be_taken_back(path: Path) -> None:
    with closing(SqliteTable(path)) as table:
        for number in range(3):
            put(table, TaskState.QUEUED, number)
            table.commit(mark(1, number))
            if number == 0:
                table.fold()
    shutil.copy(path, path.with_name("copy"))
    shutil.copy(file.wal_of(path), path.with_name("copy-wal"))
    with closing(SqliteTable.open(path, lambda stored: stored.mark.segment)) as table:
        assert table.mark == mark(1, 0)
    with closing(SqliteTable.open(path.with_name("copy"), lambda stored: stored.mark.segment + 1)) as table:
        assert is_empty(table)


def test_commits_whose_folding_has_begun_cannot_be_taken_back(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody may fold what is not durable; should it be done all the same, it is noticed."""
    committed(path, 3)
    written = Log(file.wal_of(path).read_bytes())
    page, content = min(written.pages_from(written.end_without(1) or 0).items())
    overwrite(path, (page - 1) * PAGE_BYTES, content)
    with (
        caplog.at_level(logging.INFO),
        closing(SqliteTable.open(path, lambda stored: stored.mark.segment - 1)) as table,
    ):
        assert is_empty(table)
    assert "folding them has begun" in caplog.text


@pytest.mark.parametrize("offset", [0, 16, HEAD_BYTES + 8, HEAD_BYTES + 16, HEAD_BYTES + FRAME_HEAD_BYTES + 100])
def test_a_log_that_is_damaged_ends_there(path: Path, offset: int) -> None:
    """SQLite and we agree: the first frame is not whole, so there is no commit, and nothing to go on from."""
    committed(path)
    wal = file.wal_of(path)
    content = wal.read_bytes()
    overwrite(wal, offset, bytes(byte ^ 0xFF for byte in content[offset : offset + 4]))
    assert Log(wal.read_bytes()).commit_ends == []
    with closing(SqliteTable.open(path, all_of_it)) as table:
        assert is_empty(table)


def test_every_commit_ends_where_sqlite_sees_it_end(path: Path) -> None:
    committed(path, 3)
    wal = file.wal_of(path)
    content = wal.read_bytes()
    ends = Log(content).commit_ends
    assert len(ends) == 3
    assert ends[-1] == len(content)
    for commits, end in enumerate(ends, start=1):
        for cut in (end, end + 1, end + FRAME_HEAD_BYTES + 100):
            wal.write_bytes(content[:cut])
            assert Log(content[:cut]).commit_ends == ends[:commits]
            with closing(sqlite3.connect(path)) as db:
                assert db.execute("SELECT segment FROM meta").fetchone() == (commits - 1,)
                file.close(db)
