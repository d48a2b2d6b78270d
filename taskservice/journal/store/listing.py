"""Which tasks of SQLite's table pass a filter: by the index of leaf and state, and those that run by what RAM has of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Protocol

from taskservice.core.filters import by_place, touches
from taskservice.core.types import Leaf, ListFilter, TaskNo, TaskState
from taskservice.journal.store import mapping, statements
from taskservice.journal.store.counts import Counts, LeafState
from taskservice.journal.store.numbers import Numbers

_AFTER_ALL = TaskNo(2**63 - 1)


class Running(Protocol):
    """What is known of a task that runs."""

    @property
    def leaf(self) -> Leaf: ...


class Listing:
    """The listings of one table."""

    def __init__(
        self, db: sqlite3.Connection, numbers: Numbers, counts: Counts, running: Mapping[TaskNo, Running]
    ) -> None:
        self._db = db
        self._numbers = numbers
        self._counts = counts
        self._running = running

    def nos(self, wanted: ListFilter, before_no: TaskNo | None, limit: int) -> list[TaskNo]:
        """Tasks that pass, newest first, in time that grows with `limit` and with the number of leaves and states wanted. Only
        a tag or a time of creation is searched for: task by task, among those that are wanted otherwise."""
        wish = {
            **mapping.beyond_place(wanted),
            "before_no": _AFTER_ALL if before_no is None else before_no,
            "limit": limit,
        }
        if (wanted.tenant, wanted.function, wanted.priority, wanted.states) == (None, None, None, ()):
            return self._nos(statements.LIST_ALL, wish)
        states = wanted.states or tuple(TaskState)
        places = [at for at, _ in self._counts.items(wanted.tenant) if touches(at[0], wanted) and at[1] in states]
        return sorted(self._by_place(places, wish), reverse=True)[:limit]

    def running(self, wanted: ListFilter) -> int:
        """How many tasks run that pass the filter, whatever states it names."""
        nos = [no for no, task in self._running.items() if touches(task.leaf, wanted)]
        if by_place(wanted):
            return len(nos)
        wish = {**mapping.beyond_place(wanted), "nos": mapping.json_list(nos)}
        count: int = self._db.execute(statements.COUNT_NOS, wish).fetchone()[0]
        return count

    def passing(self, nos: Sequence[TaskNo], wanted: ListFilter) -> list[TaskNo]:
        """See `TaskTable.passing`."""
        wish = {**mapping.beyond_place(wanted), "nos": mapping.json_list(nos)}
        found = dict.fromkeys(self._nos(statements.PASSING, wish))
        return [no for no in nos if no in found]

    def _by_place(self, places: Sequence[LeafState], wish: Mapping[str, object]) -> list[TaskNo]:
        """Of each of these places the newest that fulfil the wish, in no order."""
        nos: list[TaskNo] = []
        running: set[Leaf] = set()
        for leaf, state in places:
            if state is TaskState.RUNNING:
                running.add(leaf)
            else:
                place = {"leaf": self._numbers.of_leaf(leaf), "state": state}
                nos += self._nos(statements.LIST_PLACE, {**wish, **place})
        held = [no for no, task in self._running.items() if task.leaf in running] if running else []
        if held:
            nos += self._nos(statements.LIST_NOS, {**wish, "nos": mapping.json_list(held)})
        return nos

    def _nos(self, statement: str, wish: Mapping[str, object]) -> list[TaskNo]:
        return [no for (no,) in self._db.execute(statement, wish)]
