"""The working table in plain Python containers: simulations and tests use it, and SQLite's table must equal it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

from msgspec.structs import replace

from taskservice.core.changes import Change, changed, expired
from taskservice.core.filters import passes
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.stretches import Reach, Stretch
from taskservice.core.table import Changed, Grant, Mark, Press, QueueKey
from taskservice.core.types import (
    PRESSED_LANES,
    TERMINAL_STATES,
    FunctionName,
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
from taskservice.journal.store import follows, moves
from taskservice.journal.store.counts import Counts
from taskservice.journal.store.follows import key_of
from taskservice.journal.store.grants import Grants
from taskservice.journal.store.memory_checkpoints import MemoryCheckpoints
from taskservice.journal.store.memory_deliveries import MemoryDeliveries
from taskservice.journal.store.memory_past import MemoryPast
from taskservice.journal.store.memory_timed import Timed
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
        self._timed = Timed()
        self._counts = Counts()
        self._grants = Grants()
        self._references: dict[str, None] = {}
        self._notes: dict[str, dict[str, bytes]] = {}
        self._mark: Mark | None = None
        self.past = MemoryPast(self._tasks, self._nos, self._left)
        self.checkpoints = MemoryCheckpoints(self._tasks, self._references)
        self.deliveries = MemoryDeliveries()

    def copy(self) -> MemoryTable:
        """Another table that holds the same: after a commit, what a file would be good for."""
        twin = MemoryTable()
        twin._tasks.update(self._tasks)
        twin._order = list(self._order)
        twin._nos.update(self._nos)
        twin._queued = {leaf: keys.copy() for leaf, keys in self._queued.items()}
        twin._timed = self._timed.copy()
        twin._counts = deepcopy(self._counts)
        twin._grants = deepcopy(self._grants)
        twin._references.update(self._references)
        twin._notes = {kind: dict(noted) for kind, noted in self._notes.items()}
        twin._mark = self._mark
        twin.past.copied_from(self.past)
        twin.checkpoints.copied_from(self.checkpoints)
        twin.deliveries.copied_from(self.deliveries)
        return twin

    def insert(self, tasks: Sequence[Task]) -> None:
        moves.check_insert(tasks, self._tasks, self._nos)
        for task in tasks:
            self._tasks[task.no] = task
            self._nos[task.tenant, task.id] = task.no
            self._number(task.no)
            leaf = task.leaf
            self._counts.came(leaf, task.state)
            self._enter(task, leaf)
        self._references.update(dict.fromkeys(keys_among([task.payload for task in tasks])))

    def make_due(self, nos: Sequence[TaskNo]) -> None:
        self._move(moves.DUE, nos, None, lambda task: replace(task, state=TaskState.QUEUED))

    def lease(self, nos: Sequence[TaskNo], token: Token, runner: RunnerId, at_ms: int, version: int = 0) -> list[Task]:
        def leased(task: Task) -> Task:
            attempt = task.attempt + 1
            return replace(
                task, state=TaskState.RUNNING, attempt=attempt, token=token, started_ms=at_ms, version=version
            )

        after = self._move(moves.LEASE, nos, None, leased)
        self._grants.granted(token, runner, nos)
        return after

    def succeed(self, rows: Sequence[tuple[TaskNo, bytes, int, int]], token: Token, at_ms: int, log: str = "") -> None:
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
                log=log or task.log,
            )

        self._move(moves.SUCCEED, [row[0] for row in rows], token, succeeded)
        self._references.update(dict.fromkeys(keys_among([row[1] for row in rows])))

    def retry(self, rows: Sequence[RetryRow], token: Token) -> None:
        row_of = {row.no: row for row in rows}
        self._move(moves.RETRY, [row.no for row in rows], token, lambda task: moves.retrying(task, row_of[task.no]))

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
                log=row.log or task.log,
            )

        self._move(moves.FAIL, [row.no for row in rows], token, failed)

    def hand_back(self, nos: Sequence[TaskNo], token: Token, log: str = "") -> None:
        self._move(moves.HAND_BACK, nos, token, lambda task: moves.handed_back(task, log))

    def preempt(self, nos: Sequence[TaskNo], token: Token, log: str = "") -> None:
        self._move(moves.PREEMPT, nos, token, lambda task: moves.preempted(task, log))

    def cancel(self, nos: Sequence[TaskNo], token: Token, at_ms: int, log: str = "") -> None:
        def stopped(task: Task) -> Task:
            return replace(task, state=TaskState.CANCELLED, token=None, ended_ms=at_ms, log=log or task.log)

        self._move(moves.STOP, nos, token, stopped)

    def change(self, change: Change, nos: Sequence[TaskNo]) -> list[Changed]:
        moves.check_change(change.kind, nos, self._tasks)
        return self._changed(self.load(nos), lambda task: changed(task, change))

    def expire(self, nos: Sequence[TaskNo], at_ms: int) -> list[Changed]:
        moves.check_move(moves.EXPIRE, nos, self._tasks)
        return self._changed(self.load(nos), lambda task: expired(task, at_ms))

    def press(self, nos: Sequence[TaskNo]) -> list[Changed]:
        tasks = self._to_press(nos)
        by_leaf: dict[Leaf, list[Task]] = {}
        for task in tasks:
            by_leaf.setdefault(task.leaf, []).append(task)
        found: list[Changed] = []
        for leaf, before in by_leaf.items():
            lane = PRESSED_LANES[leaf.lane]
            for task in before:
                self._put(task, replace(task, lane=lane, press_ms=None))
            found += follows.moved(leaf, leaf._replace(lane=lane), before)
        return found

    def put_off(self, rows: Sequence[tuple[TaskNo, int]]) -> None:
        for task, (_, press_ms) in zip(self._to_press([no for no, _ in rows]), rows, strict=True):
            self._put(task, replace(task, press_ms=press_ms))

    def _to_press(self, nos: Sequence[TaskNo]) -> list[Task]:
        moves.check_press(nos, self._tasks)
        return self.load(nos)

    def load(self, nos: Sequence[TaskNo]) -> list[Task]:
        return [self._tasks[no] for no in nos]

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        nos = {id: self._nos[tenant, id] for id in ids if (tenant, id) in self._nos}
        return {id: self._tasks[no] for id, no in nos.items() if no in self._tasks}

    def hooked(self, nos: Sequence[TaskNo]) -> list[TaskNo]:
        return [no for no in nos if self._tasks[no].hooks is not None]

    def next_queued(self, leaf: Leaf, after: QueueKey | None, limit: int) -> list[QueueKey]:
        keys = self._queued.get(leaf)
        return [] if keys is None else keys.within(after and (after.due_ms, after.no + 1), None, limit)

    def due_by(self, now_ms: int, limit: int) -> list[Task]:
        return self.load(self._timed.by(self._timed.due, now_ms, limit))

    def expired_by(self, now_ms: int, limit: int) -> list[TaskNo]:
        return self._timed.by(self._timed.expiring, now_ms, limit)

    def resumed_by(self, now_ms: int, limit: int) -> list[TaskNo]:
        return self._timed.by(self._timed.resuming, now_ms, limit)

    def pressed_by(self, now_ms: int, limit: int) -> list[Press]:
        tasks = self.load(self._timed.by(self._timed.pressing, now_ms, limit))
        return [Press(task.no, task.leaf, task.deadline_ms or 0) for task in tasks]

    def next_timed_ms(self) -> int | None:
        return self._timed.next_ms()

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

    def count_between(self, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> int:
        return len(self._passing(stretch, wanted, ended_by_ms))

    def change_between(self, change: Change, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> Changed:
        found = self._changed(self._passing(stretch, wanted, ended_by_ms), lambda task: changed(task, change))
        return found[0] if found else Changed(stretch.leaf)

    def count_running(self, wanted: ListFilter) -> int:
        running = replace(wanted, states=(TaskState.RUNNING,))
        return sum(passes(self._tasks[no], running) for grant in self._grants.all() for no in grant.nos)

    def queued_since(self, leaf: Leaf, after_no: TaskNo, limit: int) -> list[QueueKey]:
        newer = self._between(leaf, after_no, self._order[-1]) if self._order else ()
        return [key_of(task) for task in newer if task.state is TaskState.QUEUED][:limit]

    def passing(self, nos: Sequence[TaskNo], wanted: ListFilter) -> list[TaskNo]:
        return [no for no in nos if passes(self._tasks[no], wanted)]

    def counts(self, tenant: TenantId | None = None) -> dict[tuple[Leaf, TaskState], int]:
        return dict(self._counts.items(tenant))

    def totals(self, tenant: TenantId) -> dict[tuple[FunctionName, TaskState], int]:
        return self._counts.totals(tenant)

    def queued_bytes(self, leaf: Leaf) -> int:
        return self._counts.queued_bytes(leaf)

    def references(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if key in self._references]

    def drop_references(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._references.pop(key, None)

    def grants(self) -> list[Grant]:
        return self._grants.all()

    def note(self, kind: str, key: str, value: bytes | None) -> None:
        noted = self._notes.setdefault(kind, {})
        if value is None:
            noted.pop(key, None)
        else:
            noted[key] = value

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

    def _passing(self, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> list[Task]:
        anywhere = replace(wanted, tenant=None, function=None, priority=None)
        return [
            task
            for task in self._between(*stretch)
            if passes(task, anywhere) and (task.ended_ms is None or task.ended_ms <= ended_by_ms)
        ]

    def _between(self, leaf: Leaf, after_no: TaskNo, to_no: TaskNo) -> Iterator[Task]:
        nos = self._order[bisect_right(self._order, after_no) : bisect_right(self._order, to_no)]
        return (task for no in nos if (task := self._tasks.get(no)) is not None and task.leaf == leaf)

    def _move(self, move: Move, nos: Sequence[TaskNo], token: Token | None, how: Callable[[Task], Task]) -> list[Task]:
        """Gives the tasks as they are then."""
        moves.check_move(move, nos, self._tasks, token)
        moved: list[Task] = []
        for no in nos:
            before = self._tasks[no]
            after = how(before)
            self._put(before, after)
            moved.append(after)
        if token is not None:
            self._grants.ended(token, nos)
        return moved

    def _changed(self, tasks: Sequence[Task], how: Callable[[Task], Task | None]) -> list[Changed]:
        by_leaf: dict[Leaf, list[Task]] = {}
        for task in tasks:
            by_leaf.setdefault(task.leaf, []).append(task)
        return [
            self._changed_leaf(leaf, sorted(group, key=lambda task: task.no), how) for leaf, group in by_leaf.items()
        ]

    def _changed_leaf(self, leaf: Leaf, tasks: Sequence[Task], how: Callable[[Task], Task | None]) -> Changed:
        pairs = [(task, how(task)) for task in tasks]
        gone = [task for task, after in pairs if after is None]
        for task, after in pairs:
            if after is not None:
                self._put(task, after)
        for task in gone:
            del self._nos[task.tenant, task.id]
        self._left(gone)
        here = [after for _, after in pairs if after is not None]
        return follows.changed(leaf, tasks, here, gone, self.checkpoints.drop([task.no for task in gone]))

    def _put(self, before: Task, after: Task) -> None:
        """The task is another one now."""
        source = before.leaf
        stays = after.lane is before.lane and after.memory_bytes == before.memory_bytes
        target = source if stays else after.leaf
        self._leave(before, source)
        self._tasks[after.no] = after
        self._counts.stepped((source, before.state), (target, after.state))
        self._enter(after, target)

    def _left(self, tasks: Sequence[Task]) -> None:
        """They are not in the table any more."""
        for task in tasks:
            leaf = task.leaf
            self._counts.went(leaf, task.state)
            self._leave(task, leaf)
        self._forget(tasks)

    def _forget(self, tasks: Sequence[Task]) -> None:
        """They, which are found nowhere any more, are gone."""
        for task in tasks:
            del self._tasks[task.no]
        if len(self._order) > 2 * len(self._tasks) + SPARE_MAX:
            self._order = [no for no in self._order if no in self._tasks]

    def _number(self, no: TaskNo) -> None:
        """The number is in the order."""
        order = self._order
        if not order or no > order[-1]:
            order.append(no)
        elif order[at := bisect_left(order, no)] != no:
            order.insert(at, no)

    def _enter(self, task: Task, leaf: Leaf) -> None:
        """The task is found where such are as it is now."""
        state = task.state
        if state is TaskState.QUEUED:
            keys = self._queued.get(leaf)
            if keys is None:
                keys = self._queued[leaf] = Ordered()
            keys.add(key_of(task))
            self._counts.weighs(leaf, len(task.payload))
        elif state in TERMINAL_STATES:
            self.past.has_ended(task)
        self._timed.enter(task)

    def _leave(self, task: Task, leaf: Leaf) -> None:
        """It is not any more."""
        state = task.state
        if state is TaskState.QUEUED:
            self._queued[leaf].remove(key_of(task))
            self._counts.weighs(leaf, -len(task.payload))
        elif state in TERMINAL_STATES:
            self.past.has_left(task)
        self._timed.leave(task)
