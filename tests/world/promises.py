"""What bulk operations, and the clock, have promised: found by folding the journal, without asking the code that keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from taskservice.core import records as r
from taskservice.core.apply import apply
from taskservice.core.filters import passes
from taskservice.core.follow_up import TAG, follow_up_id, function_after
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.orders import TasksStopped
from taskservice.core.state import State
from taskservice.core.story import story
from taskservice.core.types import TERMINAL_STATES, Leaf, ListFilter, Task, TaskNo, TaskState
from taskservice.journal.store.memory import MemoryTable
from world.dispatcher import LIMITS

EVERYTHING = 1_000_000
CANCEL, PAUSE, RESUME, RETRY, DELETE = OperationKind

Named = r.TasksCancelled | r.TasksChanged | r.TasksExpired | r.TasksDue | r.HistoryForgotten


class Promises:
    """Follows the journal from its beginning; `held` counts the tasks that operations of each kind held when they began."""

    def __init__(self, records: list[r.Record], said: Collection[tuple[TaskNo, str]] = ()) -> None:
        """`said`: tasks that a producer was told are known, and deletions under way then: none of these may delete them."""
        self._said = said
        self.held: Counter[OperationKind] = Counter()
        self._records = records
        self._state = State(MemoryTable(), LIMITS)
        self._held: dict[str, dict[TaskNo, Leaf]] = {}
        """Of each operation under way: the tasks that passed its filter when it began, and that it has not come to."""
        self._since_ms: dict[str, int] = {}
        """When each took its first step."""
        self._begun: dict[str, Operation] = {}
        """Each as it began."""
        self._ends: dict[tuple[TaskNo, int], TaskState] = {}
        self.followed: Counter[tuple[str, str]] = Counter()
        """Tasks that have been accepted because others have ended, by tenant and id."""
        self._to_follow: Counter[tuple[str, str]] = Counter()

    def check(self) -> None:
        """None is broken; raises AssertionError with the story of the task that shows it."""
        for record in self._records:
            if isinstance(record, r.OperationStep):
                self._step(record)
                continue
            self._before(record)
            apply(self._state, record)
            self._after(record)
        assert self.followed == self._to_follow, "each run that ends is followed exactly once"

    def _before(self, record: r.Record) -> None:
        table = self._state.table
        if isinstance(record, r.TasksAccepted):
            for task in record.tasks:
                known = [*table.find(task.tenant, [task.id]), *table.past.find(task.tenant, [task.id])]
                self._require(not known, "it was accepted twice", task.no)
                self.followed[task.tenant, task.id] += any(name == TAG for name, _ in task.tags)
        elif isinstance(record, r.LeaseGranted):
            for task in table.load(record.nos):
                in_time = task.expires_ms is None or record.at_ms < task.expires_ms
                self._require(in_time, "it was leased after its time", task.no)
                for id in self._held:
                    self._require(task.no not in self._held[id], f"{id} held it", task.no)
        elif isinstance(record, r.OperationCaught):
            for no in record.nos:
                self._changed_by(self._begun[record.id], no)
                self._held[record.id].pop(no, None)
        elif isinstance(record, Named):
            self._named(record)
        elif isinstance(record, r.TasksArchived):
            # What has left cannot run again; it can still be deleted, where those are that were never retried.
            for id, held in self._held.items():
                held.update({no: held[no].plain for no, _ in record.rows if no in held})
                if self._begun[id].kind is RETRY:
                    self._let_go(held, [no for no, _ in record.rows])

    def _named(self, record: Named) -> None:
        """Tasks that are named are not such as an operation is still to change; or the change is what it would have done, or
        ends them."""
        for id, held in self._held.items():
            operation = self._begun[id]
            if isinstance(record, r.TasksChanged):
                may_be = record.action in (operation.kind, DELETE)
            elif isinstance(record, r.TasksCancelled):
                may_be = operation.kind is not DELETE
            else:
                may_be = isinstance(record, r.HistoryForgotten)
            caught = [no for no in record.nos if no in held]
            self._require(may_be or not caught, f"{id} held it", *caught)
            self._let_go(held, record.nos)

    def _after(self, record: r.Record) -> None:
        if isinstance(record, r.OperationBegun) and not record.dry_run:
            assert record.upto_no == self._state.next_no - 1
            self._begin(record)
        for task in self._state.table.load(_ended(record)):
            key = (task.no, task.run)
            self._require(key not in self._ends, f"it had ended as {self._ends.get(key)}", task.no)
            self._ends[key] = task.state
            self._to_follow[task.tenant, follow_up_id(task)] += bool(function_after(task))

    def _begin(self, record: r.OperationBegun) -> None:
        table = self._state.table
        found = {task.no: task.leaf for task in table.listing(record.filter, None, EVERYTHING)}
        if record.action is DELETE:
            past = table.past.listing(record.filter, None, EVERYTHING)
            found |= {one.no: Leaf(one.tenant, one.function, one.priority) for one in past}
        self._held[record.id] = found
        self._begun[record.id] = record.operation
        self.held[record.action] += len(found)

    def _step(self, record: r.OperationStep) -> None:
        """Exactly those in its stretch that pass have been changed, and so all in it that were held."""
        operation = self._state.operations.under_way[record.id]
        since_ms = self._since_ms.setdefault(record.id, record.at_ms)
        stretch = [] if record.leaf is None else self._stretch(operation, record.leaf, record.to_no)
        apply(self._state, record)
        if operation.dry_run:
            return
        held = self._held[record.id]
        left_alone: set[TaskNo] = set()
        for task in stretch:
            meant = passes(task, operation.filter) and (task.ended_ms is None or task.ended_ms <= since_ms)
            self._require(self._is_changed(task) is meant, f"{record.id} came past", task.no)
            if task.no in held and not meant:
                self._require(task.state in TERMINAL_STATES, f"{record.id} held it", task.no)
            if meant:
                self._changed_by(operation, task.no)
            else:
                left_alone.add(task.no)
        gone = [no for no, leaf in held.items() if leaf == record.leaf and no <= record.to_no]
        if operation.kind is DELETE:
            past = {one.no for one in self._past()}.intersection(gone)
            self._require(not past, f"{record.id} held it", *past)
            relied_on = [no for no in gone if no not in left_alone and (no, record.id) in self._said]
            self._require(not relied_on, f"it was said to be known, and {record.id} deleted it", *relied_on)
        self._let_go(held, gone)
        if record.done:
            self._require(not held, f"{record.id} is done, and has not come to it", *held)
            del self._held[record.id]

    def _stretch(self, operation: Operation, leaf: Leaf, to_no: TaskNo) -> list[Task]:
        wanted = ListFilter(leaf.tenant, (), leaf.function, leaf.priority)
        tasks = self._state.table.listing(wanted, TaskNo(to_no + 1), EVERYTHING)
        return [task for task in tasks if task.leaf == leaf and task.no > operation.done_with(leaf)]

    def _changed_by(self, operation: Operation, no: TaskNo) -> None:
        """An operation that began later finds the task as this one has left it; an earlier one must have come to it."""
        self._require(
            (no, operation.id) not in self._said, f"it was said to be known, and {operation.id} deleted it", no
        )
        earlier = True
        for id, held in self._held.items():
            earlier = earlier and id != operation.id
            other = self._begun[id]
            alike = (other.kind, other.resume_ms) == (operation.kind, operation.resume_ms)
            self._require(alike or not earlier or no not in held, f"{operation.id} overtook {id}", no)
            if id != operation.id:
                held.pop(no, None)

    def _is_changed(self, before: Task) -> bool:
        found = self._state.table.find(before.tenant, [before.id]).get(before.id)
        return found is None or found != before

    def _past(self) -> list:
        return self._state.table.past.listing(ListFilter(), None, EVERYTHING)

    def _let_go(self, held: dict[TaskNo, Leaf], nos) -> None:
        for no in nos:
            held.pop(no, None)

    def _require(self, holds: bool, why: str, *nos: TaskNo) -> None:
        assert holds, "\n".join([f"{why}:", *(story(self._records, nos[0]) if nos else ())])


def _ended(record: r.Record) -> list[TaskNo]:
    """Those whose end the record names."""
    match record:
        case r.TasksSucceeded(rows=rows):
            return [row[0] for row in rows]
        case r.TasksFailed(rows=dead):
            return [row.no for row in dead]
        case r.TasksCancelled(nos=nos) | r.TasksExpired(nos=nos) | TasksStopped(nos=nos):
            return list(nos)
        case _:
            return []
