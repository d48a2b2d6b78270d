"""What it costs to do something to millions of tasks at once, and what others feel of it: `python bench/bulk.py`.

A dispatcher as in the service, over its journal and its table on disk, with millions of tasks queued. One bulk operation after
the other pauses them all, resumes them, cancels them, runs them again, deletes them; then, with another million that may not
wait for ever, their time is over at the same moment. Meanwhile somebody submits a task every few milliseconds. Prints how long
each takes, what it adds to the journal, the latency of those submits beside that of the same without, and the longest turns of
the dispatcher (nobody is served meanwhile) with what they were made of.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from depth import FUNCTION, IDS, TENANTS, Bench, memory
from msgspec.structs import replace

from taskservice.actors.dispatcher import Counts, Dispatcher
from taskservice.actors.keeper import Keeper
from taskservice.actors.processes import freeze_heap
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.shard import Shard
from taskservice.core.table import Mark
from taskservice.core.types import ListFilter, NewTask, RunnerId, Task, TaskId, TaskNo, TaskState, TenantId
from taskservice.journal.checkpointer import Checkpointer
from taskservice.journal.opening import open_state

SUBMIT_EVERY_S = 0.02
QUIET_S = 3.0
TTL_MS = 86_400_000
KINDS = (OperationKind.PAUSE, OperationKind.RESUME, OperationKind.CANCEL, OperationKind.RETRY, OperationKind.DELETE)
"""In an order in which each has all the tasks to do with."""
LONGEST = 5


class Mortal(Bench):
    """As the other one, but its tasks expire, all at the same time."""

    expires_ms = 0

    def _new_task(self, no: TaskNo, tenant: TenantId) -> Task:
        return replace(super()._new_task(no, tenant), expires_ms=self.expires_ms)


class Timed(Dispatcher):
    """A dispatcher that remembers how long its turns took, and what they were made of."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.turns: list[tuple[float, float, Counter[str]]] = []
        """Of each turn its milliseconds, those without the time in which others had the processor, and those of its parts."""
        self.parts: Counter[str] = Counter()

    def run_once(self) -> Counts:
        self.parts = Counter()
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        counts = super().run_once()
        took_ms, cpu_ms = ((time.perf_counter() - began_s) * 1e3, (time.thread_time() - cpu_s) * 1e3)
        self.turns.append((took_ms, cpu_ms, self.parts))
        return counts

    def watch(self, owner: object, name: str, part: Callable[..., str]) -> None:
        """What the method of that name takes counts as that part of a turn; `part` is told its arguments."""
        method = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            began_s = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                self.parts[part(*args)] += (time.perf_counter() - began_s) * 1e3

        setattr(owner, name, watched)

    def watch_collections(self) -> None:
        """So does what Python's own collections of garbage take: they come in the midst of any turn."""
        began_s = 0.0

        def see(phase: str, info: dict[str, int]) -> None:
            nonlocal began_s
            if phase == "start":
                began_s = time.perf_counter()
            else:
                self.parts[f"gc {info['generation']}"] += (time.perf_counter() - began_s) * 1e3

        gc.callbacks.append(see)


class Stand:
    """A dispatcher on its stand, with so many tasks, and a clock that can be put forward."""

    def __init__(self, folder: Path, wish: argparse.Namespace, bench: type[Bench]) -> None:
        began_s = time.monotonic()
        self.put_forward_ms = 0
        Mortal.expires_ms = self.now_ms() + TTL_MS
        self.bench = bench(folder / "table.sqlite", wish.depth, b"x" * wish.payload_bytes, IDS[wish.ids])
        self.bench.state.limits = Limits(operation_batch_max=wish.batch)
        print(f"{wish.depth:,} queued in {time.monotonic() - began_s:.0f} s, {memory()}")
        self.journal = folder / "state" / "journal"
        state = open_state(str(folder / "state"), now_ms=self.now_ms)
        shard = Shard(self.bench.state)
        shard.open(Mark("log", "nonce", 1, -1), self.now_ms())
        stop = threading.Event()
        checkpointer = Checkpointer(state.store, state.journal, state.ownership, now_ms=self.now_ms, stop=stop)
        table, path = self.bench.table, self.bench.path
        self.dispatcher = Timed(
            state.journal,
            shard,
            no_runner,
            lambda error: sys.exit(f"fatal: {error}"),
            now_ms=self.now_ms,
            keeper=lambda wake, failed: Keeper(table, path, checkpointer, stop, wake, failed),
        )
        self.dispatcher.watch(table, "fold", lambda: "fold")
        self.dispatcher.watch(table, "commit", lambda _: "commit")
        self.dispatcher.watch(shard, "handle", lambda event, *_: type(event).__name__)
        self.dispatcher.watch_collections()
        freeze_heap()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.put_forward_ms

    def journal_bytes(self) -> int:
        return sum(each.stat().st_size for each in self.journal.rglob("*") if each.is_file())

    def count(self, state: TaskState) -> int:
        counts = self.bench.table.counts()
        return sum(count for (leaf, each), count in counts.items() if each is state and leaf.function == FUNCTION.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=1_000_000, help="tasks queued")
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--batch", type=int, default=Limits().operation_batch_max, help="operation_batch_max")
    parser.add_argument("--ids", choices=IDS, default="random", help="how ids are made")
    parser.add_argument("--kinds", choices=[*KINDS, "expire"], nargs="*", default=[*KINDS, "expire"])
    wish = parser.parse_args()
    for bench in (Bench, Mortal):
        kinds = [kind for kind in wish.kinds if (kind == "expire") is (bench is Mortal)]
        if kinds:
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(measure(Stand(Path(folder), wish, bench), kinds))


async def measure(stand: Stand, kinds: list[str]) -> None:
    dispatcher = stand.dispatcher
    dispatcher.start()
    quiet_until_s = time.monotonic() + QUIET_S

    async def quiet_is_over() -> int | None:
        return 0 if time.monotonic() > quiet_until_s else None

    print(
        f"{'':10}{'tasks':>10}{'s':>8}{'tasks/s':>9}{'journal':>10}   {'turns: p99, max':18}submits: p50, p99, max  (ms)"
    )
    before, _ = await submits(dispatcher, "before", quiet_is_over)
    print(f"{'nothing':50}{'':18}{shown(before, 50, 99)}")
    for kind in kinds:
        dispatcher.turns.clear()
        journal_bytes, began_s = stand.journal_bytes(), time.monotonic()
        latencies, changed = await submits(dispatcher, kind, await begin(stand, kind))
        took_s, added_bytes = time.monotonic() - began_s, stand.journal_bytes() - journal_bytes
        numbers = f"{changed:10,}{took_s:8.1f}{changed / took_s:9,.0f}{added_bytes / 1e6:7.2f} MB"
        turns = shown([turn[0] for turn in dispatcher.turns], 99)
        print(f"{kind:10}{numbers}   {turns:18}{shown(latencies, 50, 99)}")
        for took_ms, cpu_ms, parts in sorted(dispatcher.turns, key=lambda turn: turn[0])[: -LONGEST - 1 : -1]:
            made_of = ", ".join(f"{part} {ms:.0f}" for part, ms in parts.most_common() if ms >= 0.5)
            print(f"{'':10}{took_ms:7.0f} ms ({cpu_ms:.0f} of CPU): {made_of}")
    await dispatcher.close()
    print(memory())


async def begin(stand: Stand, kind: str) -> Callable[[], Awaitable[int | None]]:
    """It has begun. What is given says how many tasks have been changed, once it is over."""
    if kind == "expire":
        stand.put_forward_ms = TTL_MS

        async def all_have_expired() -> int | None:
            late = stand.bench.table.expired_by(stand.now_ms(), 1)
            return None if late else stand.count(TaskState.EXPIRED)

        return all_have_expired
    answer = await stand.dispatcher.bulk(OperationKind(kind), ListFilter(function=FUNCTION.name))

    async def is_done() -> int | None:
        operation = await stand.dispatcher.operation(None, answer.operation.id)
        return None if operation.done_ms is None else operation.changed

    return is_done


async def no_runner(id: RunnerId, epoch: int, body: bytes) -> bool:
    raise AssertionError("no runner has ever joined")


async def submits(
    dispatcher: Dispatcher, name: str, over: Callable[[], Awaitable[int | None]]
) -> tuple[list[float], int]:
    """One after the other until it is over; gives the milliseconds that each took, and what it came to."""
    latencies: list[float] = []
    while (came_to := await over()) is None:
        new = NewTask(TaskId(f"{name}-{len(latencies)}"), FUNCTION.name, b'{"i":1}', delay_ms=TTL_MS * 2)
        began_s = time.perf_counter()
        await dispatcher.submit(TENANTS[0], [new])
        latencies.append((time.perf_counter() - began_s) * 1e3)
        await asyncio.sleep(SUBMIT_EVERY_S)
    return latencies, came_to


def shown(milliseconds: list[float], *percents: int) -> str:
    """These percentiles, and the longest."""
    cuts = statistics.quantiles(milliseconds, n=100)
    return ", ".join(f"{each:.1f}" for each in (*(cuts[percent - 1] for percent in percents), max(milliseconds)))


if __name__ == "__main__":
    main()
