"""The last checkpoints of tasks of a table in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskservice.core.types import Task, TaskNo, Token
from taskservice.core.values import keys_of
from taskservice.journal.store.moves import check_save
from taskservice.journal.store.references import keys_among, superseded


class MemoryCheckpoints:
    """See `core.checkpoints.Checkpoints`."""

    def __init__(self, tasks: Mapping[TaskNo, Task], references: dict[str, None]) -> None:
        self._tasks = tasks
        self._references = references
        self._last: dict[TaskNo, bytes] = {}

    def copied_from(self, other: MemoryCheckpoints) -> None:
        """It holds what the other does."""
        self._last = dict(other._last)

    def save(self, rows: Sequence[tuple[TaskNo, bytes]], token: Token) -> tuple[str, ...]:
        nos = [no for no, _ in rows]
        check_save(nos, self._tasks, token)
        before = list(self.of(nos).values())
        self._last.update(rows)
        self._references.update(dict.fromkeys(keys_among(text for _, text in rows)))
        return superseded(before, rows)

    def of(self, nos: Sequence[TaskNo]) -> dict[TaskNo, bytes]:
        return {no: self._last[no] for no in nos if no in self._last}

    def drop(self, nos: Sequence[TaskNo]) -> tuple[str, ...]:
        if not self._last:
            return ()
        return tuple(sorted(keys_of(*(self._last.pop(no, None) for no in nos))))
