"""Tasks' logs, wherever their attempts ran: each node has those of its own, and its runner reads them out.

A node that leaves takes its logs along. What cannot be read is said in its place, never shown as if nothing had been written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from taskservice.core.types import RunnerId, Task, TaskId, TaskState, TenantId
from taskservice.runtime.logstore import LogChunk, LogStore

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(list[LogChunk]).decode

Answers = Mapping[RunnerId, bytes | str]
"""What `read_out` gave on each node, or why it could not be asked."""


class LocalLogs:
    """The logs of a service on one machine (`LogReader`)."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def read(self, task: Task) -> Sequence[LogChunk]:
        """See `LogReader`."""
        return self._store.read(task.tenant, task.id)


class ClusterLogs:
    """The logs of a service on several machines (`LogReader`)."""

    def __init__(self, store: LogStore, ask_others: Callable[[TenantId, TaskId], Answers]) -> None:
        """`store`: this node's. `ask_others`: has every other node's runner call `read_out`; blocks."""
        self._store = store
        self._ask_others = ask_others

    def read(self, task: Task) -> Sequence[LogChunk]:
        """See `LogReader`."""
        found = dict.fromkeys(self._store.read(task.tenant, task.id))
        unread: list[str] = []
        for runner, answer in self._ask_others(task.tenant, task.id).items():
            if isinstance(answer, str):
                unread.append(f"[what {runner} has of this log cannot be read now: {answer}]\n")
            else:
                found.update(dict.fromkeys(_decode(answer)))
        chunks = sorted([*found, *_missing(task, found)], key=lambda chunk: (chunk.run, chunk.attempt, chunk.number))
        return [*chunks, *(LogChunk(task.run, task.attempt, text) for text in unread)]


def read_out(store: LogStore, tenant: TenantId, id: TaskId) -> bytes:
    """What this node has of the task's log, for `ClusterLogs`."""
    return _encode(store.read(tenant, id))


def _missing(task: Task, found: Mapping[LogChunk, None]) -> list[LogChunk]:
    """A remark for each attempt of the latest run that has ended, and of which nothing is found."""
    known = {(chunk.run, chunk.attempt) for chunk in found}
    ended = task.attempt - (task.state is TaskState.RUNNING)
    remark = "[nothing found: the attempt wrote no log, or the machine that has it has left the cluster]\n"
    attempts = range(1, ended + 1)
    return [LogChunk(task.run, attempt, remark) for attempt in attempts if (task.run, attempt) not in known]
