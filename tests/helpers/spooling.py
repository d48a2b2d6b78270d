"""A node's logs in one hand: a runner's keeper, a supervisor's logbook, and the gateway's reader."""

from __future__ import annotations

from pathlib import Path

import msgspec

from helpers.tables import task as a_task
from taskservice.actors.log_keeper import KeeperOptions, LogKeeper
from taskservice.actors.task_logs import LocalNodes, TaskLogs
from taskservice.core.lease_wire import LeaseSpec, LeaseTask, Outcome
from taskservice.core.specs import Bundle, Resources
from taskservice.core.types import FunctionName, OutcomeKind, RunnerId, Task, TaskId, TaskNo, TaskState, TenantId, Token
from taskservice.logs.chosen import ALL, Wanted, choose, text_of
from taskservice.objects import ObjectStore
from taskservice.runtime.logbook import Ages, Logbook
from taskservice.runtime.spool import Spool
from taskservice.runtime.wire import Logged

NOW_MS = 1_796_000_000_000
T = TenantId("t")
AT_ONCE = Ages(look_s=0.0, chunk_s=0.0, piece_s=0.0)
LATER = Ages(look_s=0.0, chunk_s=0.0, piece_s=1e9)


class NodeOfLogs:
    """One machine with a runner."""

    def __init__(self, root: Path, store: ObjectStore, session: str = "abc", **options: float) -> None:
        self.seconds = 0.0
        self.root = root
        self.store = store
        self.keeper = LogKeeper(
            root, session, lambda: store, lambda: NOW_MS, KeeperOptions(age_s=5.0, **options), lambda: self.seconds
        )
        self.spool = Spool(self.keeper.folder)
        self.runner = RunnerId(f"runner:1:node:{session}")

    def lease(self, *tasks: Task, seq: int = 1, bytes_max: int = 1_000_000, ages: Ages = LATER) -> Logbook:
        """The logbook of a lease of these tasks, as they are in the table."""
        leased = tuple(
            LeaseTask(task.no, task.id, b"{}", task.attempt + 1, task.run, 1_000, log=task.log) for task in tasks
        )
        bundle, name = Bundle("m", "app", "/"), FunctionName("m.f")
        spec = LeaseSpec(Token(1, seq), T, name, bundle, Resources(), False, 1, 1_000, leased)
        return Logbook(self.spool, spec, bytes_max, ages)

    async def store_all(self) -> int:
        """What was written is stored; gives how many bundles that took."""
        await self.keeper.run_once()
        self.seconds += 5.0
        return (await self.keeper.run_once()).stored


def new_task(no: int = 1, tenant: TenantId = T, **fields: object) -> Task:
    return a_task(no, id=TaskId(f"task-{no}"), tenant=tenant, attempt=0, state=TaskState.QUEUED, **fields)


def say(book: Logbook, text: str, no: int = 1, at_ms: int = NOW_MS) -> None:
    book.write(Logged(TaskNo(no), text.encode(), at_ms, "stdout"))


def ended(book: Logbook, task: Task, kind: OutcomeKind = OutcomeKind.SUCCEEDED, **outcome: object) -> Task:
    """The task's attempt is over, and reported."""
    book.close(Outcome(task.no, kind, **outcome))
    log = book.store([task.no])
    state = TaskState.SUCCEEDED if kind is OutcomeKind.SUCCEEDED else TaskState.RETRYING
    return msgspec.structs.replace(task, log=log or task.log, state=state, attempt=task.attempt + 1, token=None)


def logs_in(store: ObjectStore, root: Path, keep_s: float = 0.0, now_ms: int = NOW_MS) -> TaskLogs:
    """The gateway's way to them."""
    return TaskLogs(lambda: store, LocalNodes(root), keep_s, lambda: now_ms)


def text(logs: TaskLogs, task: Task, wanted: Wanted = ALL) -> str:
    return text_of(choose(logs.stored(task, wanted), wanted))
