"""How a task may move, as the tables enforce it, and the refusal they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

from msgspec.structs import replace

from taskservice.core.operations import SOURCES, OperationKind
from taskservice.core.records import RetryRow
from taskservice.core.table import IllegalMove
from taskservice.core.types import (
    PRESSED_LANES,
    TERMINAL_STATES,
    WAITING_STATES,
    Leaf,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    TenantId,
    Token,
)

NAMED_MAX = 20
"""Task numbers that an IllegalMove spells out."""


class Move(NamedTuple):
    """From any of `sources` to `target`; named as in `apply.TRANSITIONS`."""

    name: str
    sources: tuple[TaskState, ...]
    target: TaskState


INSERT_STATES = (TaskState.SCHEDULED, TaskState.QUEUED)
"""What a task may be when it is new."""

DUE = Move("due", WAITING_STATES, TaskState.QUEUED)
LEASE = Move("lease", (TaskState.QUEUED,), TaskState.RUNNING)
SUCCEED = Move("succeed", (TaskState.RUNNING,), TaskState.SUCCEEDED)
RETRY = Move("retry", (TaskState.RUNNING,), TaskState.RETRYING)
FAIL = Move("fail", (TaskState.RUNNING,), TaskState.FAILED)
HAND_BACK = Move("hand_back", (TaskState.RUNNING,), TaskState.QUEUED)
PREEMPT = Move("preempt", (TaskState.RUNNING,), TaskState.QUEUED)
STOP = Move("cancel", (TaskState.RUNNING,), TaskState.CANCELLED)
PRESS = Move("press", (TaskState.QUEUED,), TaskState.QUEUED)
EXPIRE = Move("expire", (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.PAUSED), TaskState.EXPIRED)

CHANGES: dict[OperationKind, tuple[Move, ...]] = {
    OperationKind.CANCEL: (Move("cancel", SOURCES[OperationKind.CANCEL], TaskState.CANCELLED),),
    OperationKind.PAUSE: (Move("pause", SOURCES[OperationKind.PAUSE], TaskState.PAUSED),),
    OperationKind.RESUME: (
        Move("resume", SOURCES[OperationKind.RESUME], TaskState.QUEUED),
        Move("resume_scheduled", SOURCES[OperationKind.RESUME], TaskState.SCHEDULED),
        Move("resume_retrying", SOURCES[OperationKind.RESUME], TaskState.RETRYING),
    ),
    OperationKind.RETRY: (Move("rerun", TERMINAL_STATES, TaskState.QUEUED),),
    OperationKind.DELETE: (),
}
"""Those that people ask for. Which of several a task makes follows from what it is; what is deleted makes none."""

_SOURCES = {**SOURCES, OperationKind.RETRY: TERMINAL_STATES}
"""Who retries leaves alone what has succeeded; who submits it again, with `on_conflict: rerun`, does not."""

MOVES = (
    DUE,
    LEASE,
    SUCCEED,
    RETRY,
    FAIL,
    HAND_BACK,
    PREEMPT,
    STOP,
    EXPIRE,
    PRESS,
    *(move for moves in CHANGES.values() for move in moves),
)
"""All of them."""

assert all(move.name == "rerun" or state not in TERMINAL_STATES for move in MOVES for state in move.sources)


class Standing(Protocol):
    """What decides whether a task may move: a `Task` has it, and so has what SQLite's table keeps of one."""

    @property
    def state(self) -> TaskState: ...

    @property
    def token(self) -> Token | None: ...


class Placed(Standing, Protocol):
    """What decides as well where it may move to."""

    @property
    def leaf(self) -> Leaf: ...


class KnownStanding(NamedTuple):
    """What SQLite's table knows of where a task stands."""

    leaf: Leaf
    state: TaskState
    token: Token | None


def check_move(
    move: Move, nos: Sequence[TaskNo], standings: Mapping[TaskNo, Standing], token: Token | None = None
) -> None:
    """Each of the tasks, named once, is where the move starts and holds `token` (None: no lease), or IllegalMove."""
    if len(nos) == 1:  # asked for each lease, and most have one task
        standing = standings.get(nos[0])
        if standing is not None and standing.state in move.sources and standing.token == token:
            return
    _check(move.name, move.sources, nos, standings, token)


def check_save(nos: Sequence[TaskNo], standings: Mapping[TaskNo, Standing], token: Token) -> None:
    """Each of the tasks runs under this lease, or IllegalMove."""
    named = list(dict.fromkeys(nos))
    _check("save a checkpoint", (TaskState.RUNNING,), named, standings, token)


def check_press(nos: Sequence[TaskNo], standings: Mapping[TaskNo, Placed]) -> None:
    """Each of the tasks, named once, is queued in an off-peak lane, or IllegalMove."""
    queued = [no for no in nos if (standing := standings.get(no)) is not None and standing.state in PRESS.sources]
    waiting = frozenset(no for no in queued if standings[no].leaf.lane in PRESSED_LANES)
    wrong = [no for no in nos if no not in waiting] + _twice(nos)
    if wrong:
        refuse("press needs queued in an off-peak lane", wrong)


def check_change(kind: OperationKind, nos: Sequence[TaskNo], standings: Mapping[TaskNo, Standing]) -> None:
    """Each of the tasks, named once, may be changed so, or IllegalMove."""
    _check(kind, _SOURCES[kind], nos, standings, None)


def _check(
    name: str,
    sources: Sequence[TaskState],
    nos: Sequence[TaskNo],
    standings: Mapping[TaskNo, Standing],
    token: Token | None,
) -> None:
    wrong = [
        no
        for no in nos
        if (standing := standings.get(no)) is None or standing.state not in sources or standing.token != token
    ]
    wrong += _twice(nos)
    if wrong:
        needed = " or ".join(sources) + (f" under token {token.epoch}.{token.seq}" if token else "")
        refuse(f"{name} needs {needed}", wrong)


def handed_back(task: Task, log: str = "") -> Task:
    """The task, as it was before its lease; but for its log, if that is somewhere else now."""
    log = log or task.log
    return replace(task, state=TaskState.QUEUED, attempt=task.attempt - 1, token=None, started_ms=None, log=log)


def preempted(task: Task, log: str = "") -> Task:
    """Likewise, when it had started and was stopped for others."""
    return replace(handed_back(task, log), preempted=task.preempted + 1, expires_ms=None)


def moved(before: Sequence[tuple[Leaf, TaskState]], move: Move) -> list[tuple[Leaf, TaskState]]:
    """Where tasks are that have made the move from there: in the same leaves."""
    return [(leaf, move.target) for leaf, _ in before]


def check_insert(
    tasks: Sequence[Task], taken_nos: Container[TaskNo], taken_ids: Container[tuple[TenantId, TaskId]]
) -> None:
    """The tasks are in a state to begin with, and no number and no id of a tenant is there twice, or IllegalMove."""
    wrong: list[TaskNo] = []
    nos: set[TaskNo] = set()
    ids: set[tuple[TenantId, TaskId]] = set()
    for task in tasks:
        name = (task.tenant, task.id)
        taken = task.no in taken_nos or task.no in nos or name in taken_ids or name in ids
        if taken or task.state not in INSERT_STATES:
            wrong.append(task.no)
        nos.add(task.no)
        ids.add(name)
    if wrong:
        refuse(f"insert needs {' or '.join(INSERT_STATES)}, a new number and a new id", wrong)


def retrying(task: Task, row: RetryRow) -> Task:
    """The task after a bad attempt, as the row says."""
    return replace(
        task,
        state=RETRY.target,
        token=None,
        started_ms=None,
        expires_ms=None,
        due_ms=row.due_ms,
        error=row.error,
        attempt=row.attempt,
        crashes=row.crashes,
        losses=row.losses,
        duration_us=row.duration_us,
        lane=row.lane,
        memory_bytes=row.memory_bytes,
        throttles=row.throttles,
        log=row.log or task.log,
    )


def retried(leaf: Leaf, row: RetryRow) -> Leaf:
    """The leaf of `retrying`, for a task that was of this one."""
    return leaf._replace(lane=row.lane, memory_bytes=row.memory_bytes)


def check_archive(nos: Sequence[TaskNo], states: Mapping[TaskNo, TaskState], *, finished: bool) -> None:
    """Each of the tasks, named once, is here and has ended, and the file is not `finished`, or IllegalMove."""
    if finished:
        refuse("archive needs a file that is not finished", nos)
    wrong = [no for no in nos if states.get(no) not in TERMINAL_STATES] + _twice(nos)
    if wrong:
        refuse(f"archive needs {' or '.join(TERMINAL_STATES)}", wrong)


def check_forget(nos: Sequence[TaskNo], known: Container[TaskNo]) -> None:
    """Each of the tasks, named once, is in history, or IllegalMove."""
    wrong = [no for no in nos if no not in known] + _twice(nos)
    if wrong:
        refuse("forget needs a task in history", wrong)


def check_drop(keys: Sequence[str], unused: Container[str]) -> None:
    """Each of the files, named once, is finished and forgotten, or IllegalMove."""
    wrong = [key for key in keys if key not in unused]
    if wrong or len(frozenset(keys)) != len(keys):
        raise IllegalMove(f"drop needs a file that is finished, of which no task is known: not so for {wrong or keys}")


def _twice(nos: Sequence[TaskNo]) -> list[TaskNo]:
    if len(frozenset(nos)) == len(nos):
        return []
    return [no for no, times in Counter(nos).items() if times > 1]


def refuse(needed: str, nos: Sequence[TaskNo]) -> NoReturn:
    """Raises IllegalMove; its message names the tasks."""
    named = ", ".join(str(no) for no in nos[:NAMED_MAX])
    more = f" and {len(nos) - NAMED_MAX} more" if len(nos) > NAMED_MAX else ""
    raise IllegalMove(f"{needed}: not so for task {named}{more}")
