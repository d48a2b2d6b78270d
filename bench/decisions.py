"""What the core decides in a second, among so many active queues: `python bench/decisions.py`.

One decision is one task submitted, leased and reported. All of it goes through `Shard`, in batches as in the service: submits of a
thousand tasks, one report of a runner with the leases that ended since the last one, a commit after each turn. The pool is
as large as it takes to keep so many leases under way; each queue has tasks all the time. Prints decisions per second of CPU, and what
each step takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from taskservice.actors.processes import freeze_heap
from taskservice.core import events as e
from taskservice.core.effects import Launch
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, Outcome, RunnerReport
from taskservice.core.limits import Limits
from taskservice.core.shard import Shard
from taskservice.core.specs import Bundle, FunctionSpec, Resources, Tenant
from taskservice.core.state import State
from taskservice.core.table import Mark, TaskTable
from taskservice.core.types import FunctionName, NewTask, OutcomeKind, RunnerId, TaskId, TenantId
from taskservice.journal.store.memory import MemoryTable
from taskservice.journal.store.sqlite import SqliteTable

SUBMIT_TASKS = 1_000
DURATION_US = 2_000
FUNCTIONS_PER_TENANT = 10
CPUS = 64
START_MS = 1_700_000_000_000


class Bench:
    """A shard with so many queues, all of which have tasks, and a runner that reports what it is given at once."""

    def __init__(self, table: TaskTable, queues: int, tasks_per_queue: int) -> None:
        self.shard = Shard(State(table, Limits()))
        self.table = table
        self.spent_ns: Counter[str] = Counter()
        self._rng = Random(1)
        self._now_ms = START_MS
        self._made = 0
        self._under_way: list[LeaseSpec] = []
        functions = min(FUNCTIONS_PER_TENANT, queues)
        self._functions = [FunctionName(f"app.f{n}") for n in range(functions)]
        self._tenants = [TenantId(f"t{n}") for n in range(queues // functions)]
        self.shard.open(Mark("log", "nonce", 1, -1), self._now_ms)
        specs = tuple(FunctionSpec(name, Bundle("m", "a", "/"), b"{}") for name in self._functions)
        self._handle("set up", e.FunctionsRegistered(0, specs))
        for tenant in self._tenants:
            self._handle("set up", e.TenantPut(0, Tenant(tenant)))
        self._handle("set up", e.RunnerJoined(RunnerId("r1"), "n1", Resources(cpu_m=1000 * CPUS)))
        self._next_queue = 0
        for _ in range(-(-queues * tasks_per_queue // SUBMIT_TASKS)):
            self._submit()
            self._commit()
        self._learn()
        self.spent_ns.clear()

    def turn(self) -> int:
        """As many tasks are reported as have run, and as many are submitted anew; gives how many."""
        leases, self._under_way = self._under_way, []
        done = sum(len(lease.tasks) for lease in leases)
        if leases:
            reports = tuple(LeaseReport(lease.token, outcomes(lease), (), done=True) for lease in leases)
            self._handle("report", e.RunnerReported(0, RunnerReport(RunnerId("r1"), reports)))
        for _ in range(round(done / SUBMIT_TASKS) or bool(done)):
            self._submit()
        self._now_ms += 10
        self._timed("dispatch", lambda: self.shard.dispatch(self._now_ms))
        self._commit()
        return done

    def _learn(self) -> None:
        """The functions' speeds are known: leases have the size that they have in service."""
        for _ in range(200):
            self.turn()

    def _submit(self) -> None:
        """A batch of one tenant's tasks, over all its functions; the tenants take turns."""
        tenant = self._tenants[self._next_queue % len(self._tenants)]
        self._next_queue += 1
        tasks = tuple(
            NewTask(TaskId(f"{self._made + at:012d}"), self._functions[at % len(self._functions)], b'{"n":1}')
            for at in range(SUBMIT_TASKS)
        )
        self._made += SUBMIT_TASKS
        self._handle("submit", e.Submitted(0, tenant, tasks))

    def _handle(self, step: str, event: e.Event) -> None:
        self._timed(step, lambda: self.shard.handle(event, self._now_ms, self._rng))

    def _commit(self) -> None:
        def commit() -> None:
            while (cut := self.shard.cut()) is not None:
                self.shard.durable(cut.number)

        self._timed("commit", commit)
        if self.table.wal_bytes > 64 * 1024 * 1024:
            self._timed("commit", self.table.fold)
        self._under_way += [effect.lease for effect in self.shard.release() if isinstance(effect, Launch)]

    def _timed(self, step: str, call: object) -> None:
        began_ns = time.process_time_ns()
        call()  # type: ignore[operator]
        self.spent_ns[step] += time.process_time_ns() - began_ns


def outcomes(lease: LeaseSpec) -> tuple[Outcome, ...]:
    return tuple(Outcome(t.no, OutcomeKind.SUCCEEDED, START_MS, DURATION_US, b"1") for t in lease.tasks)


def measured(table: TaskTable, queues: int, tasks: int) -> dict[str, float]:
    """Microseconds of CPU for each task, by step."""
    bench = Bench(table, queues, max(2, 20_000 // queues))
    freeze_heap()  # as the dispatcher's process does
    done = 0
    while done < tasks:
        done += bench.turn()
    return {step: ns / done / 1e3 for step, ns in bench.spent_ns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--queues", type=int, action="append", help="active queues (default: 1,000, 10,000 and 100,000)"
    )
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--table", choices=["memory", "sqlite"], default="sqlite")
    wish = parser.parse_args()
    shown = Table(
        "queues", "decisions/s", "us each", "submit", "report", "dispatch", "commit", title=f"table: {wish.table}"
    )
    for queues in wish.queues or [1_000, 10_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            table = MemoryTable() if wish.table == "memory" else SqliteTable(Path(folder) / "table.sqlite")
            us = measured(table, queues, wish.tasks)
        total = sum(us.values())
        steps = [f"{us[step]:.1f}" for step in ("submit", "report", "dispatch", "commit")]
        shown.add_row(f"{queues:,}", f"{1e6 / total:,.0f}", f"{total:.1f}", *steps)
    Console().print(shown)


if __name__ == "__main__":
    main()
