"""The working table of a shard, as the core sees it: its tasks, and beside them notes of all else that is durable.

A materialised view of the journal: whatever is in it can be rebuilt by folding `apply` over the records; and what it held
at a commit is enough to go on from there (`core.restore`). In memory in simulations, SQLite in production
(`taskservice.journal.store`), one conformance suite over both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from taskservice.core.changes import Change
from taskservice.core.checkpoints import Checkpoints
from taskservice.core.deliveries import Deliveries
from taskservice.core.past import PastTasks
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.stretches import Reach, Stretch
from taskservice.core.types import (
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


class QueueKey(NamedTuple):
    """A queued task's place in its leaf: due time, then order of acceptance."""

    due_ms: int
    no: TaskNo
    expires_ms: int | None = None
    """No part of the order: whoever leases the task has to know it."""


class Press(NamedTuple):
    """A queued task of an off-peak lane whose time to leave it has come."""

    no: TaskNo
    leaf: Leaf
    deadline_ms: int


class Mark(NamedTuple):
    """A place in a journal: what is in the table at a commit is what the records up to there say."""

    log: str
    """The journal's own name."""
    nonce: str
    """The name of whoever wrote this epoch."""
    epoch: int
    segment: int
    """The last one whose records count; -1: none of this epoch."""


class Grant(NamedTuple):
    """A lease under which tasks run."""

    token: Token
    runner: RunnerId
    nos: tuple[TaskNo, ...]
    """Those that run, in the order in which they were granted."""


class Changed(NamedTuple):
    """Tasks of one leaf that have been changed in one way; what else follows from it."""

    leaf: Leaf
    ids: tuple[TaskId, ...] = ()
    """In the order of the tasks' numbers."""
    unfinished: int = 0
    """How many tasks more have not ended; fewer, if it is negative."""
    left: tuple[TaskNo, ...] = ()
    """Those that were queued, in the order of their numbers."""
    left_bytes: int = 0
    """The sum of their payloads."""
    entered: tuple[QueueKey, ...] = ()
    """Those that are queued now, in their order."""
    entered_bytes: int = 0
    values: tuple[str, ...] = ()
    """Keys of the values to which those referred that are gone."""
    hooked: tuple[TaskNo, ...] = ()
    """Those that have ended by it, and that something follows; in the order of their numbers."""


class IllegalMove(Exception):
    """A record asks for a transition that the table of transitions does not have: a bug, or a corrupt journal."""


class TaskTable(Protocol):
    """The tasks. Every change names the tasks by number and fails whole with `IllegalMove` if one of them is not in a
    state that `apply.TRANSITIONS` allows for it, or (where a token is given) does not hold that token."""

    @property
    def past(self) -> PastTasks:
        """What is known of tasks that have left for history."""

    @property
    def deliveries(self) -> Deliveries:
        """Whom ends of runs are still to be told, and what became of that."""

    @property
    def checkpoints(self) -> Checkpoints:
        """The last checkpoints of its tasks. One that is deleted has none; to others they are left until `drop`."""

    def insert(self, tasks: Sequence[Task]) -> None:
        """The tasks are kept. Raises IllegalMove if a number, or a (tenant, id) here or in history, is taken."""

    def make_due(self, nos: Sequence[TaskNo]) -> None:
        """scheduled, retrying -> queued."""

    def lease(self, nos: Sequence[TaskNo], token: Token, runner: RunnerId, at_ms: int, version: int = 0) -> list[Task]:
        """queued -> running under `token` on `runner`; attempt + 1; started_ms = at_ms; the version. Gives them as they are now."""

    def succeed(self, rows: Sequence[tuple[TaskNo, bytes, int, int]], token: Token, at_ms: int, log: str = "") -> None:
        """running -> succeeded; rows as in `TasksSucceeded`; ended_ms = at_ms; the token is cleared.

        `log`, here and in what follows or its rows: where the task's log is from now on; empty: where it was."""

    def retry(self, rows: Sequence[RetryRow], token: Token) -> None:
        """running -> retrying, with the row's due_ms, error, counts and duration; token, started_ms and expires_ms are cleared."""

    def fail(self, rows: Sequence[DeadRow], token: Token, at_ms: int) -> None:
        """running -> failed, with the row's error, counts and duration; ended_ms = at_ms; the token is cleared."""

    def hand_back(self, nos: Sequence[TaskNo], token: Token, log: str = "") -> None:
        """running -> queued; attempt - 1; due_ms stays, so they are back in their place; token and started_ms cleared."""

    def preempt(self, nos: Sequence[TaskNo], token: Token, log: str = "") -> None:
        """As `hand_back`, of tasks that had started: preempted + 1; expires_ms cleared."""

    def cancel(self, nos: Sequence[TaskNo], token: Token, at_ms: int, log: str = "") -> None:
        """running -> cancelled; ended_ms = at_ms; the token is cleared."""

    def change(self, change: Change, nos: Sequence[TaskNo]) -> list[Changed]:
        """The tasks are as `changes.changed` says, from the states in `operations.SOURCES`; those that are gone leave
        nothing behind but the references to their values. Leaf by leaf, in the order in which their tasks are named."""

    def expire(self, nos: Sequence[TaskNo], at_ms: int) -> list[Changed]:
        """scheduled, queued, paused -> expired, as `changes.expired` says; gives what `change` does."""

    def press(self, nos: Sequence[TaskNo]) -> list[Changed]:
        """queued -> queued, from an off-peak lane to where PRESSED_LANES says; press_ms is cleared. Gives what has left each leaf,
        and what has entered each."""

    def put_off(self, rows: Sequence[tuple[TaskNo, int]]) -> None:
        """The press_ms of these tasks, queued in off-peak lanes, is the row's."""

    def load(self, nos: Sequence[TaskNo]) -> list[Task]:
        """The tasks of these numbers, in the order given. Raises KeyError if one is missing."""

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        """Those of these ids that the tenant has."""

    def hooked(self, nos: Sequence[TaskNo]) -> list[TaskNo]:
        """Those of these tasks that something follows when they have ended, in the order given. Takes no time with their payloads."""

    def next_queued(self, leaf: Leaf, after: QueueKey | None, limit: int) -> list[QueueKey]:
        """The queued tasks of a leaf in order, those after `after` if that is given."""

    def due_by(self, now_ms: int, limit: int) -> list[Task]:
        """Scheduled and retrying tasks whose time has come, the longest due first."""

    def expired_by(self, now_ms: int, limit: int) -> list[TaskNo]:
        """Scheduled, queued and paused tasks whose time is over, the longest over first."""

    def resumed_by(self, now_ms: int, limit: int) -> list[TaskNo]:
        """Paused tasks that are to be resumed, the longest due first."""

    def pressed_by(self, now_ms: int, limit: int) -> list[Press]:
        """Queued tasks of the off-peak lanes whose press_ms has come, the earliest first."""

    def next_timed_ms(self) -> int | None:
        """When `due_by`, `expired_by`, `resumed_by` or `pressed_by` first have a task; None if nothing waits for the clock."""

    def listing(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> list[Task]:
        """Tasks that pass the filter, newest (highest number) first."""

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        """How far to go from `after_no` so as to meet about `limit` tasks of the leaf in these states, none of them
        running, each state having its share: `upto_no` at most. Takes time with those tasks, and not with what lies between."""

    def count_between(self, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> int:
        """How many tasks of the stretch pass the filter; of those that have ended, only such as had by then. The filter names
        its states, which are not running; what it says about leaves is not looked at. Time: as in `reach`."""

    def change_between(self, change: Change, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> Changed:
        """The tasks that `count_between` counts are changed, as by `change`. The filter's states are such as may be."""

    def count_running(self, wanted: ListFilter) -> int:
        """How many tasks run that pass the filter, whatever states it names. Takes time with the tasks that run."""

    def queued_since(self, leaf: Leaf, after_no: TaskNo, limit: int) -> list[QueueKey]:
        """The leaf's queued tasks with numbers above `after_no`, in the order of their numbers."""

    def passing(self, nos: Sequence[TaskNo], wanted: ListFilter) -> list[TaskNo]:
        """Those of these tasks, of leaves and in states that the filter wants, that pass it, in the order given: what it says of
        tags and times decides. Takes no time with their payloads."""

    def counts(self, tenant: TenantId | None = None) -> dict[tuple[Leaf, TaskState], int]:
        """How many tasks there are of each leaf and state. Zero counts may be left out."""

    def totals(self, tenant: TenantId) -> dict[tuple[FunctionName, TaskState], int]:
        """The same of the tenant's tasks, summed by function: in the time that its functions take, not its leaves."""

    def queued_bytes(self, leaf: Leaf) -> int:
        """The sum of the payloads of the leaf's queued tasks."""

    def references(self, keys: Sequence[str]) -> list[str]:
        """Those of these keys of values to which a task referred when it was inserted, succeeded or saved a checkpoint, and which
        have not been dropped since: that a task is gone does not mean that its values are."""

    def drop_references(self, keys: Sequence[str]) -> None:
        """Nothing refers to these keys any more. One that is not known is no error."""

    def grants(self) -> list[Grant]:
        """The leases under which tasks run, in the order of their tokens."""

    def note(self, kind: str, key: str, value: bytes | None) -> None:
        """Something small that is no task is kept; it replaces what was noted under the same kind and key. None: nothing
        is noted there any more."""

    def notes(self, kind: str) -> dict[str, bytes]:
        """What was noted, by key, in the order in which the keys were noted first."""

    @property
    def mark(self) -> Mark | None:
        """That of the last commit; None if there was none."""

    def commit(self, mark: Mark) -> None:
        """What was changed so far belongs to this place in the journal: whoever goes on from the table's file finds
        all of it, and its mark, or nothing of it."""

    @property
    def wal_bytes(self) -> int:
        """What the commits since the last `fold` take."""

    def fold(self) -> None:
        """The commits can no longer be taken back one by one. For the moment after a commit, when all that was committed
        is durable in the journal."""
