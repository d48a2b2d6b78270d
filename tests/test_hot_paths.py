"""What each step on a task's way through the core costs, in calls, against what it cost when that was last looked at.

Counted and not timed, so that it says the same on any machine. Who makes a step dearer by more than a tenth finds out here; who
makes one cheaper by as much writes the new figure down, so that it stays so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from helpers.counting import calls_of
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

NOW_MS = 1_700_000_000_000
RUNNER = RunnerId("r")
TENANTS = [TenantId(f"t{n}") for n in range(10)]
FUNCTIONS = [FunctionName(f"app.f{n}") for n in range(10)]
BATCH = 1_000
DURATION_US = 2_000

CALLS = {
    ("memory", "submit"): 63.1,
    ("memory", "lease of one"): 373.5,
    ("memory", "report of one"): 212.8,
    ("memory", "lease of many"): 36.2,
    ("memory", "report of many"): 43.3,
    ("sqlite", "submit"): 55.6,
    ("sqlite", "lease of one"): 434.6,
    ("sqlite", "report of one"): 256.0,
    ("sqlite", "lease of many"): 27.1,
    ("sqlite", "report of many"): 26.1,
}
"""Calls of Python functions and of built-in ones for each task, by table and step."""


class Core:
    """A shard with a hundred queues that all have tasks, and a runner with 64 CPUs."""

    def __init__(self, table: TaskTable) -> None:
        self._shard = Shard(State(table, Limits()))
        self._made = 0
        self._now_ms = NOW_MS
        self._shard.open(Mark("log", "nonce", 1, -1), NOW_MS)
        self._handle(
            e.FunctionsRegistered(0, tuple(FunctionSpec(name, Bundle("m", "a", "/"), b"{}") for name in FUNCTIONS))
        )
        for tenant in TENANTS:
            self._handle(e.TenantPut(0, Tenant(tenant)))
        self._handle(e.RunnerJoined(RUNNER, "n", Resources(cpu_m=64_000)))
        for tenant in TENANTS:
            self.submit(tenant)

    def submit(self, tenant: TenantId) -> None:
        """A batch, over all functions."""
        numbers = range(self._made, self._made + BATCH)
        self._made += BATCH
        new = tuple(NewTask(TaskId(f"{n:09d}"), FUNCTIONS[n % len(FUNCTIONS)], b'{"n":1}') for n in numbers)
        self._handle(e.Submitted(0, tenant, new))
        self._commit()

    def dispatch(self, leases: list[LeaseSpec]) -> None:
        """A round, and what it leases."""
        self._now_ms += 10
        self._shard.dispatch(self._now_ms)
        self._commit()
        leases += [effect.lease for effect in self._shard.release() if isinstance(effect, Launch)]

    def report(self, leases: list[LeaseSpec]) -> None:
        """All tasks of these leases have succeeded."""
        reports = tuple(LeaseReport(lease.token, _succeeded(lease), done=True) for lease in leases)
        self._handle(e.RunnerReported(0, RunnerReport(RUNNER, reports)))
        self._commit()

    def _handle(self, event: e.Event) -> None:
        self._shard.handle(event, self._now_ms, Random(1))

    def _commit(self) -> None:
        while (cut := self._shard.cut()) is not None:
            self._shard.durable(cut.number)


def _succeeded(lease: LeaseSpec) -> tuple[Outcome, ...]:
    return tuple(Outcome(task.no, OutcomeKind.SUCCEEDED, NOW_MS, DURATION_US, b"1") for task in lease.tasks)


def steps(core: Core) -> Iterator[tuple[str, float]]:
    """Each step, and the calls that it makes for each task."""
    yield "submit", calls_of(partial(core.submit, TENANTS[0])) / BATCH
    for size in "one", "many":  # nothing is known of the functions until the first report
        leases: list[LeaseSpec] = []
        calls = calls_of(partial(core.dispatch, leases))
        tasks = sum(len(lease.tasks) for lease in leases)
        assert (tasks == len(leases)) is (size == "one")
        yield f"lease of {size}", calls / tasks
        yield f"report of {size}", calls_of(partial(core.report, leases)) / tasks


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the figures are of Python 3.11: others inline more")
@pytest.mark.parametrize("table", ["memory", "sqlite"])
def test_no_step_has_become_dearer(table: str, tmp_path: Path) -> None:
    make: dict[str, Callable[[], TaskTable]] = {
        "memory": MemoryTable,
        "sqlite": lambda: SqliteTable(tmp_path / "table.sqlite"),
    }
    found = dict(steps(Core(make[table]())))
    print({step: round(calls, 1) for step, calls in found.items()})
    for step, calls in found.items():
        known = CALLS[table, step]
        assert calls <= 1.1 * known, f"{step} makes {calls:.1f} calls for each task, and made {known}"
        assert calls >= 0.9 * known, f"{step} makes but {calls:.1f} calls for each task now: write that down"
