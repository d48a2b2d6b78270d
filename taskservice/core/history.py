"""When a task leaves the table for history, when it is forgotten there, and when its file may go.

    in the table --retention--> in a file, its id known --dedup window--> in a file --history_keep--> gone

The archiver writes the files and asks; what is chosen here is only what may go, and when.
"""

from __future__ import annotations

from taskservice.core.bulk import deletions, wants
from taskservice.core.decision import Decision
from taskservice.core.effects import CountAnswer, EndedAnswer, FilesAnswer, KeysAnswer
from taskservice.core.events import DropAsked, EndedAsked, FileWritten, ForgetAsked, OldFileRead, StrangersAsked
from taskservice.core.past import DAY_MS, HistoryFile
from taskservice.core.records import FilesDropped, HistoryForgotten, TasksArchived
from taskservice.core.state import State
from taskservice.core.types import TaskNo, TaskState

DEAD = (TaskState.FAILED,)
DONE = (TaskState.SUCCEEDED, TaskState.CANCELLED, TaskState.EXPIRED)

OLD_FILES_MAX = 100
"""Files that may be dropped, of which is spoken at a time; those of the first days."""


def ended(state: State, event: EndedAsked, now_ms: int) -> Decision:
    """The tasks that have been in the table for long enough, the first that ended first, of one day.

    The archiver asks often, and puts the file only when all that it was told is durable: see `unfinished`.
    """
    past, limits = state.table.past, state.limits
    kept_s = limits.retention_failed_s if event.dead else limits.retention_s
    before_ms = now_ms - int(kept_s * 1000) + 1
    if event.after is not None:
        before_ms = min(before_ms, _day_end_ms(event.after.ended_ms))
    tasks = past.ended(DEAD if event.dead else DONE, before_ms, event.after, event.limit, event.bytes_max)
    if tasks:
        day_end_ms = _day_end_ms(tasks[0].ended_ms or 0)
        tasks = [task for task in tasks if (task.ended_ms or 0) < day_end_ms]
    return Decision(answer=EndedAnswer(tuple(tasks)), near=True)


def archive(state: State, event: FileWritten, now_ms: int) -> Decision:
    """The tasks of the file leave the table, but those that are not any more what the file says they were.

    Such a task was run again, or is in history already, when the same part of a file is told twice. One that an operation is
    still to delete stays for it as well, if its place in history is one that the operation has done with.
    """
    past = state.table.past
    standing = past.standing([row.no for row in event.rows])
    staying = _escaping(state, [row.no for row in event.rows if row.no in standing])
    rows = tuple(
        (row.no, row.row)
        for row in event.rows
        if standing.get(row.no) == (row.run, row.state) and row.no not in staying
    )
    open_ = any(file.key == event.file.key for file in past.unfinished())
    if not open_ and past.known([event.file.key]):
        rows = ()  # it is finished
    ends = event.last and open_
    records = (TasksArchived(now_ms, event.file, rows, event.last),) if rows or ends else ()
    return Decision(records, CountAnswer(len(rows)))


def _escaping(state: State, nos: list[TaskNo]) -> frozenset[TaskNo]:
    operations = deletions(state)
    if not operations:
        return frozenset()
    return frozenset(
        task.no
        for task in state.table.load(nos)
        for operation in operations
        if wants(operation, task) and not operation.holds(task.leaf.plain, task.no)
    )


def unfinished(state: State) -> Decision:
    """The files of which a part may not have been told. Whoever has the answer knows that all before it is durable."""
    return Decision(answer=FilesAnswer(tuple(state.table.past.unfinished())))


def forget(state: State, event: ForgetAsked, now_ms: int) -> Decision:
    """Tasks whose ids have been known for long enough are forgotten, file by file."""
    before_ms = now_ms - int(state.limits.dedup_window_s * 1000) + 1
    nos = tuple(state.table.past.forgettable(before_ms, event.limit))
    return Decision((HistoryForgotten(now_ms, nos),) if nos else (), CountAnswer(len(nos)))


def droppable(state: State, event: DropAsked, now_ms: int) -> Decision:
    """The files that have been kept for long enough: whole days, and none that is in use."""
    return Decision(answer=FilesAnswer(tuple(_old_files(state, event.limit, now_ms))))


def drop(state: State, event: OldFileRead, now_ms: int) -> Decision:
    """Nothing refers to the file's values any more, and with the last of them it is no part of history any more. Its tasks
    have been forgotten, so nobody can be shown what goes."""
    if not any(file.key == event.key for file in _old_files(state, OLD_FILES_MAX, now_ms)):
        return Decision(answer=CountAnswer(0))
    keys = (event.key,) if event.last else ()
    return Decision((FilesDropped(now_ms, keys, event.value_keys),), CountAnswer(len(keys)))


def _old_files(state: State, limit: int, now_ms: int) -> list[HistoryFile]:
    if not state.limits.history_keep_s:
        return []
    before_day = (now_ms - int(state.limits.history_keep_s * 1000)) // DAY_MS
    return state.table.past.droppable(before_day, min(limit, OLD_FILES_MAX))


def strangers(state: State, event: StrangersAsked) -> Decision:
    """Those of the objects that no record speaks of."""
    known = frozenset(state.table.past.known(event.keys))
    return Decision(answer=KeysAnswer(tuple(key for key in event.keys if key not in known)))


def _day_end_ms(ms: int) -> int:
    return (ms // DAY_MS + 1) * DAY_MS
