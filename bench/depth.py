"""What depth costs: the rates of a task's steps with millions queued against those with a thousand: `python bench/depth.py`.

Two shards live through the same in turns, so that whatever else the machine does is done to both: batches are submitted
(ids looked up, accepted), leased and succeed, by the same `apply` as in the service, over SQLite on disk, with a commit and
now and then a fold, while as many as before stay queued. Prints microseconds of CPU per task (nothing here waits for a disk), and how the deep shard's rate
compares; then what restoring it from its file takes, and the memory of the process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from taskservice.core import records as r
from taskservice.core.apply import apply
from taskservice.core.limits import Limits
from taskservice.core.restore import commit, restore
from taskservice.core.specs import Bundle, FunctionSpec, Tenant
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.types import (
    FunctionName,
    Leaf,
    Priority,
    RunnerId,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    TenantId,
    Token,
)
from taskservice.ids import uuid7
from taskservice.journal.store.ids import GENERATION
from taskservice.journal.store.sqlite import SqliteTable

BATCH = 200
BATCHES_PER_COMMIT = 5
FOLD_BYTES = 64 * 1024 * 1024
TENANTS = [TenantId(f"tenant-{number}") for number in range(5)]
FUNCTION = FunctionSpec(FunctionName("media.thumbnail"), Bundle("media", "app", "/app"), b"{}")
NOW_MS = 1_700_000_000_000
IDS: dict[str, Callable[[], str]] = {"ascending": uuid7, "random": lambda: uuid.uuid4().hex}
SHALLOW = 1_000


class Bench:
    """A shard with `depth` tasks queued, and what its steps have taken."""

    def __init__(self, path: Path, depth: int, payload: bytes, new_id: Callable[[], str]) -> None:
        self.path = path
        self.table = SqliteTable(path)
        self.state = State(self.table, Limits())
        self.spent_ns: Counter[str] = Counter()
        self.folds = 0
        self.payload = payload
        self.new_id = new_id
        self.tasks = 0
        self._segment = 0
        self._turn = 0
        apply(self.state, r.EpochOpened(NOW_MS, 1))
        apply(self.state, r.FunctionsSet(NOW_MS, (FUNCTION,)))
        for tenant in TENANTS:
            apply(self.state, r.TenantSet(NOW_MS, Tenant(tenant)))
        for made in range(0, depth, BATCH):
            apply(self.state, r.TasksAccepted(NOW_MS, self._new_tasks()))
            if made % (BATCH * BATCHES_PER_COMMIT) == 0:
                self._commit()
        self._commit()
        self.begin()

    def begin(self) -> None:
        """What has been spent so far does not count."""
        self.table.fold()
        self.spent_ns.clear()
        self.tasks = self.folds = 0

    def round(self) -> None:
        """As many batches as there are in a commit go all their way."""
        for _ in range(BATCHES_PER_COMMIT):
            self._batch(self._new_tasks())
        self._commit()

    def _batch(self, tasks: tuple[Task, ...]) -> None:
        tenant, ids = tasks[0].tenant, [task.id for task in tasks]
        self._timed("find", lambda: self.table.find(tenant, ids))
        self._timed("accept", lambda: apply(self.state, r.TasksAccepted(NOW_MS, tasks)))
        leaf = Leaf(tenant, FUNCTION.name, Priority.NORMAL)
        nos = tuple(entry.no for entry in self.state.queue(leaf).first(BATCH, NOW_MS))
        token = Token(1, self.state.next_lease)
        self._timed("lease", lambda: apply(self.state, r.LeaseGranted(NOW_MS, token, RunnerId("r1"), leaf, nos)))
        rows = tuple((no, b'{"ok":true}', NOW_MS, 500) for no in nos)
        self._timed("succeed", lambda: apply(self.state, r.TasksSucceeded(NOW_MS, token, rows)))

    def us_per_task(self, step: str) -> float:
        """What a step took, or all steps together."""
        return self.spent_ns.get(step, self.spent_ns.total()) / self.tasks / 1e3

    def _commit(self) -> None:
        self._segment += 1
        self._timed("commit", lambda: commit(self.state, Mark("log", "nonce", 1, self._segment)))
        if self.table.wal_bytes >= FOLD_BYTES:
            self._timed("fold", self.table.fold)
            self.folds += 1

    def _timed(self, step: str, call: Callable[[], object]) -> None:
        began_ns = time.process_time_ns()
        call()
        self.spent_ns[step] += time.process_time_ns() - began_ns

    def _new_tasks(self) -> tuple[Task, ...]:
        """A batch of one tenant's, by turns."""
        self._turn += 1
        self.tasks += BATCH
        first, tenant = self.state.next_no, TENANTS[self._turn % len(TENANTS)]
        return tuple(self._new_task(TaskNo(first + at), tenant) for at in range(BATCH))

    def _new_task(self, no: TaskNo, tenant: TenantId) -> Task:
        return Task(
            no=no,
            id=TaskId(self.new_id()),
            tenant=tenant,
            function=FUNCTION.name,
            priority=Priority.NORMAL,
            state=TaskState.QUEUED,
            payload=self.payload,
            tags=(),
            created_ms=NOW_MS + no // 100,
            due_ms=NOW_MS + no // 100,
            max_attempts=5,
            timeout_ms=600_000,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=2_000_000, help="tasks queued in the deep shard")
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks that go their way in each")
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--ids", choices=IDS, action="append", help="how ids are made (default: both ways)")
    wish = parser.parse_args()
    for ids in wish.ids or IDS:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), ids, wish.depth, wish.tasks, b"x" * wish.payload_bytes)


def measure(folder: Path, ids: str, depth: int, tasks: int, payload: bytes) -> None:
    began_s = time.monotonic()
    deep = Bench(folder / "deep.sqlite", depth, payload, IDS[ids])
    print(f"{ids} ids; {depth:,} queued in {time.monotonic() - began_s:.0f} s, {memory()}")
    shallow = Bench(folder / "shallow.sqlite", SHALLOW, payload, IDS[ids])
    for _ in range(0, 2 * GENERATION, BATCH * BATCHES_PER_COMMIT):
        shallow.round()  # until as many ids as in the deep one are on their way to the index
    shallow.begin()
    for _ in range(0, tasks, BATCH * BATCHES_PER_COMMIT):
        shallow.round()
        deep.round()
    print(f"  {'us/task with':14}{SHALLOW:>12,}{depth:>12,}   rate")
    for step in [*(step for step in deep.spent_ns if step in shallow.spent_ns), "whole life"]:
        of_shallow, of_deep = (bench.us_per_task(step) for bench in (shallow, deep))
        print(f"  {step:14}{of_shallow:12.2f}{of_deep:12.2f} {of_shallow / of_deep:6.0%}")
    fold_ms = deep.spent_ns["fold"] / max(1, deep.folds) / 1e6
    print(f"  a fold of {FOLD_BYTES >> 20} MiB takes {fold_ms:.0f} ms of the deep one; {memory()}, with both tables")
    shallow.table.close()
    deep.table.close()
    restoring(deep, depth)


def restoring(deep: Bench, depth: int) -> None:
    began_s = time.monotonic()
    table = SqliteTable.open(deep.path, lambda stored: 0)
    opened_s = time.monotonic() - began_s
    state = restore(table, Limits())
    restored_s = time.monotonic() - began_s - opened_s
    assert (
        sum(queue.count for queue in state.queues.values()) == sum(q.count for q in deep.state.queues.values()) >= depth
    )
    print(f"  opened in {opened_s * 1e3:.1f} ms, restored in {restored_s * 1e3:.1f} ms")
    print(f"  file {deep.path.stat().st_size / 2**20:,.0f} MiB, {memory()}")
    table.close()


def memory() -> str:
    """What the process has in memory, now and at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(lines[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))
    return f"{now} MiB in memory, {most} at most"


if __name__ == "__main__":
    main()
