"""History in the working table's file: where the tasks are that have left it, by number."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from taskservice.core.filters import touches
from taskservice.core.past import EndedKey, HistoryFile, Past
from taskservice.core.types import TERMINAL_STATES, ListFilter, Task, TaskId, TaskNo, TaskState, TenantId
from taskservice.core.values import digest
from taskservice.journal.store import mapping, moves
from taskservice.journal.store import past_statements as statements
from taskservice.journal.store.counts import Counts
from taskservice.journal.store.ids import Ids
from taskservice.journal.store.numbers import Numbers

_BEFORE_ALL = -(2**63)
_AFTER_ALL = TaskNo(2**63 - 1)


class SqlitePast:
    """A `PastTasks`: the part of a `SqliteTable` that its owner shares its connection with."""

    def __init__(self, db: sqlite3.Connection, numbers: Numbers, counts: Counts, ids: Ids) -> None:
        self._db = db
        self._numbers = numbers
        self._counts = counts
        self._ids = ids

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
        self._db.executemany(
            statements.INSERT_PAST,
            [(*leaving[no][:7], digest(leaving[no][7]), number, row) for no, row in sorted(rows)],
        )
        gone = (mapping.json_list(nos),)
        self._db.execute(statements.DELETE_TASKS, gone)
        self._db.execute(statements.DELETE_PAYLOADS, gone)
        self._db.execute(statements.FILE_TOLD, (last, len(rows), number))
        leaves = self._numbers.leaves
        self._counts.removed((leaves[row[3]], mapping.STATES[row[4]]) for row in leaving.values())

    def find(self, tenant: TenantId, ids: Sequence[TaskId]) -> dict[TaskId, Past]:
        number = self._numbers.of_known_tenant(tenant)
        nos = {} if number is None else self._ids.known(number, ids)
        return {past.id: past for past in self._load(list(nos.values()))} if nos else {}

    def listing(
        self, wanted: ListFilter, before_no: TaskNo | None, limit: int, after_no: TaskNo | None = None
    ) -> list[Past]:
        wish: dict[str, object] = {
            "before_no": _AFTER_ALL if before_no is None else before_no,
            "after_no": _BEFORE_ALL if after_no is None else after_no,
            "created_after_ms": wanted.created_after_ms,
            "created_before_ms": wanted.created_before_ms,
            "tag": None if wanted.tag is None else mapping.tags_text([wanted.tag]),
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
        moves.check_forget(nos, {no: None for no, _, _, _ in rows})
        self._ids.drop([(tenant, id) for _, tenant, id, _ in rows])
        self._db.execute(statements.DELETE_PAST, (mapping.json_list(nos),))
        files = Counter(file for _, _, _, file in rows)
        self._db.executemany(statements.FILE_FORGOTTEN, [(count, file) for file, count in files.items()])

    def droppable(self, before_day: int, limit: int) -> list[HistoryFile]:
        return [HistoryFile(*row) for row in self._db.execute(statements.DROPPABLE, (before_day, limit))]

    def drop(self, keys: Sequence[str]) -> None:
        unused = [key for (key,) in self._db.execute(statements.UNUSED, (mapping.json_list(keys),))]
        moves.check_drop(keys, unused)
        self._db.executemany(statements.DROP_FILE, [(key,) for key in keys])

    def known(self, keys: Sequence[str]) -> list[str]:
        return [key for (key,) in self._db.execute(statements.KNOWN_FILES, (mapping.json_list(keys),))]

    def entries(self) -> int:
        count: int = self._db.execute(statements.ENTRIES).fetchone()[0]
        return count

    def files(self) -> dict[str, int]:
        return dict(self._db.execute(statements.FILES).fetchall())

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
        for no, id, leaf, state, digest_, key, size_bytes, row in self._db.execute(
            statements.LOAD_PAST, (mapping.json_list(nos),)
        ):
            tenant, function, priority = leaves[leaf]
            state_ = mapping.STATES[state]
            found[no] = Past(no, id, tenant, function, priority, state_, digest_, key, size_bytes, row)
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
