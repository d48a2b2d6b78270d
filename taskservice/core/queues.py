"""One FIFO queue per leaf, of which only the head is in RAM.

The table holds every queued task; a `LeafQueue` keeps the numbers of the first few, in order, and the count of all.
The head is a cache: it may be dropped at any time and filled again from the table.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from taskservice.core.changes import is_over
from taskservice.core.stock import Group
from taskservice.core.table import QueueKey, TaskTable
from taskservice.core.types import Leaf, TaskNo


class HeadEntry(NamedTuple):
    """A queued task in RAM: its place, the segment whose record made it ready, and when it may not run any more."""

    due_ms: int
    no: TaskNo
    segment: int
    expires_ms: int | None = None


class LeafQueue:
    """The queued tasks of one leaf, by due time and then by order of acceptance."""

    __slots__ = ("changes", "complete", "count", "group", "head", "head_max", "leaf", "payload_bytes")

    def __init__(self, leaf: Leaf, head_max: int, group: Group | None = None) -> None:
        """`group`: where its tasks are counted as well."""
        self.leaf = leaf
        self.group = group or Group()
        self.head_max = head_max
        self.head: deque[HeadEntry] = deque()
        """The first tasks of the queue, in order: a prefix of what the table holds. Empty only if the queue is."""
        self.count = 0
        """Queued tasks in the table, in RAM or not."""
        self.payload_bytes = 0
        """The sum over all queued tasks."""
        self.complete = True
        """Whether `head` is the whole queue."""
        self.changes = 0
        """How often tasks have come or gone: as long as it is the same, so is the queue."""

    def restore(self, count: int, payload_bytes: int) -> None:
        """The table holds so many queued tasks; `fill` says which are the first."""
        self.group.tasks += count - self.count
        self.count = count
        self.payload_bytes = payload_bytes

    def add(self, key: QueueKey, payload_bytes: int, segment: int) -> None:
        """One more task is queued; it is in the head if its place is there."""
        self.count += 1
        self.group.tasks += 1
        self.changes += 1
        self.payload_bytes += payload_bytes
        entry = HeadEntry(key.due_ms, key.no, segment, key.expires_ms)
        head = self.head
        if not head or entry > head[-1]:
            if not self.complete:
                return
            head.append(entry)
        elif entry < head[0]:
            head.appendleft(entry)
        else:
            ordered = list(head)
            insort(ordered, entry)
            self.head = head = deque(ordered)
        while len(head) > self.head_max:
            head.pop()
            self.complete = False

    def add_all(self, keys: Sequence[QueueKey], payload_bytes: int, segment: int) -> None:
        """These tasks are queued as well; those are in the head whose place is there."""
        self.count += len(keys)
        self.group.tasks += len(keys)
        self.changes += 1
        self.payload_bytes += payload_bytes
        entries = [HeadEntry(key.due_ms, key.no, segment, key.expires_ms) for key in keys]
        if not self.complete:
            last = self.head[-1]
            entries = [entry for entry in entries if entry < last]
        if entries:
            self.head = deque(sorted([*self.head, *entries])[: self.head_max])
        self.complete = len(self.head) == self.count

    def first(self, limit: int, now_ms: int) -> list[HeadEntry]:
        """The next tasks to run, at most `limit` and at most what is in RAM; none for which it is too late."""
        found: list[HeadEntry] = []
        for entry in self.head:
            if len(found) == limit:
                break
            if entry.expires_ms is None or not is_over(entry.expires_ms, now_ms):
                found.append(entry)
        return found

    def remove(
        self,
        nos: Collection[TaskNo],
        payload_bytes: int,
        table: TaskTable,
        segment: int,
        refill_max: int | None = None,
    ) -> list[HeadEntry]:
        """These tasks, of so many bytes together, are not queued any more; gives those that were in the head.

        `segment`: that of the record being applied, which every task in the table was made ready by at the latest.
        `refill_max`: how many to read if the head has become empty; all that there is room for if it is not given.
        """
        self.count -= len(nos)
        self.group.tasks -= len(nos)
        self.changes += 1
        self.payload_bytes -= payload_bytes
        removed = self._remove_first(nos) if self._starts_with(nos) else self._remove_anywhere(nos)
        if not self.head and self.count:
            self.fill(table.next_queued(self.leaf, None, min(refill_max or self.head_max, self.head_max)), segment)
        self.complete = len(self.head) == self.count
        return removed

    def fill(self, keys: Iterable[QueueKey], segment: int) -> None:
        """The head is these tasks: the first ones of the table."""
        self.head = deque(HeadEntry(key.due_ms, key.no, segment, key.expires_ms) for key in keys)
        self.complete = len(self.head) == self.count

    def _starts_with(self, nos: Collection[TaskNo]) -> bool:
        if len(nos) > len(self.head):
            return False
        for entry, no in zip(self.head, nos, strict=False):  # noqa: SIM110 - most leases have one task, a generator costs more
            if entry.no != no:
                return False
        return True

    def _remove_first(self, nos: Collection[TaskNo]) -> list[HeadEntry]:
        return [self.head.popleft() for _ in nos]

    def _remove_anywhere(self, nos: Collection[TaskNo]) -> list[HeadEntry]:
        gone = frozenset(nos)
        removed = [entry for entry in self.head if entry.no in gone]
        self.head = deque(entry for entry in self.head if entry.no not in gone)
        return removed
