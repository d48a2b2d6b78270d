"""What SQLite's table says of the tasks of a leaf between two numbers, here and in history: for the steps of bulk operations.

All of it goes by the index of leaf and state, which is ordered by number: so it takes time with the tasks that are met, and
neither with those of other states, of which there may be millions, nor with other leaves'. One statement for each state.
"""

# ruff: noqa: S608 - texts are put together from constants of this module only
from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from taskservice.core.stretches import Reach, Stretch
from taskservice.core.table import QueueKey
from taskservice.core.types import Leaf, ListFilter, TaskNo, TaskState
from taskservice.journal.store import mapping
from taskservice.journal.store.mapping import BEYOND_PLACE
from taskservice.journal.store.numbers import Numbers

_PLACE = "leaf = :leaf AND state = :state AND no > :after_no"

# The term of the partial index must be repeated word for word; and left to itself SQLite might take another index.
_HERE = f"{_PLACE} AND state <> 'running'"

PASSES = f"{_HERE} AND no <= :to_no AND (ended_ms IS NULL OR ended_ms <= :ended_by_ms) AND {BEYOND_PLACE}"

PASSES_PAST = f"{_PLACE} AND no <= :to_no AND {BEYOND_PLACE}"

NEXT = f"SELECT due_ms, no, expires_ms FROM task INDEXED BY task_listing WHERE {_HERE} ORDER BY no LIMIT :limit"

REACH = f"""
    SELECT count(*), max(no)
    FROM (SELECT no FROM task INDEXED BY task_listing WHERE {_HERE} AND no <= :to_no ORDER BY no LIMIT :limit)
"""

REACH_PAST = f"""
    SELECT count(*), max(no)
    FROM (SELECT no FROM past INDEXED BY past_listing WHERE {_PLACE} AND no <= :to_no ORDER BY no LIMIT :limit)
"""

COUNT = f"SELECT count(*) FROM task INDEXED BY task_listing WHERE {PASSES}"

COUNT_PAST = f"SELECT count(*) FROM past INDEXED BY past_listing WHERE {PASSES_PAST}"


def wish_of(
    numbers: Numbers, stretch: Stretch, wanted: ListFilter, ended_by_ms: int | None = None
) -> dict[str, object]:
    """What a statement is asked for: the stretch, and what the filter says beyond leaf and state."""
    return {
        "leaf": numbers.of_known_leaf(stretch.leaf),
        "after_no": stretch.after_no,
        "to_no": stretch.to_no,
        "ended_by_ms": ended_by_ms,
        **mapping.beyond_place(wanted),
    }


class Ranges:
    """The range statements of one table."""

    def __init__(self, db: sqlite3.Connection, numbers: Numbers) -> None:
        self._db = db
        self._numbers = numbers

    def reach(self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int) -> Reach:
        """See `TaskTable`."""
        return self._reach(REACH, leaf, states, after_no, upto_no, limit)

    def reach_past(
        self, leaf: Leaf, states: Sequence[TaskState], after_no: TaskNo, upto_no: TaskNo, limit: int
    ) -> Reach:
        """See `PastTasks.reach`."""
        return self._reach(REACH_PAST, leaf, states, after_no, upto_no, limit)

    def count(self, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> int:
        """See `TaskTable.count_between`."""
        return self._count(COUNT, wish_of(self._numbers, stretch, wanted, ended_by_ms), wanted)

    def count_past(self, stretch: Stretch, wanted: ListFilter) -> int:
        """See `PastTasks.count_between`."""
        return self._count(COUNT_PAST, wish_of(self._numbers, stretch, wanted), wanted)

    def queued_since(self, leaf: Leaf, after_no: TaskNo, limit: int) -> list[QueueKey]:
        """See `TaskTable`."""
        wish = {
            "leaf": self._numbers.of_known_leaf(leaf),
            "state": TaskState.QUEUED,
            "after_no": after_no,
            "limit": limit,
        }
        return [QueueKey(*row) for row in self._db.execute(NEXT, wish)]

    def _reach(
        self,
        statement: str,
        leaf: Leaf,
        states: Sequence[TaskState],
        after_no: TaskNo,
        upto_no: TaskNo,
        limit: int,
    ) -> Reach:
        """The limit is shared out among the states, so less may be met than there would be room for."""
        number = self._numbers.of_known_leaf(leaf)
        to_no, met = upto_no, 0
        share = max(1, limit // max(1, len(states)))
        for state in states if number is not None else ():
            wish = {"leaf": number, "state": state, "after_no": after_no, "to_no": to_no, "limit": share}
            count, last_no = self._db.execute(statement, wish).fetchone()
            met += count
            if count == share:
                to_no = last_no
        return Reach(to_no, met)

    def _count(self, statement: str, wish: dict[str, object], wanted: ListFilter) -> int:
        counts = [self._db.execute(statement, {**wish, "state": state}).fetchone()[0] for state in wanted.states]
        return sum(counts)
