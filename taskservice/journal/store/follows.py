"""What follows from tasks of the table in memory that have changed: what SQLite's table finds out by statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskservice.core.table import Changed, QueueKey
from taskservice.core.types import TERMINAL_STATES, Leaf, Task, TaskState
from taskservice.core.values import keys_of


def changed(
    leaf: Leaf, before: Sequence[Task], here: Sequence[Task], gone: Sequence[Task], values: Sequence[str] = ()
) -> Changed:
    """Tasks of the leaf were like that before; some are `here` as they are now, the others are `gone`, and with them the
    checkpoints that referred to `values`."""
    left = [task for task in before if task.state is TaskState.QUEUED]
    entered = [task for task in here if task.state is TaskState.QUEUED]
    return Changed(
        leaf,
        tuple(task.id for task in before),
        _unfinished(here) - _unfinished(before),
        tuple(task.no for task in left),
        _bytes(left),
        tuple(sorted(map(key_of, entered))),
        _bytes(entered),
        tuple(
            sorted(
                [
                    *(key for task in gone for key in keys_of(task.payload, task.result)),
                    *_results(before, here),
                    *values,
                ]
            )
        ),
        tuple(task.no for task in here if task.hooks is not None and task.state in TERMINAL_STATES),
    )


def moved(leaf: Leaf, to: Leaf, tasks: Sequence[Task]) -> list[Changed]:
    """Queued tasks have left a leaf for another one."""
    size = _bytes(tasks)
    return [
        Changed(leaf, left=tuple(sorted(task.no for task in tasks)), left_bytes=size),
        Changed(to, entered=tuple(sorted(map(key_of, tasks))), entered_bytes=size),
    ]


def key_of(task: Task) -> QueueKey:
    """The task's place in its queue."""
    return QueueKey(task.due_ms, task.no, task.expires_ms)


def _results(before: Sequence[Task], here: Sequence[Task]) -> list[str]:
    """Keys of the results of those that run again."""
    again = frozenset(task.no for task in here if task.result is None)
    return [key for task in before if task.no in again for key in keys_of(task.result)]


def _bytes(tasks: Iterable[Task]) -> int:
    return sum(len(task.payload) for task in tasks)


def _unfinished(tasks: Iterable[Task]) -> int:
    return sum(task.state not in TERMINAL_STATES for task in tasks)
