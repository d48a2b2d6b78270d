"""The working table of a shard's tasks, as the core sees it.

A materialised view of the journal: whatever is in it can be rebuilt by folding `apply` over the records. In memory in
simulations, SQLite in production (`taskservice.journal.store`), one conformance suite over both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.types import (
    Leaf,
    ListFilter,
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


class IllegalMove(Exception):
    """A record asks for a transition that the table of transitions does not have: a bug, or a corrupt journal."""


class TaskTable(Protocol):
    """The tasks. Every change names the tasks by number and fails whole with `IllegalMove` if one of them is not in a
    state that `apply.TRANSITIONS` allows for it, or (where a token is given) does not hold that token."""

    def insert(self, tasks: Sequence[Task]) -> None:
        """The tasks are kept. Raises IllegalMove if a number or a (tenant, id) is taken."""

    def make_due(self, nos: Sequence[TaskNo]) -> None:
        """scheduled, retrying -> queued."""

    def lease(self, nos: Sequence[TaskNo], token: Token, at_ms: int) -> None:
        """queued -> running under `token`; attempt + 1; started_ms = at_ms."""

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

    def counts(self, tenant: TenantId | None = None) -> dict[tuple[Leaf, TaskState], int]:
        """How many tasks there are of each leaf and state. Zero counts may be left out."""

    def commit(self, epoch: int, segment: int) -> None:
        """What was changed so far belongs to this place in the journal; later readers of the file see it."""
