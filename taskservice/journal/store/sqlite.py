"""The working table in SQLite: millions of tasks in bounded memory.

It is run without any regard for crashes, because the journal rebuilds it: opening always starts with an EMPTY file,
and replaying the journal is the only recovery. The place in the journal that each commit stores tells whoever reads the
file afterwards how far it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.table import QueueKey
from taskservice.core.types import Leaf, ListFilter, Task, TaskId, TaskNo, TaskState, TenantId, Token
from taskservice.journal.store import mapping, moves, statements
from taskservice.journal.store.counts import Counts, LeafState
from taskservice.journal.store.moves import Move
from taskservice.journal.store.numbers import Numbers

CACHE_BYTES = 256 * 1024 * 1024
"""Memory that SQLite may use for pages of the table; what is beyond it is read from the file again."""

_BEFORE_ALL = QueueKey(-(2**63), TaskNo(-(2**63)))
_AFTER_ALL = TaskNo(2**63 - 1)


class _Standing(NamedTuple):
    """Where a task stands: all that a move needs to know of it."""

    leaf: Leaf
    state: TaskState
    token: Token | None


class SqliteTable:
    """A `TaskTable` in the file `path`, which is emptied first, or in memory. One caller at a time, from any thread.

    After an `sqlite3.Error` (the disk is full, say) the table is worth nothing: end the process, the journal has it all.
    Only as many tasks run as the cluster has room for. So their leases are kept in RAM as well: no report has to look
    them up, and no index has to follow them.
    """

    def __init__(self, path: Path | Literal[":memory:"]) -> None:
        if isinstance(path, Path):
            for suffix in ("", "-journal", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for statement in (*statements.PRAGMAS, f"PRAGMA cache_size = -{CACHE_BYTES // 1024}", *mapping.SCHEMA, "BEGIN"):
            self._db.execute(statement)
        self._numbers = Numbers(self._db)
        self._counts = Counts()
        self._running: dict[TaskNo, _Standing] = {}
        """What stands in a row as state, epoch and seq of a task that runs."""

    def close(self) -> None:
        """The file is free for other readers. What was changed since the last commit is dropped."""
        self._db.close()

    def commit(self, epoch: int, segment: int) -> None:
        self._db.execute(statements.SET_POSITION, (epoch, segment))
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def insert(self, tasks: Sequence[Task]) -> None:
        if any(task.state not in moves.INSERT_STATES for task in tasks):
            self._check_insert(tasks)
        leaves = [task.leaf for task in tasks]
        new_rows = [
            mapping.to_row(task, self._numbers.of_tenant(task.tenant), self._numbers.of_leaf(leaf))
            for task, leaf in zip(tasks, leaves, strict=True)
        ]
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

    def make_due(self, nos: Sequence[TaskNo]) -> None:
        before = self._check_idle(moves.DUE, nos)
        self._db.executemany(statements.MAKE_DUE, [(no,) for no in nos])
        self._counts.moved(before, moves.DUE.target)

    def lease(self, nos: Sequence[TaskNo], token: Token, at_ms: int) -> None:
        before = self._check_idle(moves.LEASE, nos)
        self._db.executemany(statements.LEASE, [(*token, at_ms, no) for no in nos])
        self._counts.moved(before, moves.LEASE.target)
        held = {leaf: _Standing(leaf, TaskState.RUNNING, token) for leaf, _ in before}
        self._running.update((no, held[leaf]) for no, (leaf, _) in zip(nos, before, strict=True))

    def succeed(self, rows: Sequence[tuple[TaskNo, bytes, int, int]], token: Token, at_ms: int) -> None:
        nos = [row[0] for row in rows]
        before = self._check_running(moves.SUCCEED, nos, token)
        self._db.executemany(
            statements.SUCCEED,
            [(result, started_ms, duration_us, at_ms, no) for no, result, started_ms, duration_us in rows],
        )
        self._end_attempts(moves.SUCCEED, nos, before)

    def retry(self, rows: Sequence[RetryRow], token: Token) -> None:
        nos = [row.no for row in rows]
        before = self._check_running(moves.RETRY, nos, token)
        self._db.executemany(
            statements.RETRY,
            [
                (
                    row.due_ms,
                    mapping.error_text(row.error),
                    row.attempt,
                    row.crashes,
                    row.losses,
                    row.duration_us,
                    row.no,
                )
                for row in rows
            ],
        )
        self._end_attempts(moves.RETRY, nos, before)

    def fail(self, rows: Sequence[DeadRow], token: Token, at_ms: int) -> None:
        nos = [row.no for row in rows]
        before = self._check_running(moves.FAIL, nos, token)
        self._db.executemany(
            statements.FAIL,
            [(mapping.error_text(row.error), row.crashes, row.losses, row.duration_us, at_ms, row.no) for row in rows],
        )
        self._end_attempts(moves.FAIL, nos, before)

    def hand_back(self, nos: Sequence[TaskNo], token: Token) -> None:
        before = self._check_running(moves.HAND_BACK, nos, token)
        self._db.executemany(statements.HAND_BACK, [(no,) for no in nos])
        self._end_attempts(moves.HAND_BACK, nos, before)

    def cancel(self, nos: Sequence[TaskNo], at_ms: int) -> None:
        before = self._check_idle(moves.CANCEL, nos)
        self._db.executemany(statements.CANCEL, [(at_ms, no) for no in nos])
        self._counts.moved(before, moves.CANCEL.target)

    def load(self, nos: Sequence[TaskNo]) -> list[Task]:
        found = {task.no: task for task in self._tasks(statements.LOAD, (mapping.json_list(nos),))}
        return [found[no] for no in nos]

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        number = self._numbers.of_known_tenant(tenant)
        found = {task.id: task for task in self._tasks(statements.FIND, (number, mapping.json_list(ids)))}
        return {id: found[id] for id in ids if id in found}

    def next_queued(self, leaf: Leaf, after: QueueKey | None, limit: int) -> list[QueueKey]:
        wish = (self._numbers.of_known_leaf(leaf), *(after or _BEFORE_ALL), limit)
        return [QueueKey(due_ms, no) for due_ms, no in self._db.execute(statements.NEXT_QUEUED, wish)]

    def due_by(self, now_ms: int, limit: int) -> list[Task]:
        return self._tasks(statements.DUE_BY, (now_ms, limit))

    def next_due_ms(self) -> int | None:
        row: tuple[int] | None = self._db.execute(statements.NEXT_DUE).fetchone()
        return row[0] if row else None

    def listing(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> list[Task]:
        """As the protocol says, in time that grows with `limit` and with the number of leaves and states wanted. Only
        a tag or a time of creation is searched for: task by task, among those that are wanted otherwise."""
        wish = {
            "before_no": _AFTER_ALL if before_no is None else before_no,
            "created_after_ms": wanted.created_after_ms,
            "created_before_ms": wanted.created_before_ms,
            "tag": None if wanted.tag is None else mapping.tags_text([wanted.tag]),
            "limit": limit,
        }
        if (wanted.tenant, wanted.function, wanted.priority, wanted.states) == (None, None, None, ()):
            return self.load(self._nos(statements.LIST_ALL, wish))
        places = [place for place, _ in self._counts.items(wanted.tenant) if _has(wanted, place)]
        return self.load(sorted(self._nos_by_place(places, wish), reverse=True)[:limit])

    def counts(self, tenant: TenantId | None = None) -> dict[LeafState, int]:
        return dict(self._counts.items(tenant))

    def _nos_by_place(self, places: Sequence[LeafState], wish: Mapping[str, object]) -> list[TaskNo]:
        """Of each of these places the newest that fulfil the wish, in no order."""
        nos: list[TaskNo] = []
        running: set[Leaf] = set()
        for leaf, state in places:
            if state is TaskState.RUNNING:
                running.add(leaf)
            else:
                place = {"leaf": self._numbers.of_leaf(leaf), "state": state}
                nos += self._nos(statements.LIST_PLACE, {**wish, **place})
        held = [no for no, standing in self._running.items() if standing.leaf in running] if running else []
        if held:
            nos += self._nos(statements.LIST_NOS, {**wish, "nos": mapping.json_list(held)})
        return nos

    def _nos(self, statement: str, wish: Mapping[str, object]) -> list[TaskNo]:
        return [no for (no,) in self._db.execute(statement, wish)]

    def _tasks(self, statement: str, wish: Sequence[object]) -> list[Task]:
        leaves = self._numbers.leaves
        return [mapping.to_task(row, leaves) for row in self._db.execute(statement, wish)]

    def _check_idle(self, move: Move, nos: Sequence[TaskNo]) -> list[LeafState]:
        """Where the tasks are, none of them under a lease; IllegalMove if one may not make the move."""
        leaves = self._numbers.leaves
        standings = {
            no: _Standing(leaves[leaf], mapping.STATES[state], None)
            for no, leaf, state in self._db.execute(statements.STANDINGS, (mapping.json_list(nos),))
        }
        moves.check_move(move, nos, standings)
        return [standings[no][:2] for no in nos]

    def _check_running(self, move: Move, nos: Sequence[TaskNo], token: Token) -> list[LeafState]:
        """Where the tasks are, all of them under this lease; IllegalMove if one is not."""
        moves.check_move(move, nos, self._running, token)
        return [self._running[no][:2] for no in nos]

    def _end_attempts(self, move: Move, nos: Sequence[TaskNo], before: Sequence[LeafState]) -> None:
        self._counts.moved(before, move.target)
        for no in nos:
            del self._running[no]

    def _check_insert(self, tasks: Sequence[Task]) -> None:
        """Raises IllegalMove if the tasks cannot be inserted. Slow: asked only when they could not."""
        taken = {no for (no, _, _) in self._db.execute(statements.STANDINGS, (mapping.json_list(t.no for t in tasks),))}
        known = {(task.tenant, task.id) for task in tasks if self.find(task.tenant, [task.id])}
        moves.check_insert(tasks, taken, known)


def _has(wanted: ListFilter, place: LeafState) -> bool:
    """Whether a place of the wanted tenant may hold what is wanted."""
    leaf, state = place
    return (
        (wanted.function is None or leaf.function == wanted.function)
        and (wanted.priority is None or leaf.priority == wanted.priority)
        and (not wanted.states or state in wanted.states)
    )
