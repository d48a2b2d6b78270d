"""History in the working table's file: where the tasks are that have left it, by number."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from taskservice.core.filters import touches
from taskservice.core.past import EndedKey, HistoryFile, Past
from taskservice.core.stretches import Reach, Stretch
from taskservice.core.types import TERMINAL_STATES, Leaf, ListFilter, Task, TaskId, TaskNo, TaskState, TenantId
from taskservice.core.values import digest
from taskservice.journal.store import mapping, moves
from taskservice.journal.store import past_statements as statements
from taskservice.journal.store.counts import Counts, LeafState
from taskservice.journal.store.ids import Ids
from taskservice.journal.store.numbers import Numbers
from taskservice.journal.store.ranges import Ranges, wish_of

_BEFORE_ALL = -(2**63)
_AFTER_ALL = TaskNo(2**63 - 1)


class SqlitePast:
    """A `PastTasks`: the part of a `SqliteTable` that its owner shares its connection with."""

    def __init__(self, db: sqlite3.Connection, numbers: Numbers, counts: Counts, ids: Ids) -> None:
        self._db = db
        self._numbers = numbers
        self._counts = counts
        self._ids = ids
        self._ranges = Ranges(db, numbers)

    def ended(
        self, states: Sequence[TaskState], before_ms: int, after: EndedKey | None, limit: int, bytes_max: int
    ) -> list[Task]:
        dead = TaskState.FAILED in states
        then, later = (
            (statements.DEAD_THEN, statements.DEAD_LATER) if dead else (statements.DONE_THEN, statements.DONE_LATER)
        )
        found: list[Task] = []
        if after is not None:
            self._read(then, (*after, before_ms, limit), found, bytes_max)
        after_ms = _BEFORE_ALL if after is None else after.ended_ms
        self._read(later, (after_ms, before_ms, limit - len(found)), found, bytes_max)
        return found

    def standing(self, nos: Sequence[TaskNo]) -> dict[TaskNo, tuple[int, TaskState]]:
        rows = self._db.execute(statements.STANDING, (mapping.json_list(nos),))
        return {no: (run, mapping.STATES[state]) for no, run, state in rows}

    def archive(self, file: HistoryFile, rows: Sequence[tuple[TaskNo, int]], *, last: bool) -> None:
        nos = [no for no, _ in rows]
        number, finished = self._db.execute(statements.FIND_FILE, (file.key,)).fetchone() or (None, 0)
        leaving = {row[0]: row for row in self._db.execute(statements.LEAVING, (mapping.json_list(nos),))}
        moves.check_archive(nos, {no: mapping.STATES[row[4]] for no, row in leaving.items()}, finished=bool(finished))
        if number is None:
            number = self._db.execute(statements.INSERT_FILE, _file_row(file)).lastrowid
        leaves = self._numbers.leaves
        places = {no: self._numbers.of_leaf(leaves[row[3]].plain) for no, row in leaving.items()}
        self._db.executemany(
            statements.INSERT_PAST,
            [
                (*leaving[no][:3], places[no], *leaving[no][4:7], digest(leaving[no][7]), number, row, leaving[no][8])
                for no, row in sorted(rows)
            ],
        )
        gone = (mapping.json_list(nos),)
        self._db.execute(statements.DELETE_TASKS, gone)
        self._db.execute(statements.DELETE_PAYLOADS, gone)
        self._db.execute(statements.FILE_TOLD, (last, len(rows), number))
        self._counts.archived((leaves[row[3]], mapping.STATES[row[4]]) for row in leaving.values())

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Past]:
        number = self._numbers.of_known_tenant(tenant)
        nos = {} if number is None else self._ids.known(number, ids)
        return {past.id: past for past in self._load(list(nos.values()))} if nos else {}

    def listing(
        self, wanted: ListFilter, before_no: TaskNo | None, limit: int, after_no: TaskNo | None = None
    ) -> list[Past]:
        wish: dict[str, object] = {
            **mapping.beyond_place(wanted),
            "before_no": _AFTER_ALL if before_no is None else before_no,
            "after_no": _BEFORE_ALL if after_no is None else after_no,
            "limit": limit,
        }
        if (wanted.tenant, wanted.function, wanted.priority, wanted.states) == (None, None, None, ()):
            return self._load(self._nos(statements.LIST_PAST, wish))
        nos: list[TaskNo] = []
        for number, leaf in enumerate(self._numbers.leaves):
            if touches(leaf, wanted):
                for state in TERMINAL_STATES:
                    if not wanted.states or state in wanted.states:
                        nos += self._nos(statements.LIST_PAST_PLACE, {**wish, "leaf": number, "state": state})
        return self._load(sorted(nos, reverse=True)[:limit])

    def unfinished(self) -> list[HistoryFile]:
        return [HistoryFile(*row) for row in self._db.execute(statements.UNFINISHED)]

    def forgettable(self, before_ms: int, limit: int) -> list[TaskNo]:
        file = self._db.execute(statements.FORGETTABLE, (before_ms,)).fetchone()
        if file is None:
            return []
        return [no for (no,) in self._db.execute(statements.PAST_OF_FILE, (*file, limit))]

    def forget(self, nos: Sequence[TaskNo]) -> None:
        rows = self._db.execute(statements.PAST_IDS, (mapping.json_list(nos),)).fetchall()
        moves.check_forget(nos, {row[0]: None for row in rows})
        self._db.execute(statements.DELETE_PAST, (mapping.json_list(nos),))
        self._are_forgotten(rows)

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        return self._ranges.reach_past(leaf, states, after_no, upto_no, limit)

    def count_between(self, stretch: Stretch, wanted: ListFilter) -> int:
        return self._ranges.count_past(stretch, wanted)

    def forget_between(self, stretch: Stretch, wanted: ListFilter) -> int:
        wish = wish_of(self._numbers, stretch, wanted)
        rows = [
            row
            for state in wanted.states
            for row in self._db.execute(statements.FORGET_BETWEEN, {**wish, "state": state}).fetchall()
        ]
        self._are_forgotten(rows)
        return len(rows)

    def droppable(self, before_day: int, limit: int) -> list[HistoryFile]:
        return [HistoryFile(*row) for row in self._db.execute(statements.DROPPABLE, (before_day, limit))]

    def drop(self, keys: Sequence[str]) -> None:
        unused = [key for (key,) in self._db.execute(statements.UNUSED, (mapping.json_list(keys),))]
        moves.check_drop(keys, unused)
        self._db.executemany(statements.DROP_FILE, [(key,) for key in keys])

    def known(self, keys: Sequence[str]) -> list[str]:
        return [key for (key,) in self._db.execute(statements.KNOWN_FILES, (mapping.json_list(keys),))]

    def counts(self, tenant: TenantId | None = None) -> dict[LeafState, int]:
        return dict(self._counts.past_items(tenant))

    def entries(self) -> int:
        count: int = self._db.execute(statements.ENTRIES).fetchone()[0]
        return count

    def files(self) -> dict[str, int]:
        return dict(self._db.execute(statements.FILES).fetchall())

    def _are_forgotten(self, rows: Sequence[mapping.Row]) -> None:
        """Nothing is left of these, but their files."""
        self._ids.drop([(tenant, id) for _, tenant, id, _, _, _ in rows])
        leaves = self._numbers.leaves
        self._counts.forgotten((leaves[leaf], mapping.STATES[state]) for *_, leaf, state in rows)
        files = Counter(row[3] for row in rows)
        self._db.executemany(statements.FILE_FORGOTTEN, [(count, file) for file, count in files.items()])

    def _read(self, statement: str, wish: Sequence[object], found: list[Task], bytes_max: int) -> None:
        """The tasks are added to `found`, until all of them have so many bytes."""
        leaves = self._numbers.leaves
        size = sum(len(task.payload) + len(task.result or b"") for task in found)
        rows = self._db.execute(statement, wish)
        for row in rows:
            if size >= bytes_max:
                break
            task = mapping.to_task(row, leaves)
            found.append(task)
            size += len(task.payload) + len(task.result or b"")
        rows.close()

    def _nos(self, statement: str, wish: dict[str, object]) -> list[TaskNo]:
        return [no for (no,) in self._db.execute(statement, wish)]

    def _load(self, nos: Sequence[TaskNo]) -> list[Past]:
        """Those of these that are in history, in the order given."""
        leaves = self._numbers.leaves
        found: dict[TaskNo, Past] = {}
        for no, id, leaf, state, digest_, key, size_bytes, row, run in self._db.execute(
            statements.LOAD_PAST, (mapping.json_list(nos),)
        ):
            tenant, function, priority = leaves[leaf][:3]
            state_ = mapping.STATES[state]
            found[no] = Past(no, id, tenant, function, priority, state_, digest_, key, size_bytes, row, run)
        return [found[no] for no in nos if no in found]


def _file_row(file: HistoryFile) -> mapping.Row:
    return (
        file.key,
        file.day,
        file.first_no,
        file.last_no,
        file.tasks,
        file.size_bytes,
        file.last_ended_ms,
    )
