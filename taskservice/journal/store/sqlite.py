"""The working table in SQLite: millions of tasks in bounded memory.

It is run without regard for the loss of power, because the journal rebuilds it. A process may end at any moment, though:
each commit is in the file whole or not at all, with its place in the journal, and the next process can go on from it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

from taskservice.core.changes import Change
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.stretches import Reach, Stretch
from taskservice.core.table import Changed, Grant, Mark, Press, QueueKey
from taskservice.core.types import Leaf, ListFilter, RunnerId, Task, TaskId, TaskNo, TaskState, TenantId, Token
from taskservice.journal.store import file, mapping, moves, statements
from taskservice.journal.store.beside import Beside
from taskservice.journal.store.changes import Changes
from taskservice.journal.store.checkpoints import SqliteCheckpoints
from taskservice.journal.store.counts import Counts, LeafState
from taskservice.journal.store.grants import Grants
from taskservice.journal.store.ids import Ids
from taskservice.journal.store.listing import Listing
from taskservice.journal.store.moves import KnownStanding, Move
from taskservice.journal.store.numbers import Numbers
from taskservice.journal.store.past import SqlitePast
from taskservice.journal.store.ranges import Ranges

log = logging.getLogger(__name__)

_BEFORE_ALL = -(2**63)


class SqliteTable(Beside):
    """A `TaskTable` in a file, or in memory. One caller at a time, from any thread.

    After an `sqlite3.Error` (the disk is full, say) the table is worth nothing: end the process, the journal has it all.
    Only as many tasks run as the cluster has room for. So their leases are kept in RAM as well: no report has to look
    them up, and no index has to follow them.
    """

    def __init__(self, path: file.Place, db: sqlite3.Connection | None = None) -> None:
        """An empty table, in place of any that was at `path`; or the one that `db` has open."""
        super().__init__(file.created(path) if db is None else db)
        self._path = path
        self._boot = file.boot_id()
        self._numbers = Numbers(self._db)
        self._counts = Counts()
        self.totals = self._counts.totals
        self._grants = Grants()
        self._ids = Ids(self._db) if db is None else Ids(self._db, *self._db.execute(statements.GET_SETTLED).fetchone())
        self.past = SqlitePast(self._db, self._numbers, self._counts, self._ids)
        self._ranges = Ranges(self._db, self._numbers)
        self._running: dict[TaskNo, KnownStanding] = {}
        """What stands in a row as state, epoch and seq of a task that runs."""
        self.checkpoints = SqliteCheckpoints(self._db, self._running, self._references)
        self._changes = Changes(self._db, self._numbers, self._counts, self._ids, self.checkpoints)
        self._listing = Listing(self._db, self._numbers, self._counts, self._running)
        self._mark: Mark | None = None
        if db is not None:
            self._take_up()
        self._main = os.open(path, os.O_RDONLY) if isinstance(path, Path) else None
        """Kept open: closing any handle of the file would free it for others (POSIX locks are the process's)."""
        self._db.execute("BEGIN")
        self._committed = self._db.total_changes
        """How many changes there were by the last commit."""

    @classmethod
    def open(cls, path: Path, keep: file.Keep, *, any_boot: bool = False) -> SqliteTable:
        """The table that is at `path`, without the commits that `keep` says are too many; if that is not to be had, for
        whatever reason, an empty one, whose `mark` is None.

        What a file says is not to be trusted, nor is a commit in it known to be durable: `keep` compares its mark with
        the journal. `any_boot`: the file was written whole just now, so that it does not matter when its commits were made.
        """
        why: Exception
        try:
            db = file.taken_up(path, keep, any_boot=any_boot)
        except (file.Unusable, sqlite3.Error, OSError) as unusable:
            why = unusable
        else:
            try:
                return cls(path, db)
            except (sqlite3.Error, ValueError, LookupError) as damaged:
                file.close(db)
                why = damaged
        log.info("the working table is built anew, that at %s is of no use: %s", path, why)
        return cls(path)

    def close(self) -> None:
        """The file is free for other readers. What was changed since the last commit is dropped."""
        file.close(self._db)
        if self._main is not None:
            os.close(self._main)
            self._main = None

    @property
    def mark(self) -> Mark | None:
        return self._mark

    def commit(self, mark: Mark) -> None:
        rows = [(*self._counts.of_leaf(leaf), self._numbers.of_leaf(leaf)) for leaf in self._counts.touched()]
        self._db.executemany(statements.SET_COUNTS, rows)
        self._db.execute(statements.SET_MARK, (*mark, self._boot, self._ids.settled_no))
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")
        self._mark = mark
        self._committed = self._db.total_changes

    @property
    def wal_bytes(self) -> int:
        return file.wal_of(self._path).stat().st_size if isinstance(self._path, Path) else 0

    def fold(self) -> None:
        """As the protocol says: SQLite's log is empty, and the database file holds what was committed. Until the next
        `fold` nothing writes to that file."""
        assert self._db.total_changes == self._committed, "what is not committed cannot be folded"
        self._db.execute("COMMIT")
        busy, _, _ = self._db.execute(statements.FOLD).fetchone()
        self._db.execute("BEGIN")
        assert not busy, "the fold was not complete"
        assert not self.wal_bytes, "the fold was not complete"

    @property
    def folded_bytes(self) -> int:
        """The size of the database file: the table as of the last `fold`."""
        return 0 if self._main is None else os.fstat(self._main).st_size

    def folded(self, offset: int, count: int) -> bytes:
        """So many bytes of the database file, fewer at its end. For any thread; nobody else may open the file meanwhile."""
        return b"" if self._main is None else os.pread(self._main, count, offset)

    def insert(self, tasks: Sequence[Task]) -> None:
        leaves = [task.leaf for task in tasks]
        new_rows = [
            mapping.to_row(task, self._numbers.of_tenant(task.tenant), self._numbers.of_leaf(leaf))
            for task, leaf in zip(tasks, leaves, strict=True)
        ]
        keys = [(row[1], row[2]) for row in new_rows]
        if any(task.state not in moves.INSERT_STATES for task in tasks) or not self._ids.are_new(keys):
            self._check_insert(tasks)
        self._db.execute("SAVEPOINT before_insert")
        try:
            self._db.executemany(statements.INSERT_TASK, new_rows)
            self._db.executemany(statements.INSERT_PAYLOAD, [(task.no, task.payload) for task in tasks])
        except Exception:
            self._db.execute("ROLLBACK TO before_insert")
            self._check_insert(tasks)
            raise
        finally:
            self._db.execute("RELEASE before_insert")
        self._counts.added(zip(leaves, (task.state for task in tasks), strict=True))
        pairs = zip(leaves, tasks, strict=True)
        self._counts.queued([(leaf, len(task.payload)) for leaf, task in pairs if task.state is TaskState.QUEUED], +1)
        self._ids.add(keys, [task.no for task in tasks])
        self._references.add(task.payload for task in tasks)

    def make_due(self, nos: Sequence[TaskNo]) -> None:
        before = self._check_idle(moves.DUE, nos)
        self._db.executemany(statements.MAKE_DUE, [(no,) for no in nos])
        self._counts.moved(before, moves.DUE.target)
        self._counts.queued(self._sizes(nos), +1)

    def lease(self, nos: Sequence[TaskNo], token: Token, runner: RunnerId, at_ms: int, version: int = 0) -> list[Task]:
        if not nos:
            return []
        self._db.execute("SAVEPOINT before_lease")
        try:
            leased = self._db.executemany(statements.LEASE, [(*token, at_ms, version, no) for no in nos])
            if leased.rowcount != len(nos):
                self._db.execute("ROLLBACK TO before_lease")
                self._check_idle(moves.LEASE, nos)
        finally:
            self._db.execute("RELEASE before_lease")
        tasks = self.load(nos)
        leaves = [task.leaf for task in tasks]
        self._counts.moved(zip(leaves, repeat(TaskState.QUEUED)), moves.LEASE.target)
        self._counts.queued([(leaf, len(task.payload)) for leaf, task in zip(leaves, tasks, strict=True)], -1)
        held = {leaf: KnownStanding(leaf, TaskState.RUNNING, token) for leaf in leaves}
        self._running.update((no, held[leaf]) for no, leaf in zip(nos, leaves, strict=True))
        self._grants.granted(token, runner, nos)
        granted = self._grants.get(token)
        self._db.execute(statements.SET_LEASE, (*token, granted.runner, mapping.json_list(granted.nos)))
        return tasks

    def succeed(self, rows: Sequence[tuple[TaskNo, bytes, int, int]], token: Token, at_ms: int, log: str = "") -> None:
        nos = [row[0] for row in rows]
        values = [(result, started_ms, duration_us, at_ms, log, no) for no, result, started_ms, duration_us in rows]
        self._leave(moves.SUCCEED, statements.SUCCEED, nos, values, token)
        self._references.add(row[1] for row in rows)

    def retry(self, rows: Sequence[RetryRow], token: Token) -> None:
        nos = [row.no for row in rows]
        before = self._check_running(moves.RETRY, nos, token)
        leaves = [moves.retried(leaf, row) for (leaf, _), row in zip(before, rows, strict=True)]
        self._db.executemany(
            statements.RETRY,
            [mapping.retried(row, self._numbers.of_leaf(leaf)) for leaf, row in zip(leaves, rows, strict=True)],
        )
        self._end_attempts(nos, before, [(leaf, moves.RETRY.target) for leaf in leaves], token)

    def fail(self, rows: Sequence[DeadRow], token: Token, at_ms: int) -> None:
        nos = [row.no for row in rows]
        self._leave(moves.FAIL, statements.FAIL, nos, [mapping.failed(row, at_ms) for row in rows], token)

    def hand_back(self, nos: Sequence[TaskNo], token: Token, log: str = "") -> None:
        self._go_back(moves.HAND_BACK, statements.HAND_BACK, nos, token, log)

    def preempt(self, nos: Sequence[TaskNo], token: Token, log: str = "") -> None:
        self._go_back(moves.PREEMPT, statements.PREEMPT, nos, token, log)

    def cancel(self, nos: Sequence[TaskNo], token: Token, at_ms: int, log: str = "") -> None:
        self._leave(moves.STOP, statements.STOP, nos, [(at_ms, log, no) for no in nos], token)

    def change(self, change: Change, nos: Sequence[TaskNo]) -> list[Changed]:
        standings = self._standings(nos)
        moves.check_change(change.kind, nos, standings)
        return self._changes.named(change, {no: standings[no][:2] for no in nos})

    def expire(self, nos: Sequence[TaskNo], at_ms: int) -> list[Changed]:
        return self._changes.expired(at_ms, dict(zip(nos, self._check_idle(moves.EXPIRE, nos), strict=True)))

    def press(self, nos: Sequence[TaskNo]) -> list[Changed]:
        return self._changes.press(nos, self._standings(nos))

    def put_off(self, rows: Sequence[tuple[TaskNo, int]]) -> None:
        self._changes.put_off(rows, self._standings([no for no, _ in rows]))

    def load(self, nos: Sequence[TaskNo]) -> list[Task]:
        found = {task.no: task for task in self._tasks(statements.LOAD, (mapping.json_list(nos),))}
        return [found[no] for no in nos]

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        number = self._numbers.of_known_tenant(tenant)
        found = {} if number is None else self._ids.find(number, ids)
        here = self._tasks(statements.LOAD, (mapping.json_list(found.values()),)) if found else []
        tasks = {task.id: task for task in here}
        return {id: tasks[id] for id in ids if id in tasks}

    def hooked(self, nos: Sequence[TaskNo]) -> list[TaskNo]:
        found = {no for (no,) in self._db.execute(statements.HOOKED, (mapping.json_list(nos),))}
        return [no for no in nos if no in found]

    def next_queued(self, leaf: Leaf, after: QueueKey | None, limit: int) -> list[QueueKey]:
        number = self._numbers.of_known_leaf(leaf)
        if number is None:
            return []
        rows: list[tuple[int, TaskNo, int | None]] = []
        if after is not None:
            rows = self._db.execute(statements.NEXT_DUE_THEN, (number, *after[:2], limit)).fetchall()
        due_ms = _BEFORE_ALL if after is None else after.due_ms
        rows += self._db.execute(statements.NEXT_DUE_LATER, (number, due_ms, limit - len(rows))).fetchall()
        return [QueueKey(*row) for row in rows]

    def due_by(self, now_ms: int, limit: int) -> list[Task]:
        return self._tasks(statements.DUE_BY, (now_ms, limit))

    def expired_by(self, now_ms: int, limit: int) -> list[TaskNo]:
        return [no for (no,) in self._db.execute(statements.EXPIRED_BY, (now_ms, limit))]

    def resumed_by(self, now_ms: int, limit: int) -> list[TaskNo]:
        return [no for (no,) in self._db.execute(statements.RESUMED_BY, (now_ms, limit))]

    def pressed_by(self, now_ms: int, limit: int) -> list[Press]:
        rows = self._db.execute(statements.PRESSED_BY, (now_ms, limit))
        return [Press(no, self._numbers.leaves[leaf], deadline_ms) for no, leaf, deadline_ms in rows]

    def next_timed_ms(self) -> int | None:
        return self._db.execute(statements.NEXT_TIMED).fetchone()[0]  # type: ignore[no-any-return]  # a time, or NULL

    def listing(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> list[Task]:
        return self.load(self._listing.nos(wanted, before_no, limit))

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        return self._ranges.reach(leaf, states, after_no, upto_no, limit)

    def count_between(self, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> int:
        return self._ranges.count(stretch, wanted, ended_by_ms)

    def change_between(self, change: Change, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> Changed:
        return self._changes.between(change, stretch, wanted, ended_by_ms)

    def count_running(self, wanted: ListFilter) -> int:
        return self._listing.running(wanted)

    def queued_since(self, leaf: Leaf, after_no: TaskNo, limit: int) -> list[QueueKey]:
        return self._ranges.queued_since(leaf, after_no, limit)

    def passing(self, nos: Sequence[TaskNo], wanted: ListFilter) -> list[TaskNo]:
        return self._listing.passing(nos, wanted)

    def counts(self, tenant: TenantId | None = None) -> dict[LeafState, int]:
        return dict(self._counts.items(tenant))

    def queued_bytes(self, leaf: Leaf) -> int:
        return self._counts.queued_bytes(leaf)

    def grants(self) -> list[Grant]:
        return self._grants.all()

    def _take_up(self) -> None:
        """What is kept in RAM is as the file says."""
        found = file.stored(self._db)
        self._mark = None if found is None else found.mark
        for number, *counts in self._db.execute(statements.COUNTS):
            self._counts.are(self._numbers.leaves[number], counts)
        for epoch, seq, runner, nos in self._db.execute(statements.LEASES).fetchall():
            token = Token(epoch, seq)
            wish = {"nos": nos, "epoch": epoch, "seq": seq}
            running = self._db.execute(statements.RUNNING, wish).fetchall()
            self._grants.granted(token, RunnerId(runner), [TaskNo(no) for no, _ in running])
            for no, leaf in running:
                self._running[no] = KnownStanding(self._numbers.leaves[leaf], TaskState.RUNNING, token)

    def _sizes(self, nos: Sequence[TaskNo]) -> Iterator[tuple[Leaf, int]]:
        """The tasks' leaves, and the sizes of their payloads."""
        for leaf, size in self._db.execute(statements.SIZES, (mapping.json_list(nos),)):
            yield self._numbers.leaves[leaf], size

    def _tasks(self, statement: str, wish: Sequence[object]) -> list[Task]:
        leaves = self._numbers.leaves
        return [mapping.to_task(row, leaves) for row in self._db.execute(statement, wish)]

    def _check_idle(self, move: Move, nos: Sequence[TaskNo]) -> list[LeafState]:
        """Where the tasks are, none of them under a lease; IllegalMove if one may not make the move."""
        standings = self._standings(nos)
        moves.check_move(move, nos, standings)
        return [standings[no][:2] for no in nos]

    def _standings(self, nos: Sequence[TaskNo]) -> dict[TaskNo, KnownStanding]:
        """Those of these tasks that are here, each as if it were under no lease."""
        return {
            no: KnownStanding(self._numbers.leaves[leaf], mapping.STATES[state], None)
            for no, leaf, state in self._db.execute(statements.STANDINGS, (mapping.json_list(nos),))
        }

    def _check_running(self, move: Move, nos: Sequence[TaskNo], token: Token) -> list[LeafState]:
        """Where the tasks are, all of them under this lease; IllegalMove if one is not."""
        moves.check_move(move, nos, self._running, token)
        return [self._running[no][:2] for no in nos]

    def _end_attempts(
        self, nos: Sequence[TaskNo], before: Sequence[LeafState], after: Sequence[LeafState], token: Token
    ) -> None:
        self._counts.changed(before, after)
        for no in nos:
            del self._running[no]
        if self._grants.ended(token, nos):
            self._db.execute(statements.DELETE_LEASE, token)

    def _leave(self, move: Move, text: str, nos: Sequence[TaskNo], rows: Sequence[mapping.Row], token: Token) -> None:
        """The running tasks have made the move, each as its row for the statement says; they are in the same leaves."""
        before = self._check_running(move, nos, token)
        self._db.executemany(text, rows)
        self._end_attempts(nos, before, moves.moved(before, move), token)

    def _go_back(self, move: Move, statement: str, nos: Sequence[TaskNo], token: Token, log: str) -> None:
        self._leave(move, statement, nos, [(log, no) for no in nos], token)
        self._counts.queued(self._sizes(nos), +1)

    def _check_insert(self, tasks: Sequence[Task]) -> None:
        """Raises IllegalMove if the tasks cannot be inserted. Slow: asked only when they could not."""
        taken = {no for (no, _, _) in self._db.execute(statements.STANDINGS, (mapping.json_list(t.no for t in tasks),))}
        number = self._numbers.of_tenant
        known = {(task.tenant, task.id) for task in tasks if self._ids.find(number(task.tenant), [task.id])}
        moves.check_insert(tasks, taken, known)
