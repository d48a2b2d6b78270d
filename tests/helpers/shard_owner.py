"""A whole dispatcher but for Ray, in a process of its own: `python shard_owner.py STATE_DIR HOME NAME`.

It waits for a line on stdin, opens the state, recovers, and submits tasks without end, making checkpoints all the while.
On stdout is a line for each thing that is true from then on:

    ready                nothing has been opened yet
    refused REASON       the state is somebody else's, who lives; it ends
    recovered ID ...     these tasks are there
    accepted ID          this one is durable
    published NUMBER     a checkpoint stands, by the manifest of this number
    fatal ERROR          it ends, for that reason
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
import time
from pathlib import Path

from taskservice.actors.commits import CommitOptions
from taskservice.actors.dispatcher import Dispatcher
from taskservice.actors.dispatcher_options import DispatcherOptions
from taskservice.actors.keeper import Keeper, KeeperOptions
from taskservice.core.limits import Limits
from taskservice.core.shard import DEFAULT_TENANT
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import FunctionName, ListFilter, NewTask, RunnerId, TaskId
from taskservice.journal import JournalLocked, Position
from taskservice.journal.checkpointer import Checkpointer, Published
from taskservice.journal.opening import StateDir, open_state
from taskservice.journal.recovery import recover
from taskservice.journal.store.place import take_place

FUNCTION = FunctionSpec(FunctionName("work.noop"), Bundle("work", "app", "/"), b"{}")
SUBMITTERS = 6
TASKS_MAX = 5
KEEPER = KeeperOptions(wal_bytes_max=256 << 10, interval_s=0.02, close_s=5.0)
COMMITS = CommitOptions(interval_s=0.002)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Telling:
    """A checkpointer that tells what it has published."""

    def __init__(self, checkpointer: Checkpointer, state: StateDir) -> None:
        self._checkpointer = checkpointer
        self._state = state

    def publish(self, path: Path, position: Position) -> Published:
        published = self._checkpointer.publish(path, position)
        tell("published", str(self._state.ownership.manifest.number))
        return published

    def sweep(self) -> object:
        return self._checkpointer.sweep()


def tell(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


def ended(error: BaseException) -> None:
    """As a service's process ends: at once."""
    tell("fatal", type(error).__name__)
    os._exit(1)


def opened(state_dir: str, home: Path) -> tuple[Dispatcher, list[str]]:
    """The dispatcher, and what it has recovered."""
    state = open_state(state_dir, now_ms=now_ms)
    path = take_place(home, state_dir, state.journal.epoch).path
    stop = threading.Event()
    checkpointer = Checkpointer(
        state.store, state.journal, state.ownership, now_ms=now_ms, stop=stop, threads=1, cpu_ratio_max=1.0
    )
    recovered = recover(state.journal, state.ownership.manifest, checkpointer, path, Limits(), now_ms())
    ids = [str(task.id) for task in recovered.table.listing(ListFilter(), None, 1_000_000)]
    dispatcher = Dispatcher(
        state.journal,
        recovered.shard,
        no_runner,
        ended,
        DispatcherOptions(heartbeat_s=0.5, commits=COMMITS),
        keeper=lambda wake, failed: Keeper(
            recovered.table, path, Telling(checkpointer, state), stop, wake, failed, KEEPER
        ),
    )
    return dispatcher, ids


async def no_runner(id: RunnerId, epoch: int, body: bytes) -> bool:
    raise AssertionError("no runner has ever joined")


async def submit(dispatcher: Dispatcher, name: str, numbers: itertools.count[int]) -> None:
    """Without end. What is submitted and not accepted may or may not be there."""
    for size in itertools.cycle(range(1, TASKS_MAX + 1)):
        ids = [TaskId(f"{name}.{next(numbers)}") for _ in range(size)]
        answer = await dispatcher.submit(DEFAULT_TENANT, [NewTask(id, FUNCTION.name, b'{"i":1}') for id in ids])
        for item in answer.items:
            assert item.refusal is None, item
            tell("accepted", str(item.id))


async def work(dispatcher: Dispatcher, name: str) -> None:
    dispatcher.start()
    await dispatcher.register([FUNCTION])
    numbers = itertools.count()
    await asyncio.gather(*(submit(dispatcher, name, numbers) for _ in range(SUBMITTERS)))


def main() -> None:
    state_dir, home, name = sys.argv[1:]
    tell("ready")
    sys.stdin.readline()
    try:
        dispatcher, ids = opened(state_dir, Path(home))
    except JournalLocked as error:
        tell("refused", str(error))
        return
    tell("recovered", *ids)
    asyncio.run(work(dispatcher, name))


if __name__ == "__main__":
    main()
