"""What is known of queued tasks that bulk operations may want: which of them are free to be leased.

Leaf and number alone mostly say what an operation holds. A filter by tag or by age asks for more of each queued task, and only
the table knows that. So what it said is remembered of the tasks at the head of the queue, and behind the head how far one
has looked: however often a lease is wanted, a task is looked at no more than twice for one operation, and only so many in one
round of leases. All of it is volatile: who knows nothing looks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from taskservice.core.changes import is_over
from taskservice.core.filters import by_place
from taskservice.core.limits import Limits
from taskservice.core.operations import Operation
from taskservice.core.queues import LeafQueue
from taskservice.core.table import QueueKey, TaskTable
from taskservice.core.types import Leaf, TaskNo

REMEMBERED_HEADS = 2
"""So many times what a head has room for is remembered of a leaf at most, for each operation."""


@dataclass(slots=True)
class _Search:
    """In one leaf."""

    wanted: dict[str, dict[TaskNo, bool]]
    """By operation: whether its filter lets the task pass. That never changes while a task is queued."""
    after: QueueKey | None = None
    """Behind the head, up to where one has looked: what is before it and in the queue still, is held, or came back later."""
    settled: int | None = None
    """The queue's `changes` when all of it was held: until it changes, nobody need look again."""


@dataclass(slots=True)
class Searches:
    """Those of all leaves."""

    head_looks_left: int = 0
    """How many tasks at the heads of queues may still be looked at in this round of leases."""
    deep_looks_left: int = 0
    """How many behind them: so a long queue does not keep others from being looked at."""
    _by_leaf: dict[Leaf, _Search] = field(default_factory=dict)

    def begin(self, limits: Limits, *, operating: bool) -> None:
        """A new round of leases, in which as many tasks may be looked at as a head has room for, and as many behind heads. With no
        operation under way there is nothing to remember."""
        self.head_looks_left = self.deep_looks_left = limits.head_tasks_max
        if not operating:
            self._by_leaf.clear()

    def forget(self, leaf: Leaf) -> None:
        """The leaf has no queue any more."""
        self._by_leaf.pop(leaf, None)

    def free(
        self, table: TaskTable, queue: LeafQueue, gates: Sequence[Operation], limits: Limits, size: int, now_ms: int
    ) -> list[TaskNo]:
        """The first tasks of the queue, at most `size`, that have not expired and that none of these operations holds: of its
        head, and then of what is behind it, `lease_tasks_max` at a time. If one of them holds whole leaves, only the first few
        are asked about: the others are held, or so new that they are found by their numbers."""
        search = self._of(queue, gates)
        if search.settled == queue.changes:
            return []
        batch = limits.lease_tasks_max
        deep = not any(by_place(gate.filter) for gate in gates)
        waiting = (entry.no for entry in queue.head if not is_over(entry.expires_ms, now_ms))
        found: list[TaskNo] = []
        while len(found) < size and (nos := list(islice(waiting, batch))):
            free, looked = self._not_held(table, search, queue.leaf, gates, nos, may_look=self.head_looks_left > 0)
            self.head_looks_left -= looked
            found += free
            if not deep:
                return found[:size]
        while len(found) < size and self.deep_looks_left > 0 and not queue.complete:
            keys = table.next_queued(queue.leaf, _behind(queue, search), batch)
            if not keys:
                break
            found += self._next(table, search, queue.leaf, gates, keys, size - len(found), now_ms)
        if not found and self.head_looks_left > 0 and self.deep_looks_left > 0:
            search.settled = queue.changes
        return found[:size]

    def _of(self, queue: LeafQueue, gates: Sequence[Operation]) -> _Search:
        """What is known of the queue. Behind the head one looks anew when another operation has begun, or one is done."""
        search = self._by_leaf.get(queue.leaf)
        if search is None or list(search.wanted) != [gate.id for gate in gates]:
            known = {} if search is None else search.wanted
            search = self._by_leaf[queue.leaf] = _Search({gate.id: known.get(gate.id, {}) for gate in gates})
        for id, wanted in search.wanted.items():
            if len(wanted) > REMEMBERED_HEADS * queue.head_max:
                search.wanted[id] = {entry.no: wanted[entry.no] for entry in queue.head if entry.no in wanted}
        return search

    def _not_held(
        self,
        table: TaskTable,
        search: _Search,
        leaf: Leaf,
        gates: Sequence[Operation],
        nos: list[TaskNo],
        *,
        may_look: bool,
    ) -> tuple[list[TaskNo], int]:
        """Those of these queued tasks that none of the operations holds: none that is not known, if one may not look; and how many
        times one has looked."""
        looked = 0
        for gate in gates:
            done_no, upto_no, wanted = gate.done_with(leaf), gate.upto_no, search.wanted[gate.id]
            if by_place(gate.filter):
                nos = [no for no in nos if not done_no < no <= upto_no]
                continue
            unknown = [no for no in nos if done_no < no <= upto_no and no not in wanted]
            if unknown and may_look:
                looked += len(unknown)
                passing = dict.fromkeys(table.passing(unknown, gate.filter))
                wanted.update((no, no in passing) for no in unknown)
            nos = [no for no in nos if not done_no < no <= upto_no or wanted.get(no) is False]
        return nos, looked

    def _next(
        self,
        table: TaskTable,
        search: _Search,
        leaf: Leaf,
        gates: Sequence[Operation],
        keys: Sequence[QueueKey],
        size: int,
        now_ms: int,
    ) -> list[TaskNo]:
        """Those of the next tasks behind the head that are free, at most `size`; one has looked up to the last of them."""
        nos, looked = self._not_held(table, search, leaf, gates, [key.no for key in keys], may_look=True)
        free = dict.fromkeys(nos)
        self.deep_looks_left -= max(looked, len(keys))
        found: list[TaskNo] = []
        for key in keys:
            if len(found) == size:
                break
            search.after = key
            if key.no in free and not is_over(key.expires_ms, now_ms):
                found.append(key.no)
        return found


def _behind(queue: LeafQueue, search: _Search) -> QueueKey | None:
    """From where on one has not looked: the head's end, or what is behind it."""
    if not queue.head:
        return search.after
    last = queue.head[-1]
    if search.after is not None and search.after[:2] > (last.due_ms, last.no):
        return search.after
    return QueueKey(last.due_ms, last.no)
