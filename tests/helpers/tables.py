"""Tasks for the working tables' tests, every move by its name, and all that a table shows of itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskservice.core.changes import Change
from taskservice.core.history import DEAD, DONE
from taskservice.core.operations import OperationKind
from taskservice.core.past import HistoryFile
from taskservice.core.records import DeadRow, RetryRow
from taskservice.core.table import IllegalMove, Mark, TaskTable
from taskservice.core.types import ErrorInfo, ListFilter, Priority, RunnerId, Task, TaskState, Token
from taskservice.core.values import keys_of

LEASE = Token(3, 7)
RUNNER = RunnerId("r1")
BOOM = ErrorInfo("handler_error", "bööm", "Traceback ...\n  '\"\\")
EVERYTHING = 10_000
ODD_TAGS = (
    ("plain", "value"),
    ("plain", "valu"),
    ("", ""),
    ("%", "_"),
    ('"', "'"),
    ("ключ", "値 🙂"),
    ("$.a", "[0]"),
    ("line\nfeed", "\t"),
    ("nul\0", "\0"),
    ("nul", ""),
    (",", "],["),
    ("back\\slash", "\\n"),
)


def task(no: int, **fields) -> Task:
    plain = {
        "id": f"task-{no}",
        "tenant": "acme",
        "function": "mail.send",
        "priority": Priority.NORMAL,
        "state": TaskState.QUEUED,
        "payload": b'{"to":1}',
        "tags": (),
        "created_ms": 1_000 + no,
        "due_ms": 1_000 + no,
        "max_attempts": 5,
        "timeout_ms": 60_000,
    }
    return Task(no=no, **{**plain, **fields})


LEAF = task(0).leaf

CANCEL, PAUSE, RESUME, RERUN, DELETE = (Change(kind, 6_000) for kind in OperationKind)


def mark(epoch: int, segment: int) -> Mark:
    return Mark("the log", "its writer", epoch, segment)


Call = Callable[[TaskTable, list[int], Token], None]

MOVES: dict[str, Call] = {
    "make_due": lambda table, nos, _: table.make_due(nos),
    "lease": lambda table, nos, _: table.lease(nos, Token(9, 9), RUNNER, 5_000),
    "succeed": lambda table, nos, token: table.succeed([(no, b"1", 5_001, 40) for no in nos], token, 6_000),
    "retry": lambda table, nos, token: table.retry([RetryRow(no, 9_000, BOOM, 1, 2, 3, 40) for no in nos], token),
    "fail": lambda table, nos, token: table.fail([DeadRow(no, BOOM, 2, 3, 40) for no in nos], token, 6_000),
    "hand_back": lambda table, nos, token: table.hand_back(nos, token),
    "preempt": lambda table, nos, token: table.preempt(nos, token),
    "stop": lambda table, nos, token: table.cancel(nos, token, 6_000),
    "cancel": lambda table, nos, _: table.change(CANCEL, nos),
    "pause": lambda table, nos, _: table.change(PAUSE, nos),
    "resume": lambda table, nos, _: table.change(RESUME, nos),
    "rerun": lambda table, nos, _: table.change(RERUN, nos),
    "delete": lambda table, nos, _: table.change(DELETE, nos),
    "expire": lambda table, nos, _: table.expire(nos, 6_000),
}

LEGAL = {
    "scheduled": ["make_due", "cancel", "pause", "expire", "delete"],
    "queued": ["lease", "cancel", "pause", "expire", "delete"],
    "running": ["succeed", "retry", "fail", "hand_back", "preempt", "stop"],
    "retrying": ["make_due", "cancel", "pause", "delete"],
    "paused": ["resume", "cancel", "expire", "delete"],
    "succeeded": ["rerun", "delete"],
    "failed": ["rerun", "delete"],
    "cancelled": ["rerun", "delete"],
    "expired": ["rerun", "delete"],
}


def put(table: TaskTable, state: TaskState, no: int = 1, **fields) -> Task:
    """A task that came to `state` in the usual way; running means under LEASE. Gives it as the table has it."""
    way = {
        "retrying": ["retry"],
        "succeeded": ["succeed"],
        "failed": ["fail"],
        "paused": ["pause"],
        "cancelled": ["cancel"],
        "expired": ["expire"],
    }
    born = state if state in ("scheduled", "queued") else TaskState.QUEUED
    table.insert([task(no, state=born, **fields)])
    if state in ("running", "retrying", "succeeded", "failed"):
        table.lease([no], LEASE, RUNNER, 4_000)
    for name in way.get(state, []):
        MOVES[name](table, [no], LEASE)
    return table.load([no])[0]


def seen(table: TaskTable) -> tuple:
    """All that the table shows of itself."""
    tasks = table.listing(ListFilter(), None, EVERYTHING)
    leaves = sorted({one.leaf for one in tasks})
    return (
        tasks,
        table.listing(ListFilter(states=tuple(TaskState)), None, EVERYTHING),
        [table.find(one.tenant, [one.id]) for one in tasks],
        [table.next_queued(leaf, None, EVERYTHING) for leaf in leaves],
        table.due_by(10**15, EVERYTHING),
        table.expired_by(10**15, EVERYTHING),
        table.resumed_by(10**15, EVERYTHING),
        table.pressed_by(10**15, EVERYTHING),
        table.next_timed_ms(),
        {place: count for place, count in table.counts().items() if count},
        {
            (tenant, *place): count
            for tenant in sorted({one.tenant for one in tasks})
            for place, count in table.totals(tenant).items()
            if count
        },
        [table.queued_bytes(leaf) for leaf in leaves],
        table.grants(),
        table.notes("kind"),
        table.references([key for one in tasks for key in keys_of(one.payload, one.result)]),
        table.checkpoints.of([one.no for one in tasks]),
        past_seen(table),
    )


def past_seen(table: TaskTable) -> tuple:
    """All that the table shows of history."""
    past = table.past
    entries = past.listing(ListFilter(), None, EVERYTHING)
    return (
        entries,
        past.listing(ListFilter(states=tuple(TaskState)), None, EVERYTHING),
        [past.find(one.tenant, [one.id]) for one in entries],
        past.entries(),
        {place: count for place, count in past.counts().items() if count},
        past.files(),
        past.unfinished(),
        past.forgettable(10**15, EVERYTHING),
        past.droppable(10**6, EVERYTHING),
        [past.ended(states, 10**15, None, EVERYTHING, EVERYTHING) for states in (DONE, DEAD)],
    )


def history_file(key: str = "history/a", **fields) -> HistoryFile:
    plain = {"day": 3, "first_no": 1, "last_no": 9, "tasks": 9, "size_bytes": 100, "last_ended_ms": 6_000}
    return HistoryFile(key, **{**plain, **fields})


def refuses(table: TaskTable, call: Callable[[], None], *named: int) -> None:
    """The call is an illegal move, says which tasks it is about, and changes nothing."""
    before = seen(table)
    with pytest.raises(IllegalMove) as refusal:
        call()
    assert seen(table) == before
    for no in named:
        assert str(no) in str(refusal.value).rpartition("task ")[2]


def listed(table: TaskTable, before_no: int | None = None, limit: int = EVERYTHING, **wanted) -> list[int]:
    found = table.listing(ListFilter(**wanted), before_no, limit)
    assert len(found) <= limit
    return [one.no for one in found]


def one_of_a_kind(table: TaskTable, move: str, no: int) -> None:
    put(table, next(TaskState(state) for state, legal in LEGAL.items() if move in legal), no)
