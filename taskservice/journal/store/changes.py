"""What SQLite's table does to tasks that people change, or whose time is over: those that are named, or all of a stretch that
pass a filter.

One statement for all tasks of a leaf in one state; it says what SQLite is to make of each row, and gives what else follows
from it. Nothing here takes time with payloads: only their sizes are asked, but for those that are deleted.
"""

# ruff: noqa: S608 - texts are put together from constants of this package only
from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from taskservice.core.changes import Change
from taskservice.core.operations import OperationKind
from taskservice.core.stretches import Stretch
from taskservice.core.table import Changed, QueueKey
from taskservice.core.types import PRESSED_LANES, TERMINAL_STATES, Leaf, ListFilter, TaskId, TaskNo, TaskState
from taskservice.journal.store import mapping, moves, statements
from taskservice.journal.store.checkpoints import SqliteCheckpoints
from taskservice.journal.store.counts import Counts, LeafState
from taskservice.journal.store.ids import Ids
from taskservice.journal.store.moves import Placed
from taskservice.journal.store.numbers import Numbers
from taskservice.journal.store.ranges import PASSES, wish_of
from taskservice.journal.store.references import keys_among

# As `core.changes` says.
_SETS = {
    OperationKind.CANCEL: "state = 'cancelled', ended_ms = :at_ms, resume_ms = NULL",
    OperationKind.PAUSE: "state = 'paused', resume_ms = :resume_ms",
    OperationKind.RESUME: """
        state = CASE WHEN due_ms <= :at_ms THEN 'queued' WHEN error IS NULL THEN 'scheduled' ELSE 'retrying' END,
        resume_ms = NULL
    """,
    OperationKind.RETRY: """
        state = 'queued', run = run + 1, due_ms = :at_ms, attempt = 0, crashes = 0, losses = 0, preempted = 0,
        throttles = 0, started_ms = NULL, ended_ms = NULL, duration_us = NULL, result = NULL, error = NULL,
        expires_ms = NULL
    """,
}

_NAMED = "no IN (SELECT value FROM json_each(:nos))"

_AFTER = "RETURNING no, id, state, due_ms, expires_ms, hooks IS NOT NULL"

_GONE = "RETURNING no, id, CASE WHEN substr(result, 1, 1) = x'01' THEN result END"

BETWEEN = {
    **{kind: f"UPDATE task INDEXED BY task_listing SET {sets} WHERE {PASSES} {_AFTER}" for kind, sets in _SETS.items()},
    OperationKind.DELETE: f"DELETE FROM task INDEXED BY task_listing WHERE {PASSES} {_GONE}",
}

NAMED = {
    **{kind: f"UPDATE task SET {sets} WHERE {_NAMED} {_AFTER}" for kind, sets in _SETS.items()},
    OperationKind.DELETE: f"DELETE FROM task WHERE {_NAMED} {_GONE}",
}

RESULTS = "SELECT result FROM task WHERE no IN (SELECT value FROM json_each(:nos)) AND substr(result, 1, 1) = x'01'"

EXPIRE = f"UPDATE task SET state = 'expired', ended_ms = :at_ms, resume_ms = NULL WHERE {_NAMED} {_AFTER}"

PAYLOAD_BYTES = "SELECT total(length(payload)) FROM payload WHERE no IN (SELECT value FROM json_each(?))"

DELETE_PAYLOADS = """
    DELETE FROM payload WHERE no IN (SELECT value FROM json_each(?))
    RETURNING length(payload), CASE WHEN substr(payload, 1, 1) = x'01' THEN payload END
"""


@dataclass(slots=True)
class _Sum:
    """What has been changed of one leaf so far."""

    leaf: Leaf
    tasks: list[tuple[TaskNo, TaskId]] = field(default_factory=list)
    unfinished: int = 0
    left: list[TaskNo] = field(default_factory=list)
    left_bytes: int = 0
    entered: list[QueueKey] = field(default_factory=list)
    entered_bytes: int = 0
    values: list[str] = field(default_factory=list)
    hooked: list[TaskNo] = field(default_factory=list)

    def changed(self) -> Changed:
        self.tasks.sort()
        return Changed(
            self.leaf,
            tuple(id for _, id in self.tasks),
            self.unfinished,
            tuple(sorted(self.left)),
            self.left_bytes,
            tuple(sorted(self.entered)),
            self.entered_bytes,
            tuple(sorted(self.values)),
            tuple(sorted(self.hooked)),
        )


class Changes:
    """The changing statements of one table. What is counted is kept right, and so are the ids."""

    def __init__(
        self, db: sqlite3.Connection, numbers: Numbers, counts: Counts, ids: Ids, checkpoints: SqliteCheckpoints
    ) -> None:
        self._db = db
        self._checkpoints = checkpoints
        self._numbers = numbers
        self._counts = counts
        self._ids = ids

    def between(self, change: Change, stretch: Stretch, wanted: ListFilter, ended_by_ms: int) -> Changed:
        """See `TaskTable.change_between`."""
        total = _Sum(stretch.leaf)
        wish = wish_of(self._numbers, stretch, wanted, ended_by_ms) | change._asdict()
        for state in wanted.states:
            self._make(BETWEEN[change.kind], wish | {"state": state}, state, total)
        return total.changed()

    def named(self, change: Change, places: Mapping[TaskNo, LeafState]) -> list[Changed]:
        """The tasks, which are in these places, are changed."""
        return self._all(NAMED[change.kind], change._asdict(), places)

    def expired(self, at_ms: int, places: Mapping[TaskNo, LeafState]) -> list[Changed]:
        """The tasks, which are in these places, have expired."""
        return self._all(EXPIRE, {"at_ms": at_ms}, places)

    def put_off(self, rows: Sequence[tuple[TaskNo, int]], standings: Mapping[TaskNo, Placed]) -> None:
        """See `TaskTable.put_off`; the tasks stand like that."""
        moves.check_press([no for no, _ in rows], standings)
        self._db.executemany(statements.PUT_OFF, [(press_ms, no) for no, press_ms in rows])

    def press(self, nos: Sequence[TaskNo], standings: Mapping[TaskNo, Placed]) -> list[Changed]:
        """See `TaskTable.press`; the tasks stand like that."""
        moves.check_press(nos, standings)
        by_leaf: dict[Leaf, list[TaskNo]] = {}
        for no in nos:
            by_leaf.setdefault(standings[no].leaf, []).append(no)
        found: list[Changed] = []
        for before, pressed in by_leaf.items():
            after = before._replace(lane=PRESSED_LANES[before.lane])
            wish = {"leaf": self._numbers.of_leaf(after), "nos": mapping.json_list(pressed)}
            rows = self._db.execute(statements.PRESS, wish).fetchall()
            size = self._payload_bytes(pressed)
            places = [repeat((leaf, TaskState.QUEUED), len(rows)) for leaf in (before, after)]
            self._counts.changed(*places)
            self._counts.queued([(before, size)], -1)
            self._counts.queued([(after, size)], +1)
            entered = tuple(sorted(QueueKey(due_ms, no, expires_ms) for no, due_ms, expires_ms in rows))
            found += [
                Changed(before, left=tuple(sorted(pressed)), left_bytes=size),
                Changed(after, entered=entered, entered_bytes=size),
            ]
        return found

    def _all(self, statement: str, wish: dict[str, object], places: Mapping[TaskNo, LeafState]) -> list[Changed]:
        by_leaf: dict[Leaf, dict[TaskState, list[TaskNo]]] = {}
        for no, (leaf, state) in places.items():
            by_leaf.setdefault(leaf, {}).setdefault(state, []).append(no)
        found: list[Changed] = []
        for leaf, by_state in by_leaf.items():
            total = _Sum(leaf)
            for state, nos in by_state.items():
                self._make(statement, wish | {"nos": mapping.json_list(nos)}, state, total)
            found.append(total.changed())
        return found

    def _make(self, statement: str, wish: dict[str, object], state: TaskState, total: _Sum) -> None:
        """The statement changes tasks of the leaf that are in this state."""
        if state is TaskState.SUCCEEDED and statement == NAMED[OperationKind.RETRY]:
            total.values += keys_among(result for (result,) in self._db.execute(RESULTS, wish).fetchall())
        rows = self._db.execute(statement, wish).fetchall()
        if not rows:
            return
        total.tasks += [(row[0], row[1]) for row in rows]
        total.unfinished -= len(rows) * (state not in TERMINAL_STATES)
        if statement in (BETWEEN[OperationKind.DELETE], NAMED[OperationKind.DELETE]):
            payload_bytes = self._are_gone(rows, state, total)
        else:
            self._are_elsewhere(rows, state, total)
            payload_bytes = self._payload_bytes([row[0] for row in rows]) if state is TaskState.QUEUED else 0
        if state is TaskState.QUEUED:
            total.left += [row[0] for row in rows]
            total.left_bytes += payload_bytes
            self._counts.queued([(total.leaf, payload_bytes)], -1)

    def _are_elsewhere(self, rows: Sequence[mapping.Row], state: TaskState, total: _Sum) -> None:
        leaf = total.leaf
        for name, count in Counter(row[2] for row in rows).items():
            after = mapping.STATES[name]
            self._counts.moved(repeat((leaf, state), count), after)
            total.unfinished += count * (after not in TERMINAL_STATES)
        entered = [QueueKey(due_ms, no, expires_ms) for no, _, name, due_ms, expires_ms, _ in rows if name == "queued"]
        total.hooked += [row[0] for row in rows if row[5] and mapping.STATES[row[2]] in TERMINAL_STATES]
        if entered:
            entered_bytes = self._payload_bytes([key.no for key in entered])
            self._counts.queued([(leaf, entered_bytes)], +1)
            total.entered += entered
            total.entered_bytes += entered_bytes

    def _are_gone(self, rows: Sequence[mapping.Row], state: TaskState, total: _Sum) -> int:
        """Nothing is left of the tasks; gives what their payloads came to."""
        self._counts.removed(repeat((total.leaf, state), len(rows)))
        tenant = self._numbers.of_tenant(total.leaf.tenant)
        self._ids.drop([(tenant, id) for _, id, _ in rows])
        payloads = self._db.execute(DELETE_PAYLOADS, (mapping.json_list(row[0] for row in rows),)).fetchall()
        values = [row[2] for row in rows] + [payload for _, payload in payloads]
        total.values += keys_among(value for value in values if value is not None)
        total.values += self._checkpoints.drop([row[0] for row in rows])
        return sum(size for size, _ in payloads)

    def _payload_bytes(self, nos: Sequence[TaskNo]) -> int:
        return int(self._db.execute(PAYLOAD_BYTES, (mapping.json_list(nos),)).fetchone()[0])
