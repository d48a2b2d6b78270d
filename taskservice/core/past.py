"""History: tasks that ended and have left the table for a file, and what a shard still knows of them.

A file is written first, then a record says which tasks are in it, then their rows leave the table. What stays is an entry
for each: where the task is, and enough to tell whether a task that is submitted later is the same. Entries are forgotten when
the time is over in which an id is known; files may be dropped after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from taskservice.core.stretches import Reach, Stretch
from taskservice.core.types import (
    FunctionName,
    Leaf,
    ListFilter,
    Priority,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    TenantId,
)

DAY_MS = 86_400_000


class EndedKey(NamedTuple):
    """A task's place among those that have ended: when, then the order of acceptance."""

    ended_ms: int
    no: TaskNo


class HistoryFile(Struct, frozen=True, array_like=True):
    """A file of tasks that ended on one day (UTC)."""

    key: str
    """Of the object."""
    day: int
    """Days since 1970-01-01."""
    first_no: TaskNo
    last_no: TaskNo
    """The lowest and the highest number in it."""
    tasks: int
    size_bytes: int
    last_ended_ms: int


class WrittenTask(NamedTuple):
    """A task in a file, as it was when the file was written."""

    no: TaskNo
    row: int
    """In the file, from 0."""
    run: int
    state: TaskState


class Past(Struct, frozen=True, array_like=True):
    """A task in history: what the shard knows of it, and where the rest is."""

    no: TaskNo
    id: TaskId
    tenant: TenantId
    function: FunctionName
    priority: Priority
    state: TaskState
    digest: bytes
    """Of its payload's text: see `values.digest`."""
    file: str
    """Key of the file's object."""
    size_bytes: int
    """Of the file."""
    row: int
    """In the file, from 0."""
    run: int = 1
    """Its last; of those that went into history before this was kept, 1."""


class PastTasks(Protocol):
    """The part of a task table that knows history. Changes fail whole with `IllegalMove`, as those of the table do."""

    def ended(
        self, states: Sequence[TaskState], before_ms: int, after: EndedKey | None, limit: int, bytes_max: int
    ) -> list[Task]:
        """Tasks of the table that ended in one of these states before then, and after `after`, the first that ended
        first; no more when their payloads and results have so many bytes. `states`: `history.DEAD`, or `history.DONE`."""

    def standing(self, nos: Sequence[TaskNo]) -> dict[TaskNo, tuple[int, TaskState]]:
        """The run and the state of those of these tasks that are in the table."""

    def archive(self, file: HistoryFile, rows: Sequence[tuple[TaskNo, int]], *, last: bool) -> None:
        """These tasks, which have ended, are in these rows of the file, and not in the table any more. The file is known,
        and unless it is the last of it, unfinished."""

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Past]:
        """Those of these ids that the tenant has in history."""

    def listing(
        self, wanted: ListFilter, before_no: TaskNo | None, limit: int, after_no: TaskNo | None = None
    ) -> list[Past]:
        """Tasks in history that pass the filter, newest (highest number) first; none of `after_no` or below."""

    def unfinished(self) -> list[HistoryFile]:
        """Files of which some tasks may still be in the table."""

    def forgettable(self, before_ms: int, limit: int) -> list[TaskNo]:
        """Some of the tasks of the finished file whose last task ended first, if that was before then."""

    def forget(self, nos: Sequence[TaskNo]) -> None:
        """These tasks, which are in history, are not known any more, and their ids are free."""

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        """As `TaskTable.reach`, among the tasks in history."""

    def count_between(self, stretch: Stretch, wanted: ListFilter) -> int:
        """How many tasks in history of the stretch pass the filter, which names its states; what it says about leaves is not
        looked at."""

    def forget_between(self, stretch: Stretch, wanted: ListFilter) -> int:
        """The tasks that `count_between` counts are forgotten, as by `forget`; gives how many they are."""

    def droppable(self, before_day: int, limit: int) -> list[HistoryFile]:
        """Finished files of days before that, of which no task is known any more; the oldest first."""

    def drop(self, keys: Sequence[str]) -> None:
        """These files, of which no task is known any more, are not known any more themselves."""

    def known(self, keys: Sequence[str]) -> list[str]:
        """Those of these that are files of history."""

    def counts(self, tenant: TenantId | None = None) -> dict[tuple[Leaf, TaskState], int]:
        """How many tasks in history are known of each leaf and state. Zero counts may be left out."""

    def entries(self) -> int:
        """How many tasks in history are known. Takes time with them."""

    def files(self) -> dict[str, int]:
        """How many tasks are known of each file. Takes time with the files: for tests."""
