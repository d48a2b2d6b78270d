"""History in plain Python containers, beside the working table in plain Python containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from msgspec import structs

from taskservice.core.history import DEAD
from taskservice.core.past import EndedKey, HistoryFile, Past
from taskservice.core.stretches import Reach, Stretch
from taskservice.core.types import Leaf, ListFilter, Task, TaskId, TaskNo, TaskState, TenantId
from taskservice.core.values import digest
from taskservice.journal.store import moves
from taskservice.journal.store.counts import Tally
from taskservice.journal.store.ordered import Ordered


class _Entry(NamedTuple):
    past: Past
    created_ms: int
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _File:
    file: HistoryFile
    finished: bool = False
    known: dict[TaskNo, None] = field(default_factory=dict)
    """Tasks in it that are known."""


class MemoryPast:
    """A `PastTasks`. Takes time with all files that there are, and what is asked by ranges of numbers with all tasks."""

    def __init__(
        self,
        tasks: dict[TaskNo, Task],
        nos: dict[tuple[TenantId, TaskId], TaskNo],
        leave: Callable[[Sequence[Task]], None],
    ) -> None:
        """`tasks`, `nos`: the table's own. `leave`: these are not in the table any more, though their ids are."""
        self._tasks = tasks
        self._nos = nos
        self._leave = leave
        self._dead: Ordered[EndedKey] = Ordered()
        self._done: Ordered[EndedKey] = Ordered()
        """Tasks of the table that have ended: dead letters, and all others."""
        self._entries: dict[TaskNo, _Entry] = {}
        self._files: dict[str, _File] = {}
        self._tally = Tally()

    def copied_from(self, other: MemoryPast) -> None:
        """It holds what the other one does."""
        self._dead, self._done = other._dead.copy(), other._done.copy()
        self._entries = dict(other._entries)
        self._files = {key: replace(each, known=dict(each.known)) for key, each in other._files.items()}
        self._tally = deepcopy(other._tally)

    def has_ended(self, task: Task) -> None:
        """The task, which is in the table, has."""
        self._ended_as(task.state).add(EndedKey(task.ended_ms or 0, task.no))

    def has_left(self, task: Task) -> None:
        """The task, which has ended, is not there any more, or not so."""
        self._ended_as(task.state).remove(EndedKey(task.ended_ms or 0, task.no))

    def ended(
        self, states: Sequence[TaskState], before_ms: int, after: EndedKey | None, limit: int, bytes_max: int
    ) -> list[Task]:
        found: list[Task] = []
        size = 0
        low = after and (after.ended_ms, after.no + 1)
        for key in self._ended_as(states[0]).within(low, (before_ms,), limit):
            if size < bytes_max:
                task = self._tasks[key.no]
                found.append(task)
                size += len(task.payload) + len(task.result or b"")
        return found

    def standing(self, nos: Sequence[TaskNo]) -> dict[TaskNo, tuple[int, TaskState]]:
        return {no: (self._tasks[no].run, self._tasks[no].state) for no in nos if no in self._tasks}

    def archive(self, file: HistoryFile, rows: Sequence[tuple[TaskNo, int]], *, last: bool) -> None:
        into = self._files.get(file.key) or _File(file)
        nos = [no for no, _ in rows]
        moves.check_archive(nos, {no: self._tasks[no].state for no in nos if no in self._tasks}, finished=into.finished)
        gone = [self._tasks[no] for no in nos]
        for task, (no, row) in zip(gone, rows, strict=True):
            past = Past(
                no,
                task.id,
                task.tenant,
                task.function,
                task.priority,
                task.state,
                digest(task.payload),
                file.key,
                file.size_bytes,
                row,
                task.run,
            )
            self._entries[no] = _Entry(past, task.created_ms, task.tags)
            into.known[no] = None
            self._tally.change((task.leaf.plain, task.state), +1)
        self._leave(gone)
        into.finished = last
        self._files[file.key] = into

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Past]:
        nos = {id: self._nos[tenant, id] for id in ids if (tenant, id) in self._nos}
        return {id: self._entries[no].past for id, no in nos.items() if no in self._entries}

    def listing(
        self, wanted: ListFilter, before_no: TaskNo | None, limit: int, after_no: TaskNo | None = None
    ) -> list[Past]:
        newer = [no for no in self._entries if after_no is None or no > after_no]
        nos = sorted((no for no in newer if before_no is None or no < before_no), reverse=True)
        return [self._entries[no].past for no in nos if _passes(self._entries[no], wanted)][:limit]

    def unfinished(self) -> list[HistoryFile]:
        return [each.file for each in self._files.values() if not each.finished]

    def forgettable(self, before_ms: int, limit: int) -> list[TaskNo]:
        over = [
            each
            for each in self._files.values()
            if each.finished and each.known and each.file.last_ended_ms < before_ms
        ]
        if not over:
            return []
        return sorted(min(over, key=lambda each: each.file.last_ended_ms).known)[:limit]

    def forget(self, nos: Sequence[TaskNo]) -> None:
        moves.check_forget(nos, self._entries)
        for no in nos:
            past = self._entries.pop(no).past
            del self._nos[past.tenant, past.id]
            self._tally.change((_leaf(past), past.state), -1)
            del self._files[past.file].known[no]

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        to_no, tasks, share = upto_no, 0, max(1, limit // max(1, len(states)))
        for state in states:
            met = self._between(Stretch(leaf, after_no, to_no), ListFilter(states=(state,)))[:share]
            tasks += len(met)
            if len(met) == share:
                to_no = met[-1]
        return Reach(to_no, tasks)

    def count_between(self, stretch: Stretch, wanted: ListFilter) -> int:
        return len(self._between(stretch, wanted))

    def forget_between(self, stretch: Stretch, wanted: ListFilter) -> int:
        nos = self._between(stretch, wanted)
        self.forget(nos)
        return len(nos)

    def droppable(self, before_day: int, limit: int) -> list[HistoryFile]:
        unused = [each.file for each in self._files.values() if each.finished and not each.known]
        old = [file for file in unused if file.day < before_day]
        return sorted(old, key=lambda file: file.day)[:limit]

    def drop(self, keys: Sequence[str]) -> None:
        unused = [key for key, each in self._files.items() if each.finished and not each.known]
        moves.check_drop(keys, unused)
        for key in keys:
            del self._files[key]

    def known(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if key in self._files]

    def counts(self, tenant: TenantId | None = None) -> dict[tuple[Leaf, TaskState], int]:
        return dict(self._tally.items(tenant))

    def entries(self) -> int:
        return len(self._entries)

    def files(self) -> dict[str, int]:
        return {key: len(each.known) for key, each in self._files.items()}

    def _ended_as(self, state: TaskState) -> Ordered[EndedKey]:
        return self._dead if state in DEAD else self._done

    def _between(self, stretch: Stretch, wanted: ListFilter) -> list[TaskNo]:
        anywhere = structs.replace(wanted, tenant=None, function=None, priority=None)
        return sorted(
            no
            for no, entry in self._entries.items()
            if stretch.after_no < no <= stretch.to_no and _leaf(entry.past) == stretch.leaf and _passes(entry, anywhere)
        )


def _leaf(past: Past) -> Leaf:
    return Leaf(past.tenant, past.function, past.priority)


def _passes(entry: _Entry, wanted: ListFilter) -> bool:
    past = entry.past
    return (
        (wanted.tenant is None or past.tenant == wanted.tenant)
        and (not wanted.states or past.state in wanted.states)
        and (wanted.function is None or past.function == wanted.function)
        and (wanted.priority is None or past.priority == wanted.priority)
        and (wanted.tag is None or wanted.tag in entry.tags)
        and (wanted.created_after_ms is None or wanted.created_after_ms <= entry.created_ms)
        and (wanted.created_before_ms is None or entry.created_ms < wanted.created_before_ms)
    )
