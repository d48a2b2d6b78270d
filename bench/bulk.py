"""What cancelling millions of tasks at once costs, and what others feel of it: `python bench/bulk.py`.

A dispatcher as in the service, over its journal and its table on disk, with millions of tasks queued. One bulk operation
cancels them all; meanwhile somebody submits a task every few milliseconds. Prints how long it takes, the longest turns
of the dispatcher (nobody is served meanwhile), and the latency of those submits beside that of the same without.
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
from collections.abc import Awaitable, Callable
from pathlib import Path

from depth import FUNCTION, IDS, TENANTS, Bench, memory

from taskservice.actors.dispatcher import Counts, Dispatcher
from taskservice.actors.keeper import Keeper
from taskservice.actors.processes import now_ms
from taskservice.core.limits import Limits
from taskservice.core.operations import OperationKind
from taskservice.core.shard import Shard
from taskservice.core.table import Mark
from taskservice.core.types import ListFilter, NewTask, RunnerId, TaskId
from taskservice.journal.checkpointer import Checkpointer
from taskservice.journal.opening import open_state

SUBMIT_EVERY_S = 0.02
QUIET_S = 3.0


class Timed(Dispatcher):
    """A dispatcher that remembers how long its turns took."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.turns_ms: list[float] = []
        self.turns_cpu_ms: list[float] = []
        """The same without the time in which others had the processor."""

    def run_once(self) -> Counts:
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        counts = super().run_once()
        self.turns_ms.append((time.perf_counter() - began_s) * 1e3)
        self.turns_cpu_ms.append((time.thread_time() - cpu_s) * 1e3)
        return counts


class Collections:
    """What Python's own full collections take: they come in the midst of any turn."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self._began_s = 0.0
        gc.callbacks.append(self._see)

    def _see(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_s = time.thread_time()
        elif info["generation"] == 2:
            self.took_ms.append((time.thread_time() - self._began_s) * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=2_000_000, help="tasks queued, and cancelled")
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--batch", type=int, default=Limits().operation_batch_max, help="operation_batch_max")
    parser.add_argument("--ids", choices=IDS, default="random", help="how ids are made")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), wish))


async def measure(folder: Path, wish: argparse.Namespace) -> None:
    began_s = time.monotonic()
    bench = Bench(folder / "table.sqlite", wish.depth, b"x" * wish.payload_bytes, IDS[wish.ids])
    bench.state.limits = Limits(operation_batch_max=wish.batch)
    print(f"{wish.depth:,} queued in {time.monotonic() - began_s:.0f} s, {memory()}")
    dispatcher = over(bench, folder)
    dispatcher.start()
    quiet_until_s = time.monotonic() + QUIET_S

    async def quiet_is_over() -> bool:
        return time.monotonic() > quiet_until_s

    show("submits before", await submits(dispatcher, "before", quiet_is_over))
    dispatcher.turns_ms.clear()
    dispatcher.turns_cpu_ms.clear()
    collections = Collections()
    began_s = time.monotonic()
    answer = await dispatcher.bulk(OperationKind.CANCEL, ListFilter(function=FUNCTION.name))
    print(f"answered in   {(time.monotonic() - began_s) * 1e3:8.1f} ms: {answer.operation.matched:,} match")

    async def is_done() -> bool:
        return (await dispatcher.operation(None, answer.operation.id)).done_ms is not None

    latencies = await submits(dispatcher, "meanwhile", is_done)
    took_s = time.monotonic() - began_s
    changed = (await dispatcher.operation(None, answer.operation.id)).changed
    print(f"cancelled     {changed:,} in {took_s:.1f} s, {changed / took_s:,.0f}/s")
    show("submits meanwhile", latencies)
    show("turns", dispatcher.turns_ms)
    show("turns, CPU", dispatcher.turns_cpu_ms)
    for name, longest in (
        ("", dispatcher.turns_ms),
        (" (CPU)", dispatcher.turns_cpu_ms),
        (" (gc)", collections.took_ms),
    ):
        print(f"longest{name:10} {', '.join(f'{each:.0f}' for each in sorted(longest)[:-9:-1])} ms")
    await dispatcher.close()
    journal_bytes = sum(each.stat().st_size for each in (folder / "state" / "journal").rglob("*") if each.is_file())
    print(f"journal       {journal_bytes:,} bytes, {memory()}")


def over(bench: Bench, folder: Path) -> Timed:
    """A dispatcher of the bench's shard: that its tasks are not in the journal does not matter here."""
    state = open_state(str(folder / "state"), now_ms=now_ms)
    shard = Shard(bench.state)
    shard.open(Mark("log", "nonce", 1, -1), now_ms())
    stop = threading.Event()
    checkpointer = Checkpointer(state.store, state.journal, state.ownership, now_ms=now_ms, stop=stop)
    return Timed(
        state.journal,
        shard,
        no_runner,
        lambda error: sys.exit(f"fatal: {error}"),
        keeper=lambda wake, failed: Keeper(bench.table, bench.path, checkpointer, stop, wake, failed),
    )


async def no_runner(id: RunnerId, epoch: int, body: bytes) -> bool:
    raise AssertionError("no runner has ever joined")


async def submits(dispatcher: Dispatcher, name: str, over: Callable[[], Awaitable[bool]]) -> list[float]:
    """One after the other until it is over; gives the milliseconds that each took."""
    latencies: list[float] = []
    while not await over():
        new = NewTask(TaskId(f"{name}-{len(latencies)}"), FUNCTION.name, b'{"i":1}')
        began_s = time.perf_counter()
        await dispatcher.submit(TENANTS[0], [new])
        latencies.append((time.perf_counter() - began_s) * 1e3)
        await asyncio.sleep(SUBMIT_EVERY_S)
    return latencies


def show(name: str, milliseconds: list[float]) -> None:
    cuts = statistics.quantiles(milliseconds, n=100)
    print(f"{name:18} {len(milliseconds):6}: p50 {cuts[49]:.1f}, p99 {cuts[98]:.1f}, max {max(milliseconds):.1f} ms")


if __name__ == "__main__":
    main()
