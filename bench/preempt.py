"""What a round of preemption costs the dispatcher: python bench/preempt.py [--leases 40000] [--tenants 100]

A pool of runners with four CPUs each is full of long batch tasks of so many tenants. Then a tenant has half of the pool
reserved and comes with work, and critical work comes as well. Printed: milliseconds of CPU of a turn of the dispatcher in which a round
is made, the plan and the record with it; how many leases a round stops; and a turn when everybody has their own.
"""

from __future__ import annotations

import argparse
from random import Random
from time import process_time

from taskservice.core.events import FunctionsRegistered, RunnerJoined, Submitted, TenantPut
from taskservice.core.limits import Limits
from taskservice.core.preempt_round import ROUND_MS
from taskservice.core.shard import Shard
from taskservice.core.specs import Bundle, FunctionSpec, Quota, Resources, Tenant
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.types import FunctionName, NewTask, Priority, RunnerId, TaskId, TenantId
from taskservice.journal.store.memory import MemoryTable

CPUS = 4
FUNCTION = FunctionName("bench.long")


class Bench:
    """A shard whose pool is full."""

    def __init__(self, leases: int, tenants: int) -> None:
        self.shard = Shard(State(MemoryTable(), Limits()))
        self.now_ms = 1_000_000
        self._rng = Random(1)
        self.shard.open(Mark("", "", 1, -1), self.now_ms)
        spec = FunctionSpec(FUNCTION, Bundle("m", "a", "/"), b"{}", timeout_ms=3_600_000)
        self.handle(FunctionsRegistered(0, (spec,)))
        for number in range(leases // CPUS):
            self.handle(RunnerJoined(RunnerId(f"r{number}"), "node", Resources(cpu_m=1000 * CPUS)))
        for number in range(tenants):
            self.submit(f"t{number}", leases // tenants + 10, Priority.BATCH)
        self.turn()

    def handle(self, event: object) -> None:
        """The shard has heard of it."""
        self.shard.handle(event, self.now_ms, self._rng)  # type: ignore[arg-type]

    def submit(self, tenant: str, tasks: int, priority: Priority, quota: Quota | None = None) -> None:
        """The tenant hands over so many long tasks."""
        if quota is not None or TenantId(tenant) not in self.shard.state.tenants:
            self.handle(TenantPut(0, Tenant(TenantId(tenant), quota=quota or Quota())))
        new = (NewTask(TaskId(f"{tenant}-{n}"), FUNCTION, b"{}", priority) for n in range(tasks))
        self.handle(Submitted(0, TenantId(tenant), tuple(new)))

    def turn(self) -> float:
        """What may run is leased, a round is made if it is time; gives milliseconds."""
        began_s = process_time()
        self.shard.dispatch(self.now_ms)
        took_ms = (process_time() - began_s) * 1000
        while (cut := self.shard.cut()) is not None:
            self.shard.durable(cut.number)
        self.shard.release()
        return took_ms

    def rounds(self, count: int) -> tuple[list[float], list[int]]:
        """The next rounds: the CPU time of each, and how many leases it has stopped."""
        took, stopped = [], []
        for _ in range(count):
            self.now_ms += ROUND_MS
            before = len(self.shard.state.preemption.told)
            took.append(self.turn())
            stopped.append(len(self.shard.state.preemption.told) - before)
        return took, stopped


def _say(what: str, took: list[float], stopped: list[int]) -> None:
    took = sorted(took)
    print(f"{what:44} median {took[len(took) // 2]:6.1f} ms, most {took[-1]:6.1f} ms; stopped {stopped}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=40_000)
    parser.add_argument("--tenants", type=int, default=100)
    given = parser.parse_args()
    bench = Bench(given.leases, given.tenants)
    print(f"{len(bench.shard.state.leases)} leases run, of {given.tenants} tenants")
    _say("everybody has their own", *bench.rounds(10))
    half = Quota(reserved=(("CPU", 500 * given.leases),))
    bench.submit("reserved", given.leases, Priority.NORMAL, half)
    _say("half of the pool is reserved", *bench.rounds(10))
    bench.submit("urgent", 1000, Priority.CRITICAL)
    _say("and critical work waits as well", *bench.rounds(10))
    for function in list(bench.shard.state.functions.values()):
        bench.handle(
            FunctionsRegistered(0, (type(function)(function.name, function.bundle, b"{}", preemptible=False),))
        )
    _say("nobody may be stopped, though both lack much", *bench.rounds(10))


if __name__ == "__main__":
    main()
