"""The working table in plain Python containers: simulations and tests use it, and SQLite's table must equal it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

from msgspec.structs import replace

from taskservice.core.filters import passes
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.table import Changed, Grant, Mark, QueueKey, Reach
from taskservice.core.types import (
    TERMINAL_STATES,
    WAITING_STATES,
    Leaf,
    ListFilter,
    RunnerId,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    TenantId,
    Token,
)
from taskservice.journal.store import moves
from taskservice.journal.store.counts import Counts
from taskservice.journal.store.grants import Grants
from taskservice.journal.store.memory_past import MemoryPast
from taskservice.journal.store.moves import Move
from taskservice.journal.store.ordered import SPARE_MAX, Ordered
from taskservice.journal.store.references import keys_among


class MemoryTable:
    """A `TaskTable` that lives as long as this object. Nothing in it costs time in proportion to all tasks, but for a
    listing whose filter few tasks pass, and what is asked by ranges of numbers."""

    def __init__(self) -> None:
        self._tasks: dict[TaskNo, Task] = {}
        self._order: list[TaskNo] = []
        """Their numbers in order, and among them some that have left."""
        self._nos: dict[tuple[TenantId, TaskId], TaskNo] = {}
        self._queued: dict[Leaf, Ordered[QueueKey]] = {}
        self._waiting: Ordered[QueueKey] = Ordered()
        self._counts = Counts()
        self._grants = Grants()
        self._references: dict[str, None] = {}
        self._notes: dict[str, dict[str, bytes]] = {}
        self._mark: Mark | None = None
        self._past = MemoryPast(self._tasks, self._nos, self._left)

    @property
    def past(self) -> MemoryPast:
        return self._past

    def copy(self) -> MemoryTable:
        """Another table that holds the same: after a commit, what a file would be good for."""
        twin = MemoryTable()
        twin._tasks.update(self._tasks)
        twin._order = list(self._order)
        twin._nos.update(self._nos)
        twin._queued = {leaf: keys.copy() for leaf, keys in self._queued.items()}
        twin._waiting = self._waiting.copy()
        twin._counts = deepcopy(self._counts)
        twin._grants = deepcopy(self._grants)
        twin._references = dict(self._references)
        twin._notes = {kind: dict(noted) for kind, noted in self._notes.items()}
        twin._mark = self._mark
        twin._past.copied_from(self._past)
        return twin

    def insert(self, tasks: Sequence[Task]) -> None:
        moves.check_insert(tasks, self._tasks, self._nos)
        for task in tasks:
            self._tasks[task.no] = task
            self._nos[task.tenant, task.id] = task.no
            self._number(task.no)
            leaf = task.leaf
            self._enter(leaf, task)
            self._counts.came(leaf, task.state)
        self._references.update(dict.fromkeys(keys_among([task.payload for task in tasks])))

    def make_due(self, nos: Sequence[TaskNo]) -> None:
        self._move(moves.DUE, nos, None, lambda task: replace(task, state=TaskState.QUEUED))

    def lease(self, nos: Sequence[TaskNo], token: Token, runner: RunnerId, at_ms: int) -> list[Task]:
        def leased(task: Task) -> Task:
            return replace(task, state=TaskState.RUNNING, attempt=task.attempt + 1, token=token, started_ms=at_ms)

        self._move(moves.LEASE, nos, None, leased)
        self._grants.granted(token, runner, nos)
        return self.load(nos)

    def succeed(self, rows: Sequence[tuple[TaskNo, bytes, int, int]], token: Token, at_ms: int) -> None:
        row_of = {row[0]: row for row in rows}

        def succeeded(task: Task) -> Task:
            _, result, started_ms, duration_us = row_of[task.no]
            return replace(
                task,
                state=TaskState.SUCCEEDED,
                token=None,
                started_ms=started_ms,
                ended_ms=at_ms,
                duration_us=duration_us,
                result=result,
            )

        self._move(moves.SUCCEED, [row[0] for row in rows], token, succeeded)
        self._references.update(dict.fromkeys(keys_among([row[1] for row in rows])))

    def retry(self, rows: Sequence[RetryRow], token: Token) -> None:
        row_of = {row.no: row for row in rows}

        def retrying(task: Task) -> Task:
            row = row_of[task.no]
            return replace(
                task,
                state=TaskState.RETRYING,
                token=None,
                started_ms=None,
                due_ms=row.due_ms,
                error=row.error,
                attempt=row.attempt,
                crashes=row.crashes,
                losses=row.losses,
                duration_us=row.duration_us,
            )

        self._move(moves.RETRY, [row.no for row in rows], token, retrying)

    def fail(self, rows: Sequence[DeadRow], token: Token, at_ms: int) -> None:
        row_of = {row.no: row for row in rows}

        def failed(task: Task) -> Task:
            row = row_of[task.no]
            return replace(
                task,
                state=TaskState.FAILED,
                token=None,
                ended_ms=at_ms,
                error=row.error,
                crashes=row.crashes,
                losses=row.losses,
                duration_us=row.duration_us,
            )

        self._move(moves.FAIL, [row.no for row in rows], token, failed)

    def hand_back(self, nos: Sequence[TaskNo], token: Token) -> None:
        def queued_again(task: Task) -> Task:
            return replace(task, state=TaskState.QUEUED, attempt=task.attempt - 1, token=None, started_ms=None)

        self._move(moves.HAND_BACK, nos, token, queued_again)

    def cancel(self, nos: Sequence[TaskNo], at_ms: int) -> None:
        self._move(moves.CANCEL, nos, None, lambda task: replace(task, state=TaskState.CANCELLED, ended_ms=at_ms))

    def load(self, nos: Sequence[TaskNo]) -> list[Task]:
        return [self._tasks[no] for no in nos]

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        nos = {id: self._nos[tenant, id] for id in ids if (tenant, id) in self._nos}
        return {id: self._tasks[no] for id, no in nos.items() if no in self._tasks}

    def next_queued(self, leaf: Leaf, after: QueueKey | None, limit: int) -> list[QueueKey]:
        keys = self._queued.get(leaf)
        return [] if keys is None else keys.within(after and (after.due_ms, after.no + 1), None, limit)

    def due_by(self, now_ms: int, limit: int) -> list[Task]:
        return [self._tasks[key.no] for key in self._waiting.within(None, (now_ms + 1,), limit)]

    def next_due_ms(self) -> int | None:
        first = self._waiting.first
        return None if first is None else first.due_ms

    def listing(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> list[Task]:
        found: list[Task] = []
        at = len(self._order) if before_no is None else bisect_left(self._order, before_no)
        while at > 0 and len(found) < limit:
            at -= 1
            task = self._tasks.get(self._order[at])
            if task is not None and passes(task, wanted):
                found.append(task)
        return found

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        to_no, tasks, share = upto_no, 0, max(1, limit // max(1, len(states)))
        for state in states:
            met = [task.no for task in self._between(leaf, after_no, to_no) if task.state is state][:share]
            tasks += len(met)
            if len(met) == share:
                to_no = met[-1]
        return Reach(to_no, tasks)

    def count_between(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo) -> int:
        return len(self._passing(leaf, wanted, after_no, to_no))

    def cancel_between(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo, at_ms: int) -> Changed:
        tasks = self._passing(leaf, wanted, after_no, to_no)
        tasks.sort(key=lambda task: (wanted.states.index(task.state), task.no))
        queued = [task for task in tasks if task.state is TaskState.QUEUED]
        self.cancel([task.no for task in tasks], at_ms)
        payload_bytes = sum(len(task.payload) for task in queued)
        return Changed(tuple(task.id for task in tasks), tuple(task.no for task in queued), payload_bytes)

    def queued_since(self, leaf: Leaf, after_no: TaskNo, limit: int) -> list[TaskNo]:
        newer = self._between(leaf, after_no, self._order[-1]) if self._order else ()
        return [task.no for task in newer if task.state is TaskState.QUEUED][:limit]

    def counts(self, tenant: TenantId | None = None) -> dict[tuple[Leaf, TaskState], int]:
        return dict(self._counts.items(tenant))

    def queued_bytes(self, leaf: Leaf) -> int:
        return self._counts.queued_bytes(leaf)

    def references(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if key in self._references]

    def drop_references(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._references.pop(key, None)

    def grants(self) -> list[Grant]:
        return self._grants.all()

    def note(self, kind: str, key: str, value: bytes) -> None:
        self._notes.setdefault(kind, {})[key] = value

    def notes(self, kind: str) -> dict[str, bytes]:
        return dict(self._notes.get(kind, {}))

    @property
    def mark(self) -> Mark | None:
        return self._mark

    def commit(self, mark: Mark) -> None:
        self._mark = mark

    @property
    def wal_bytes(self) -> int:
        return 0

    def fold(self) -> None:
        """Nothing to do: there is no file."""

    def _passing(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo) -> list[Task]:
        anywhere = replace(wanted, tenant=None, function=None, priority=None)
        return [task for task in self._between(leaf, after_no, to_no) if passes(task, anywhere)]

    def _between(self, leaf: Leaf, after_no: TaskNo, to_no: TaskNo) -> Iterator[Task]:
        nos = self._order[bisect_right(self._order, after_no) : bisect_right(self._order, to_no)]
        return (task for no in nos if (task := self._tasks.get(no)) is not None and task.leaf == leaf)

    def _move(self, move: Move, nos: Sequence[TaskNo], token: Token | None, how: Callable[[Task], Task]) -> None:
        moves.check_move(move, nos, self._tasks, token)
        for no in nos:
            self._put(self._tasks[no], how(self._tasks[no]))
        if token is not None:
            self._grants.ended(token, nos)

    def _put(self, before: Task, after: Task) -> None:
        """The task is another one now."""
        leaf = before.leaf
        self._leave(leaf, before)
        self._tasks[after.no] = after
        self._enter(leaf, after)
        self._counts.went(leaf, before.state, after.state)

    def _left(self, tasks: Sequence[Task]) -> None:
        """They are not in the table any more."""
        for task in tasks:
            del self._tasks[task.no]
        self._counts.removed([(task.leaf, task.state) for task in tasks])
        if len(self._order) > 2 * len(self._tasks) + SPARE_MAX:
            self._order = [no for no in self._order if no in self._tasks]

    def _number(self, no: TaskNo) -> None:
        """The number is in the order."""
        order = self._order
        if not order or no > order[-1]:
            order.append(no)
        elif order[at := bisect_left(order, no)] != no:
            order.insert(at, no)

    def _enter(self, leaf: Leaf, task: Task) -> None:
        """The task is found where such are as it is now."""
        state = task.state
        if state is TaskState.QUEUED:
            keys = self._queued.get(leaf)
            if keys is None:
                keys = self._queued[leaf] = Ordered()
            keys.add(QueueKey(task.due_ms, task.no))
            self._counts.weighs(leaf, len(task.payload))
        elif state in WAITING_STATES:
            self._waiting.add(QueueKey(task.due_ms, task.no))
        elif state in TERMINAL_STATES:
            self._past.has_ended(task)

    def _leave(self, leaf: Leaf, task: Task) -> None:
        """It is not found there any more."""
        if task.state is TaskState.QUEUED:
            self._queued[leaf].remove(QueueKey(task.due_ms, task.no))
            self._counts.weighs(leaf, -len(task.payload))
        elif task.state in WAITING_STATES:
            self._waiting.remove(QueueKey(task.due_ms, task.no))
