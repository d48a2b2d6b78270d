"""What SQLite's table does to all tasks of a leaf between two numbers: the steps of bulk operations.

All of it goes by the index of leaf and state, which is ordered by number: so it takes time with the tasks that are met, and
neither with those that have ended, of which there may be millions, nor with other leaves'. One statement for each state.
"""

# ruff: noqa: S608 - texts are put together from constants of this module only
from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import repeat

from taskservice.core.table import Changed, Reach
from taskservice.core.types import Leaf, ListFilter, TaskId, TaskNo, TaskState
from taskservice.journal.store import mapping, moves
from taskservice.journal.store.counts import Counts
from taskservice.journal.store.numbers import Numbers

# The term of the partial index must be repeated word for word; and left to itself SQLite might take another index.
_PLACE = "leaf = :leaf AND state = :state AND state <> 'running' AND no > :after_no"

_RANGE = f"{_PLACE} AND no <= :to_no"

_PASSES = f"""
    {_RANGE}
    AND (:created_after_ms IS NULL OR created_ms >= :created_after_ms)
    AND (:created_before_ms IS NULL OR created_ms < :created_before_ms)
    AND (:tag IS NULL OR instr(tags, :tag) > 0)
"""

NEXT = f"SELECT no FROM task INDEXED BY task_listing WHERE {_PLACE} ORDER BY no LIMIT :limit"

REACH = f"""
    SELECT count(*), max(no)
    FROM (SELECT no FROM task INDEXED BY task_listing WHERE {_RANGE} ORDER BY no LIMIT :limit)
"""

COUNT = f"SELECT count(*) FROM task INDEXED BY task_listing WHERE {_PASSES}"

CANCEL = f"""
    UPDATE task INDEXED BY task_listing SET state = 'cancelled', ended_ms = :at_ms WHERE {_PASSES} RETURNING no, id
"""

PAYLOAD_BYTES = "SELECT total(length(payload)) FROM payload WHERE no IN (SELECT value FROM json_each(?))"


class Ranges:
    """The range statements of one table. What is counted is kept right."""

    def __init__(self, db: sqlite3.Connection, numbers: Numbers, counts: Counts) -> None:
        self._db = db
        self._numbers = numbers
        self._counts = counts

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        """See `TaskTable`. The limit is shared out among the states, so less may be met than there would be room for."""
        number = self._numbers.of_known_leaf(leaf)
        to_no, met = upto_no, 0
        share = max(1, limit // max(1, len(states)))
        for state in states if number is not None else ():
            wish = {"leaf": number, "state": state, "after_no": after_no, "to_no": to_no, "limit": share}
            count, last_no = self._db.execute(REACH, wish).fetchone()
            met += count
            if count == share:
                to_no = last_no
        return Reach(to_no, met)

    def count(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo) -> int:
        """See `TaskTable.count_between`."""
        wish = self._wish(leaf, wanted, after_no, to_no)
        counts = [self._db.execute(COUNT, {**wish, "state": state}).fetchone()[0] for state in wanted.states]
        return sum(counts)

    def cancel(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo, at_ms: int) -> Changed:
        """See `TaskTable.cancel_between`."""
        wish = {**self._wish(leaf, wanted, after_no, to_no), "at_ms": at_ms}
        ids: list[TaskId] = []
        queued: list[TaskNo] = []
        queued_bytes = 0
        for state in wanted.states:
            rows = self._db.execute(CANCEL, {**wish, "state": state}).fetchall()
            if not rows:
                continue
            rows.sort()
            ids += [id for _, id in rows]
            self._counts.moved(repeat((leaf, state), len(rows)), moves.CANCEL.target)
            if state is TaskState.QUEUED:
                queued = [no for no, _ in rows]
                queued_bytes = int(self._db.execute(PAYLOAD_BYTES, (mapping.json_list(queued),)).fetchone()[0])
                self._counts.queued([(leaf, queued_bytes)], -1)
        return Changed(tuple(ids), tuple(queued), queued_bytes)

    def queued_since(self, leaf: Leaf, after_no: TaskNo, limit: int) -> list[TaskNo]:
        """See `TaskTable`."""
        wish = {
            "leaf": self._numbers.of_known_leaf(leaf),
            "state": TaskState.QUEUED,
            "after_no": after_no,
            "limit": limit,
        }
        return [no for (no,) in self._db.execute(NEXT, wish)]

    def _wish(self, leaf: Leaf, wanted: ListFilter, after_no: TaskNo, to_no: TaskNo) -> dict[str, object]:
        return {
            "leaf": self._numbers.of_known_leaf(leaf),
            "after_no": after_no,
            "to_no": to_no,
            "created_after_ms": wanted.created_after_ms,
            "created_before_ms": wanted.created_before_ms,
            "tag": None if wanted.tag is None else mapping.tags_text([wanted.tag]),
        }
