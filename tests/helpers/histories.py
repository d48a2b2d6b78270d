"""Endless histories of a table, drawn from a seed: the same changes to whatever table they are made to."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from helpers.large import reference
from helpers.tables import BOOM, task
from taskservice.core.changes import Change
from taskservice.core.operations import SOURCES, OperationKind
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.table import Mark, TaskTable
from taskservice.core.types import RunnerId, TaskState, Token

EPOCH = 4
LEAVES = [("acme", "mail.send"), ("acme", "mail.read"), ("umbrella", "mail.send")]


def mark_at(commit: int) -> Mark:
    """The mark of a history's commit of this number; the first is 0."""
    return Mark("the log", "its writer", EPOCH, commit)


class History:
    """Legal changes to a table, and commits."""

    def __init__(self, table: TaskTable, rng: Random) -> None:
        self._table = table
        self._rng = rng
        self._idle: dict[TaskState, list[int]] = {state: [] for state in TaskState}
        """Tasks that no lease holds, by state."""
        self._held: dict[Token, list[int]] = {}
        self._last_no = 0
        self._last_lease = 0

    def commits(self) -> Iterator[int]:
        """Goes on for ever; gives the number of each commit once it is made."""
        number = 0
        while True:
            for _ in range(self._rng.randrange(1, 6)):
                self.step()
            self._table.commit(mark_at(number))
            yield number
            number += 1

    def step(self) -> None:
        """One change."""
        step = self._rng.choice(
            [
                self._insert,
                self._insert,
                self._lease,
                self._lease,
                self._end,
                self._end,
                self._due,
                self._change,
                self._change,
                self._expire,
                self._note,
            ]
        )
        step()

    def _insert(self) -> None:
        tasks = []
        for _ in range(self._rng.choice([1, 2, 5, 40])):
            self._last_no += 1
            tenant, function = self._rng.choice(LEAVES)
            state = self._rng.choice([TaskState.QUEUED, TaskState.QUEUED, TaskState.SCHEDULED])
            inline = b"{" + self._rng.randbytes(self._rng.choice([0, 3, 300]))
            payload = self._rng.choice([inline, inline, inline, reference(self._last_no)])
            id = self._rng.randbytes(8).hex()
            expires_ms = self._rng.choice([None, None, self._last_no])
            fields = {"tenant": tenant, "function": function, "state": state, "expires_ms": expires_ms}
            tasks.append(task(self._last_no, id=id, payload=payload, **fields))
            self._idle[state].append(self._last_no)
        self._table.insert(tasks)

    def _lease(self) -> None:
        nos = self._taken(self._idle[TaskState.QUEUED], 9)
        if nos:
            self._last_lease += 1
            token = Token(EPOCH, self._last_lease)
            self._table.lease(nos, token, RunnerId(f"r{self._last_lease % 3}"), self._last_lease)
            self._held[token] = nos

    def _end(self) -> None:
        if not self._held:
            return
        token = self._rng.choice(list(self._held))
        nos = self._taken(self._held[token], 9)
        if not self._held[token]:
            del self._held[token]
        how = self._rng.choice(["succeed", "succeed", "fail", "retry", "hand_back", "preempt", "stop"])
        if how == "succeed":
            self._table.succeed([(no, b"1" * (no % 50), no, 7) for no in nos], token, 9)
        elif how == "fail":
            self._table.fail([DeadRow(no, BOOM, 1, 2, 3) for no in nos], token, 9)
        elif how == "retry":
            self._table.retry([RetryRow(no, 9_000 + no, BOOM, 1, 2, 3, 4) for no in nos], token)
        elif how == "stop":
            self._table.cancel(nos, token, 9)
        elif how == "preempt":
            self._table.preempt(nos, token)
        else:
            self._table.hand_back(nos, token)
        self._idle_again(nos)

    def _due(self) -> None:
        nos = self._taken(self._idle[self._rng.choice([TaskState.SCHEDULED, TaskState.RETRYING])], 5)
        self._table.make_due(nos)
        self._idle[TaskState.QUEUED] += nos

    def _change(self) -> None:
        kind = self._rng.choice(list(OperationKind))
        nos = self._taken(self._idle[self._rng.choice(SOURCES[kind])], 2)
        self._table.change(Change(kind, self._rng.choice([9, 2_000]), self._rng.choice([None, 70])), nos)
        if kind is not OperationKind.DELETE:
            self._idle_again(nos)

    def _expire(self) -> None:
        nos = self._taken(self._idle[self._rng.choice([TaskState.SCHEDULED, TaskState.QUEUED, TaskState.PAUSED])], 1)
        self._table.expire(nos, 9)
        self._idle_again(nos)

    def _idle_again(self, nos: list[int]) -> None:
        for one in self._table.load(nos):
            self._idle[one.state].append(one.no)

    def _note(self) -> None:
        value = self._rng.choice([b"", self._rng.randbytes(30), None])
        self._table.note("kind", str(self._rng.randrange(5)), value)

    def _taken(self, nos: list[int], most: int) -> list[int]:
        taken = self._rng.sample(nos, min(len(nos), self._rng.randrange(1, most + 1)))
        for no in taken:
            nos.remove(no)
        return taken
