"""Which task has an id: from RAM for the newest, from the index for all others.

Ids may come in any order, and what a commit costs is the pages it writes. Put into the index one by one, each of a million
random ids changes a page of its own. So the newest wait in RAM, until there are `GENERATION` of them, and then go to the
index in order, some with each insert: neighbours together. What waits is not lost with the process: the rows have it all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice

from taskservice.core.types import TaskId, TaskNo
from taskservice.journal.store import past_statements, statements
from taskservice.journal.store.mapping import json_list

GENERATION = 65_536
"""Ids that go to the index together. Twice as many are in RAM at most, which takes 30 MB."""

SORTED = 4_096
"""Ids that are sorted at a time: a whole generation at once would be felt."""

SETTLE = 256
"""Ids that go to the index at a time, at least."""

NOTHING_WAITS = TaskNo(2**63 - 1)

Key = tuple[int, str]
"""The tenant's number, and the id."""


class Ids:
    """The ids of all tasks of one file."""

    def __init__(self, db: sqlite3.Connection, settled_no: int = NOTHING_WAITS) -> None:
        """`settled_no`: as it was when the file was committed."""
        self._db = db
        self.generation = GENERATION
        self._young: dict[Key, TaskNo] = {}
        """Those that were added last."""
        self._settling: dict[Key, TaskNo] = {}
        """Those of the generation before, in the index already or not."""
        self._unsettled: Iterator[Key] = iter(())
        """Of them those that are not, in order."""
        self._unsorted: list[Key] = []
        """The last few of the young ones."""
        self._sorted: list[list[Key]] = []
        """The others of them, each list in order."""
        self._least_young = self._least_settling = NOTHING_WAITS
        self._owed = 0
        """How many are to go to the index: one for each that is added."""
        self._new: frozenset[Key] = frozenset()
        """What was looked for last and not found."""
        rows = db.execute(statements.UNSETTLED, (settled_no,)).fetchall()
        rows += db.execute(past_statements.PAST_UNSETTLED, (settled_no,)).fetchall()
        self.add([(tenant, id) for _, tenant, id in rows], [no for no, _, _ in rows])

    @property
    def settled_no(self) -> TaskNo:
        """The tasks below this number are in the index."""
        return min(self._least_young, self._least_settling)

    def find(self, tenant: int, ids: Sequence[TaskId]) -> dict[TaskId, TaskNo]:
        """The tasks that the tenant has of these ids."""
        young, settling = self._young, self._settling
        found: dict[TaskId, TaskNo] = {}
        others: list[TaskId] = []
        for id in ids:
            key = (tenant, id)
            no = young.get(key)
            if no is None:
                no = settling.get(key)
            if no is None:
                others.append(id)
            else:
                found[id] = no
        if others:
            found.update(self._db.execute(statements.FIND, (tenant, json_list(others))).fetchall())
        self._new = frozenset([(tenant, id) for id in others if id not in found])
        return found

    def are_new(self, keys: Sequence[Key]) -> bool:
        """Whether none of these is known, and none is there twice."""
        distinct = frozenset(keys)
        if len(distinct) != len(keys):
            return False
        if distinct <= self._new:
            return True
        by_tenant: dict[int, list[TaskId]] = {}
        for tenant, id in keys:
            by_tenant.setdefault(tenant, []).append(TaskId(id))
        return not any(self.find(tenant, ids) for tenant, ids in by_tenant.items())

    def known(self, tenant: int, ids: Sequence[TaskId]) -> dict[TaskId, TaskNo]:
        """As `find`; but what `find` did not find a moment ago is not looked for again."""
        new = self._new
        others = [id for id in ids if (tenant, id) not in new]
        if not others:
            return {}
        found = self.find(tenant, others)
        self._new |= new
        return found

    def drop(self, keys: Sequence[Key]) -> None:
        """No task has any of these ids, wherever they were: what waits and is gone does not go to the index."""
        for key in keys:
            self._young.pop(key, None)
            self._settling.pop(key, None)
        self._db.executemany(past_statements.DROP_ID, sorted(keys))
        self._new = frozenset()

    def add(self, keys: Sequence[Key], nos: Sequence[TaskNo]) -> None:
        """These tasks are there as well."""
        self._young.update(zip(keys, nos, strict=True))
        self._unsorted += keys
        self._least_young = min([self._least_young, *nos])
        self._new = frozenset()
        self._owed += len(nos)
        if self._owed >= SETTLE:
            self._settle(self._owed)
            self._owed = 0
        if len(self._unsorted) >= SORTED or len(self._young) >= self.generation:
            self._sorted.append(sorted(self._unsorted))
            self._unsorted = []
        if len(self._young) >= self.generation:
            self._settle(None)
            self._settling, self._young = self._young, {}
            self._least_settling, self._least_young = self._least_young, NOTHING_WAITS
            self._unsettled, self._sorted = merge(*self._sorted), []

    def _settle(self, count: int | None) -> None:
        """So many more are in the index, or all that wait."""
        taken = list(islice(self._unsettled, count))
        rows = [(*key, no) for key in taken if (no := self._settling.get(key)) is not None]
        self._db.executemany(statements.SETTLE, rows)
        if count is None or len(taken) < count:
            self._settling.clear()
            self._least_settling = NOTHING_WAITS
