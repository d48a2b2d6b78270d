"""The working table of a shard, as the core sees it: its tasks, and beside them notes of all else that is durable.

A materialised view of the journal: whatever is in it can be rebuilt by folding `apply` over the records; and what it held
at a commit is enough to go on from there (`core.restore`). In memory in simulations, SQLite in production
(`taskservice.journal.store`), one conformance suite over both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from taskservice.core.past import PastTasks
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.types import (
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


class Reach(NamedTuple):
    """How far one goes in a leaf to meet so many tasks."""

    to_no: TaskNo
    tasks: int
    """Those that are met on the way, passing a filter or not."""


class Changed(NamedTuple):
    """What a step of a bulk operation has changed."""

    ids: tuple[TaskId, ...]
    """In the order of the tasks' numbers, state by state."""
    queued: tuple[TaskNo, ...]
    """Those of them that were queued."""
    queued_bytes: int
    """The sum of their payloads."""


class IllegalMove(Exception):
    """A record asks for a transition that the table of transitions does not have: a bug, or a corrupt journal."""


class TaskTable(Protocol):
    """The tasks. Every change names the tasks by number and fails whole with `IllegalMove` if one of them is not in a
    state that `apply.TRANSITIONS` allows for it, or (where a token is given) does not hold that token."""

    @property
    def past(self) -> PastTasks:
        """What is known of tasks that have left for history."""

    def insert(self, tasks: Sequence[Task]) -> None:
        """The tasks are kept. Raises IllegalMove if a number, or a (tenant, id) here or in history, is taken."""

    def make_due(self, nos: Sequence[TaskNo]) -> None:
        """scheduled, retrying -> queued."""

    def lease(self, nos: Sequence[TaskNo], token: Token, runner: RunnerId, at_ms: int) -> list[Task]:
        """queued -> running under `token` on `runner`; attempt + 1; started_ms = at_ms. Gives them as they are now."""

    def succeed(self, rows: Sequence[tuple[TaskNo, bytes, int, int]], token: Token, at_ms: int) -> None:
        """running -> succeeded; rows as in `TasksSucceeded`; ended_ms = at_ms; the token is cleared."""

    def retry(self, rows: Sequence[RetryRow], token: Token) -> None:
        """running -> retrying, with the row's due_ms, error, counts and duration; token and started_ms are cleared."""

    def fail(self, rows: Sequence[DeadRow], token: Token, at_ms: int) -> None:
        """running -> failed, with the row's error, counts and duration; ended_ms = at_ms; the token is cleared."""

    def hand_back(self, nos: Sequence[TaskNo], token: Token) -> None:
        """running -> queued; attempt - 1; due_ms stays, so they are back in their place; token and started_ms cleared."""

    def cancel(self, nos: Sequence[TaskNo], at_ms: int) -> None:
        """scheduled, queued, retrying -> cancelled; ended_ms = at_ms."""

    def load(self, nos: Sequence[TaskNo]) -> list[Task]:
        """The tasks of these numbers, in the order given. Raises KeyError if one is missing."""

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        """Those of these ids that the tenant has."""

    def next_queued(self, leaf: Leaf, after: QueueKey | None, limit: int) -> list[QueueKey]:
        """The queued tasks of a leaf in order, those after `after` if that is given."""

    def due_by(self, now_ms: int, limit: int) -> list[Task]:
        """Scheduled and retrying tasks whose time has come, the longest due first."""

    def next_due_ms(self) -> int | None:
        """When the next of the waiting tasks is due; None if none waits."""

    def listing(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> list[Task]:
        """Tasks that pass the filter, newest (highest number) first."""

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        """How far to go from `after_no` so as to meet about `limit` tasks of the leaf in these states, none of them
        running, each state having its share: `upto_no` at most. Takes time with those tasks, and not with what lies between."""

    def count_between(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo) -> int:
        """How many tasks of the leaf pass the filter that have numbers above `after_no`, up to `to_no`. The filter names
        its states, which are not running; what it says about leaves is not looked at. Time: as in `reach`."""

    def cancel_between(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo, at_ms: int) -> Changed:
        """The tasks that `count_between` counts are cancelled, as by `cancel`. The filter's states are such as may be."""

    def queued_since(self, leaf: Leaf, after_no: TaskNo, limit: int) -> list[TaskNo]:
        """The leaf's queued tasks with numbers above `after_no`, in the order of their numbers."""

    def counts(self, tenant: TenantId | None = None) -> dict[tuple[Leaf, TaskState], int]:
        """How many tasks there are of each leaf and state. Zero counts may be left out."""

    def queued_bytes(self, leaf: Leaf) -> int:
        """The sum of the payloads of the leaf's queued tasks."""

    def references(self, keys: Sequence[str]) -> list[str]:
        """Those of these keys of values to which a task referred when it was inserted or succeeded, and which have not
        been dropped since: that a task is gone does not mean that its values are."""

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
