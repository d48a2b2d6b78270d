"""What depth costs, and what starting again costs, for a dispatcher's own process: `python bench/durable.py [--quick | --full]`.

Two such processes (`shard.py`) are submitted to and drained in turns, over their sockets as by a gateway and a runner, so
that whatever else the machine does is done to both: one keeps a thousand tasks queued, the other many. The runner here
reports every task as done as soon as it has it. Then the deep one is killed, and how long it takes until the next process
grants its first lease is measured from before it is started: with the disk as it was left, and from a bucket alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import msgspec
import uvloop
from figures import Figure, console, load_before, show, write
from shard import RUNNER, Process

from taskservice.actors.line import LineServer
from taskservice.actors.line_ports import RUNNER_METHODS, LineDispatcher, runner_socket
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, Outcome, RunnerReport
from taskservice.core.specs import Bundle, FunctionSpec, Tenant
from taskservice.core.types import FunctionName, NewTask, OutcomeKind, TaskId, TenantId
from taskservice.ids import uuid7

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH.parent / "tests"))
from helpers.seaweed import Seaweed  # noqa: E402 (a neighbour's helper, found by the line above)

BATCH = 500
SUBMITTERS = 4
TENANTS = [TenantId(f"tenant-{number}") for number in range(5)]
FUNCTION = FunctionSpec(FunctionName("bench.noop"), Bundle("bench", "app", "/app"), b"{}")
PAYLOAD_BYTES = 200
SHALLOW = 1_000
ROUNDS = 10
DURATION_US = 100


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each thing is done."""

    deep: int = 200_000
    tasks: int = 50_000
    """That go their way in each of both."""
    restarted: int = 100_000
    """Queued when the process is killed."""


QUICK = Sizes(deep=5_000, tasks=5_000, restarted=5_000)
FULL = Sizes(deep=2_000_000, tasks=200_000, restarted=1_000_000)


class NoRunner:
    """Reports every task as done at once, for as long as it is allowed to."""

    def __init__(self, dispatcher: LineDispatcher) -> None:
        self.launched = asyncio.Event()
        self._dispatcher = dispatcher
        self._held: list[LeaseSpec] = []
        self._allowed = 0
        self._done = asyncio.Event()
        self._news = asyncio.Event()

    async def launch(self, epoch: int, body: bytes) -> bool:
        """See `Runner.launch`."""
        self._held += msgspec.msgpack.decode(body, type=list[LeaseSpec])
        self.launched.set()
        self._news.set()
        return True

    async def order(self, epoch: int, body: bytes) -> bool:
        """See `Runner.order`. Its leases end as soon as they may anyway."""
        return True

    async def end(self, tasks: int) -> None:
        """So many tasks, or somewhat more, have been reported as done, and the reports are acknowledged."""
        self._allowed = tasks
        self._done.clear()
        self._news.set()
        await self._done.wait()

    def forget(self) -> None:
        """What it holds is not its own any more: a new dispatcher has begun."""
        self._held.clear()
        self.launched.clear()

    async def run(self) -> None:
        """Reports, one call at a time, as a runner does."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._held and self._allowed > 0:
                leases, self._held = self._held, []
                await self._dispatcher.report(msgspec.msgpack.encode(RunnerReport(RUNNER, tuple(map(done, leases)))))
                self._allowed -= sum(len(lease.tasks) for lease in leases)
                if self._allowed <= 0:
                    self._done.set()


def done(lease: LeaseSpec) -> LeaseReport:
    """All its tasks have succeeded."""
    now_ms = time.time_ns() // 1_000_000
    outcomes = (Outcome(task.no, OutcomeKind.SUCCEEDED, now_ms, DURATION_US, b'{"ok":true}') for task in lease.tasks)
    return LeaseReport(lease.token, tuple(outcomes), done=True)


class Bench:
    """A process with its producers and its runner, and what they have taken."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.spent_s = {"submit": 0.0, "run": 0.0}
        self.cpu_s = {"submit": 0.0, "run": 0.0}
        self.tasks = 0
        self._payloads = payloads()

    async def begin(self) -> None:
        """The process answers, knows whose tasks come, and of what kind."""
        await asyncio.to_thread(self.process.start)
        self.dispatcher = LineDispatcher(self.process.home / "run")
        await self.dispatcher.register([FUNCTION])
        for tenant in TENANTS:
            await self.dispatcher.put_tenant(Tenant(tenant))
        self.runner = NoRunner(self.dispatcher)
        self._loop = asyncio.create_task(self.runner.run())
        served = {"launch": self.runner.launch, "order": self.runner.order}
        self._server = LineServer(served, {name: RUNNER_METHODS[name] for name in served})
        await self._server.start(runner_socket(self.process.home / "run", RUNNER))

    async def fill(self, tasks: int) -> None:
        batches = iter(range(0, tasks, BATCH))

        async def submit() -> None:
            for at in batches:
                new = [NewTask(TaskId(uuid7()), FUNCTION.name, next(self._payloads)) for _ in range(BATCH)]
                await self.dispatcher.submit(TENANTS[at // BATCH % len(TENANTS)], new)

        await asyncio.gather(*(submit() for _ in range(SUBMITTERS)))

    async def round(self, tasks: int) -> None:
        """So many tasks more are submitted; then so many have gone their way."""
        for step, work in (("submit", self.fill(tasks)), ("run", self.runner.end(tasks))):
            began_s, cpu_s = time.monotonic(), self.process.cpu_s()
            await work
            self.spent_s[step] += time.monotonic() - began_s
            self.cpu_s[step] += self.process.cpu_s() - cpu_s
        self.tasks += tasks

    def per_s(self, step: str) -> float:
        return self.tasks / self.spent_s[step]

    async def restart(self) -> float:
        """Seconds from the kill until the first lease of the next process."""
        self.process.kill()
        self.runner.forget()
        began_s = time.monotonic()
        starting = asyncio.create_task(asyncio.to_thread(self.process.start))
        await self.runner.launched.wait()
        first_s = time.monotonic() - began_s
        await starting
        return first_s

    def end(self) -> None:
        self.process.kill()
        self._loop.cancel()


def payloads() -> Iterator[bytes]:
    """JSON of so many bytes, most of them drawn: it does not shrink to nothing."""
    rng = Random(1)
    frame = len(json.dumps({"image": "", "width": 1024}))
    while True:
        drawn = f"{rng.getrandbits(4 * (PAYLOAD_BYTES - frame)):x}".zfill(PAYLOAD_BYTES - frame)
        yield json.dumps({"image": drawn, "width": 1024}).encode()


async def depth(folder: Path, sizes: Sizes, ended: ExitStack) -> list[Figure]:
    """The rates of both, and the deep one's memory."""
    benches = [Bench(Process(str(folder / name / "state"), folder / name)) for name in ("shallow", "deep")]
    for bench, tasks in zip(benches, (SHALLOW, sizes.deep), strict=True):
        await bench.begin()
        ended.callback(bench.end)
        began_s = time.monotonic()
        await bench.fill(tasks)
        console.print(f"{tasks:,} queued in {time.monotonic() - began_s:.0f} s")
    for _ in range(ROUNDS):
        for bench in benches:
            await bench.round(sizes.tasks // ROUNDS)
    shallow, deep = benches
    now_mib, most_mib = deep.process.memory_mib()
    found = []
    for step, name in (("submit", "submit"), ("run", "lease and report")):
        for bench, tasks in ((shallow, SHALLOW), (deep, sizes.deep)):
            found.append(Figure(f"{name}, {tasks:,} queued", bench.per_s(step), "tasks/s"))
            found.append(Figure(f"{name}, {tasks:,} queued, its CPU", bench.cpu_s[step] / bench.tasks * 1e6, "us/task"))
        found.append(Figure(f"{name}, deep in shallow", deep.per_s(step) / shallow.per_s(step), "of 1", target=0.8))
    found.append(Figure(f"memory, {sizes.deep:,} queued", now_mib, "MiB", target=600))
    found.append(Figure(f"memory, {sizes.deep:,} queued, at most", most_mib, "MiB"))
    return found


async def from_disk(folder: Path, sizes: Sizes, ended: ExitStack) -> list[Figure]:
    """How long until the first lease when everything but the process is still there."""
    bench = Bench(Process(str(folder / "state"), folder))
    await bench.begin()
    ended.callback(bench.end)
    await bench.fill(sizes.restarted)
    first_s = await bench.restart()
    return restarted("with its disk", sizes, bench, first_s, target=3.0)


async def from_bucket(folder: Path, sizes: Sizes, ended: ExitStack) -> list[Figure]:
    """How long until the first lease when there is nothing but the bucket."""
    seaweed = Seaweed(folder / "seaweed")
    ended.callback(seaweed.kill)
    seaweed.start()
    home = folder / "home"
    bench = Bench(Process("s3://tests/bench", home, seaweed.environment))
    await bench.begin()
    ended.callback(bench.end)
    began_s = time.monotonic()
    await bench.fill(sizes.restarted)
    filled_s = time.monotonic() - began_s
    bench.process.kill()
    for left in home.glob("table-*"):
        left.unlink()
    first_s = await bench.restart()
    console.print((home / "logs" / "service.log").read_text().rpartition("epoch ")[2].splitlines()[0])
    found = [Figure("submit to the bucket", sizes.restarted / filled_s, "tasks/s")]
    return found + restarted("from the bucket", sizes, bench, first_s, target=15.0)


def restarted(how: str, sizes: Sizes, bench: Bench, first_s: float, target: float) -> list[Figure]:
    name = f"{sizes.restarted:,} queued, killed, {how}"
    return [
        Figure(f"{name}: modules imported", bench.process.imported_s, "s"),
        Figure(f"{name}: state recovered", bench.process.opened_s, "s"),
        Figure(f"{name}: first lease", first_s, "s", target=target),
    ]


PARTS = {"depth": depth, "disk": from_disk, "bucket": from_bucket}


async def measure(parts: list[str], sizes: Sizes) -> list[Figure]:
    found: list[Figure] = []
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as ended:
            found += await PARTS[part](Path(folder), sizes, ended)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few tasks: shows that it works, not how fast")
    parser.add_argument("--full", action="store_true", help="two million tasks deep; takes a quarter of an hour")
    parser.add_argument("--part", choices=PARTS, action="append", help="of the whole (default: all)")
    parser.add_argument("--out", type=Path, metavar="DIR", default=BENCH.parent / "bench-out")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL if options.full else Sizes()
    load = load_before()
    figures = uvloop.run(measure(options.part or [*PARTS], sizes))
    show(figures)
    write(options.out / "durable.json", asdict(sizes), figures, load)


if __name__ == "__main__":
    main()
