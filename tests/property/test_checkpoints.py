"""Checkpoints of files that change in any way, and of owners that come and go: nothing lost, nothing uploaded twice."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.crashing_objects import CrashingObjects, dies_before, loses_the_answer
from helpers.owners import Owner, RecordingObjects, check
from helpers.stories import PUBLISH, append_two
from helpers.tables import mark, task
from helpers.unreliable_objects import UnreliableObjects
from taskservice.core.types import Token
from taskservice.journal import Position
from taskservice.journal.checkpoint import Index
from taskservice.journal.chunks import CHUNK_BYTES, digest_of, load, save
from taskservice.journal.store.sqlite import SqliteTable
from taskservice.objects import ObjectStore

FILE_CHUNK_BYTES = 64
TABLE_CHUNK_BYTES = 8 * 1024


def saved(store: ObjectStore, path: Path, number: int, base: Index | None, chunk_bytes: int) -> Index:
    return save(
        store,
        path,
        Position(1, number, bytes(16)),
        base,
        log="log",
        stop=threading.Event(),
        threads=2,
        cpu_ratio_max=2.0,
        chunk_bytes=chunk_bytes,
    )


def loaded(store: ObjectStore, index: Index, path: Path) -> bytes:
    load(store, index.ref, path, stop=threading.Event(), threads=2)
    return path.read_bytes()


def new_contents(index: Index, base: Index | None) -> int:
    """How many chunks hold what no chunk of `base` does; one that is in several places counts once."""
    known = {chunk.digest for chunk in base.chunks} if base else set()
    return len({chunk.digest for chunk in index.chunks} - known)


@contextmanager
def folder() -> Iterator[Path]:
    """Hypothesis runs a test many times within one of pytest's temporary folders."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


EDITS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 500), st.binary(min_size=1, max_size=100)),
    st.tuples(st.just("fill"), st.integers(0, 500), st.integers(1, 300)),
    st.tuples(st.just("truncate"), st.integers(0, 500), st.just(0)),
)


def edited(path: Path, edit: tuple) -> None:
    kind, offset, what = edit
    with path.open("r+b") as file:
        if kind == "truncate":
            file.truncate(offset)
        else:
            file.seek(offset)
            file.write(what if kind == "write" else b"=" * what)


@settings(max_examples=150)
@given(st.lists(st.lists(EDITS, max_size=4), min_size=1, max_size=6))
def test_a_file_that_is_edited_at_random(rounds: list[list[tuple]]):
    """Each checkpoint gives its own bytes for as long as it stands, and uploads what is new to the one before."""
    with folder() as home:
        store, path = UnreliableObjects(), home / "table"
        path.write_bytes(b"")
        base: Index | None = None
        contents: list[tuple[Index, bytes]] = []
        for number, edits in enumerate(rounds):
            for edit in edits:
                edited(path, edit)
            puts = store.done["put"]
            index = saved(store, path, number, base, FILE_CHUNK_BYTES)
            # Two threads may find the same new content at the same time, and then both put it.
            assert new_contents(index, base) <= store.done["put"] - puts - 1 <= len(index.chunks)
            contents.append((index, path.read_bytes()))
            base = index
        for index, content in contents:
            assert loaded(store, index, home / "other") == content
            assert all(digest_of(content[at * 64 : at * 64 + 64]) == c.digest for at, c in enumerate(index.chunks))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_a_database_that_is_folded_between_checkpoints(seed: int, rounds: list[int]):
    """While a checkpoint is made the database is written to: that goes to its log, and not to the file."""
    rng = Random(seed)
    with folder() as home, closing(sqlite3.connect(home / "table", isolation_level=None)) as db:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = OFF", "wal_autocheckpoint = 0"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute("CREATE TABLE t (no INTEGER PRIMARY KEY, body BLOB)")
        db.execute("CREATE INDEX i ON t (body)")
        store = UnreliableObjects()
        base: Index | None = None
        for number, changes in enumerate(rounds):
            changed_at_random(db, rng, changes)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            rows = db.execute("SELECT * FROM t ORDER BY no").fetchall()
            db.execute("BEGIN")
            changed_at_random(db, rng, 20)
            db.execute("COMMIT")
            puts = store.done["put"]
            index = saved(store, home / "table", number, base, TABLE_CHUNK_BYTES)
            assert store.done["put"] - puts - 1 == new_contents(index, base)
            assert loaded(store, index, home / "other") == (home / "table").read_bytes()
            with closing(sqlite3.connect(home / "other")) as other:
                assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert other.execute("SELECT * FROM t ORDER BY no").fetchall() == rows
            base = index


def changed_at_random(db: sqlite3.Connection, rng: Random, changes: int) -> None:
    for _ in range(changes):
        no, body = rng.randrange(300), rng.randbytes(rng.randrange(2_000))
        db.execute(
            rng.choice(["REPLACE INTO t VALUES (?, ?)"] * 3 + ["DELETE FROM t WHERE no = ? OR body = ?"]), (no, body)
        )


def test_of_a_deep_backlog_only_what_was_worked_off_is_uploaded(tmp_path: Path):
    """100,000 tasks wait, and the oldest hundredth of them is done."""
    table = SqliteTable(tmp_path / "table")
    nos = range(1, 100_001)
    table.insert([task(no, payload=b'{"url":"https://example.org/%07d","pad":"%s"}' % (no, b"x" * 150)) for no in nos])
    table.commit(mark(1, 0))
    table.fold()
    store = UnreliableObjects()
    first = saved(store, tmp_path / "table", 0, None, CHUNK_BYTES)
    assert len(first.chunks) > 20
    done = nos[:1_000]
    table.lease(done, Token(1, 1), "runner", 5)
    table.succeed([(no, b"null", 1_000, 0) for no in done], Token(1, 1), 7)
    table.commit(mark(1, 1))
    table.fold()
    store.done.clear()
    second = saved(store, tmp_path / "table", 1, first, CHUNK_BYTES)
    assert store.done["put"] - 1 <= len(second.chunks) // 5
    table.close()
    assert loaded(store, second, tmp_path / "other") == (tmp_path / "table").read_bytes()


@pytest.mark.parametrize("seed", range(40))
def test_owners_that_come_and_go_at_random(tmp_path: Path, seed: int):
    """After each one the store holds what its newest manifest reaches, or garbage that the next owner finds."""
    rng = Random(seed)
    store = RecordingObjects()
    owners: list[Owner] = []
    for life in range(12):
        fate = rng.choice([dies_before, loses_the_answer])
        process = CrashingObjects(store, fate, rng.randrange(60))
        owner = Owner(process, tmp_path, f"o{life}")
        owners.append(owner)
        steps = [Owner.open, Owner.recover, *rng.choice([[], [Owner.sweep]])]
        for _ in range(rng.randrange(6)):
            steps += rng.choice([[Owner.append], [append_two(1, 0)], PUBLISH])
        owner.do(steps)
        owner.close()
        check(store, owners, tmp_path)
