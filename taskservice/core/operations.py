"""Bulk operations: on all tasks that pass a filter, however many, as one record and small steps.

    OperationBegun --OperationStep--> ... --OperationStep--> done        (a place: a leaf, and a number in it)

From the record that begins it an operation holds for all tasks that pass its filter and were accepted before: none of them is
leased any more. They are changed in the background, leaf by leaf in the order of the leaves' names, in each by number. So
there is always one place that it has come to: what is before it has been done, what is behind it is still held. Operations
take turns; but one that might find other tasks, or undo what an earlier one is about to do, waits until that is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile

from msgspec import Struct

from taskservice.core.filters import meets, touches
from taskservice.core.types import Leaf, ListFilter, Task, TaskNo, TaskState, TenantId

KEPT_MAX = 100
"""Operations of one tenant that are remembered after they are done; the oldest go first."""


class OperationKind(StrEnum):
    """What is done to the tasks."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    """Run again: failed tasks, and those that never ran."""
    DELETE = "delete"


_WAITING = (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RETRYING)

SOURCES: dict[OperationKind, tuple[TaskState, ...]] = {
    OperationKind.CANCEL: (*_WAITING, TaskState.PAUSED),
    OperationKind.PAUSE: _WAITING,
    OperationKind.RESUME: (TaskState.PAUSED,),
    OperationKind.RETRY: (TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED),
    OperationKind.DELETE: tuple(state for state in TaskState if state is not TaskState.RUNNING),
}
"""The states in which a task can be changed."""


class Operation(Struct, frozen=True, array_like=True):
    """One bulk operation, and how far it has come. A field is added at the end with a default, never removed or moved."""

    id: str
    """What users call the operation; empty if there is none, because its answer was known at once."""
    kind: OperationKind
    filter: ListFilter
    """Its `states` are named, and of `SOURCES`. Its tenant may ask about the operation; None: only admins may."""
    upto_no: TaskNo
    """The last task that had been accepted when it began: later ones are not its business."""
    begun_ms: int
    dry_run: bool = False
    """Tasks are only counted, and none is held."""
    matched: int | None = None
    """Tasks that passed the filter when it began; None: not known before it is done."""
    leaf: Leaf | None = None
    """The leaf that it has come to; None: it has not taken a step."""
    no: TaskNo = TaskNo(0)
    """What it has done of that leaf: the tasks up to this number."""
    changed: int = 0
    """Tasks that it has changed so far, or counted."""
    done_ms: int | None = None
    since_ms: int | None = None
    """When it took its first step: tasks that have ended later are not its business."""
    resume_ms: int | None = None
    """When the tasks that it pauses are resumed by themselves."""
    running: int = 0
    """Tasks that passed the filter and ran when it began: they are left alone."""

    @property
    def owner(self) -> TenantId | None:
        return self.filter.tenant

    def done_with(self, leaf: Leaf) -> TaskNo:
        """The number up to which it has done the tasks of the leaf."""
        if self.leaf is None or self.leaf < leaf:
            return TaskNo(0)
        return self.no if self.leaf == leaf else self.upto_no

    def waits_for(self, earlier: Operation) -> bool:
        """Whether it must not come to any task before the other one, which began earlier, has come to it."""
        alike = (self.kind, self.resume_ms) == (earlier.kind, earlier.resume_ms)
        return not alike and not self.dry_run and not earlier.dry_run and meets(self.filter, earlier.filter)

    def holds(self, leaf: Leaf, no: TaskNo) -> bool:
        """Whether the operation is still to come to this task, if it passes the filter."""
        return not self.dry_run and touches(leaf, self.filter) and self.done_with(leaf) < no <= self.upto_no

    def concerns(self, task: Task) -> bool:
        """Whether the task had not ended by itself after the operation took its first step."""
        return task.ended_ms is None or self.since_ms is None or task.ended_ms <= self.since_ms


@dataclass(slots=True)
class Operations:
    """The bulk operations of a shard: those under way, and the last that are done of each owner."""

    under_way: dict[str, Operation] = field(default_factory=dict)
    """In the order in which they began."""
    by_owner: dict[TenantId | None, dict[str, Operation]] = field(default_factory=dict)
    """All of them, in the order in which they began."""
    _turns: dict[str, None] = field(default_factory=dict)
    """Those under way, whose turn it is first; not durable."""

    def put(self, operation: Operation) -> list[Operation]:
        """The operation is as it is now; gives all that are remembered of its owner."""
        group = self.by_owner.setdefault(operation.owner, {})
        group[operation.id] = operation
        if operation.done_ms is None:
            self.under_way[operation.id] = operation
            self._turns.setdefault(operation.id)
        else:
            self.under_way.pop(operation.id, None)
            self._turns.pop(operation.id, None)
        done = [known.id for known in group.values() if known.done_ms is not None]
        for id in done[:-KEPT_MAX]:
            del group[id]
        return list(group.values())

    def to_the_end(self, id: str) -> None:
        """The operation has had its turn: the others have theirs before it has another."""
        if id in self._turns:
            del self._turns[id]
            self._turns[id] = None

    def next(self) -> Operation | None:
        """The one whose turn it is, of those that need not wait for another."""
        ready = (self.under_way[id] for id in self._turns)
        return next((operation for operation in ready if not self._must_wait(operation)), None)

    def _must_wait(self, operation: Operation) -> bool:
        earlier = takewhile(lambda each: each.id != operation.id, self.under_way.values())
        return any(operation.waits_for(each) for each in earlier)

    def find(self, id: str, tenant: TenantId | None) -> Operation | None:
        """The operation of that id, if it is the tenant's; None: whosever it is."""
        groups: Iterable[dict[str, Operation]] = (
            self.by_owner.values() if tenant is None else [self.by_owner.get(tenant, {})]
        )
        return next((group[id] for group in groups if id in group), None)

    def under_way_of(self, owner: TenantId | None) -> int:
        """How many of the owner's are under way."""
        return sum(operation.owner == owner for operation in self.under_way.values())
