"""How late what waits for the clock is with a million timers: `python bench/timers.py`.

A shard over SQLite on disk, as in the service, with tasks that fall due, that expire, and that stop waiting for off-peak hours, their
times spread evenly over ten minutes. The clock is set to the next time, as the dispatcher's timer does it, and goes on by
what each turn takes of CPU; so lateness is what the service would show on a machine of its own. Prints lateness by kind,
what a turn takes, and how many calls of Python functions a turn makes with a million waiting and with ten thousand.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from taskservice.core.events import FunctionsRegistered, RunnerJoined, Submitted, Ticked
from taskservice.core.limits import Limits
from taskservice.core.press_records import TasksPressed
from taskservice.core.records import Record, TasksAccepted, TasksDue, TasksExpired
from taskservice.core.shard import DEFAULT_TENANT, Shard
from taskservice.core.specs import Bundle, FunctionSpec, Resources
from taskservice.core.speed import Speed
from taskservice.core.state import State
from taskservice.core.table import Mark
from taskservice.core.ticks import next_tick_ms
from taskservice.core.types import FunctionName, NewTask, RunnerId, Task, TaskId, TaskNo
from taskservice.journal.store.sqlite import SqliteTable

NOW_MS = 1_700_000_000_000
FIRST_MS = 3_600_000
"""So far ahead is the first time: none comes while tasks are submitted."""
BATCH = 1_000
FUNCTION = FunctionSpec(FunctionName("media.thumbnail"), Bundle("media", "app", "/app"), b"{}", timeout_ms=1_000)
LIMITS = Limits(off_peak_windows=("22:00-22:01",), off_peak_idle_ratio=0.0)
TICK_MS = 1
"""What a timer of the event loop is off by at most, beside the loop's own work."""
LATE_MS_MAX = 100
TURNS = 30
SHALLOW = 10_000
"""So many that the heads of the queues are full."""


class Bench:
    """A shard with so many timers, and what became of them."""

    def __init__(self, path: Path, tasks: int, span_s: int, rng: Random) -> None:
        self.rng = rng
        self.shard = Shard(State(SqliteTable(path), LIMITS))
        self.shard.open(Mark("the log", "its writer", 1, -1), NOW_MS)
        self.shard.handle(FunctionsRegistered(0, (FUNCTION,)), NOW_MS, rng)
        self.shard.handle(RunnerJoined(RunnerId("r1"), "node", Resources(cpu_m=1_000_000)), NOW_MS, rng)
        self.shard.state.speeds[FUNCTION.name] = Speed(40.0, 40.0)
        self.times_ms: dict[TaskNo, int] = {}
        self.turn_us: list[float] = []
        self.late_ms: dict[str, list[float]] = {"due": [], "expired": [], "pressed": []}
        for start in range(0, tasks, BATCH):
            batch = tuple(self._new(start + at, span_s) for at in range(min(BATCH, tasks - start)))
            self.shard.handle(Submitted(0, DEFAULT_TENANT, batch), NOW_MS, rng)
            self._take(self._cut(), NOW_MS)

    def _new(self, number: int, span_s: int) -> NewTask:
        at_ms = FIRST_MS + self.rng.randrange(span_s * 1_000)
        kind = ({"delay_ms": at_ms}, {"ttl_ms": at_ms}, {"off_peak": True, "deadline_in_ms": at_ms + 11_500})[
            number % 3
        ]
        return NewTask(TaskId(f"task-{number}"), FUNCTION.name, b'{"url": "https://example.org/x.png"}', **kind)  # type: ignore[arg-type]

    def _cut(self) -> tuple[Record, ...]:
        records: tuple[Record, ...] = ()
        while (cut := self.shard.cut()) is not None:
            records += cut.records
            self.shard.durable(cut.number)
        self.shard.release()
        return records

    def _take(self, records: tuple[Record, ...], now_ms: float) -> int:
        happened = 0
        for record in records:
            match record:
                case TasksAccepted(tasks=tasks):
                    self.times_ms.update((task.no, _time_of(task)) for task in tasks)
                case TasksDue(nos=nos) | TasksExpired(nos=nos) | TasksPressed(nos=nos):
                    kind = {TasksDue: "due", TasksExpired: "expired", TasksPressed: "pressed"}[type(record)]
                    self.late_ms[kind] += [now_ms - self.times_ms[no] for no in nos]
                    happened += len(nos)
        return happened

    def run(self, for_s: float) -> int:
        """So many seconds of the span have passed; gives how many tasks' times have come."""
        state, happened = self.shard.state, 0
        now_ms = float(next_tick_ms(state) or 0)
        end_ms = now_ms + for_s * 1_000
        while (next_ms := next_tick_ms(state)) is not None and max(now_ms, next_ms) < end_ms:
            now_ms = max(now_ms, float(next_ms))
            began_ns = time.process_time_ns()
            self.shard.handle(Ticked(), int(now_ms), self.rng)
            records = self._cut()
            took_us = (time.process_time_ns() - began_ns) / 1_000
            self.turn_us.append(took_us)
            now_ms += took_us / 1_000
            happened += self._take(records, now_ms)
        return happened

    def calls(self) -> int:
        """Calls of functions that the longest of some turns makes, in which the time of one task or two has come."""
        return max(self._calls_of_turn() for _ in range(TURNS))

    def _calls_of_turn(self) -> int:
        next_ms = next_tick_ms(self.shard.state) or 0
        calls = calls_of(lambda: self.shard.handle(Ticked(), next_ms, self.rng))
        self._cut()
        return calls


def _time_of(task: Task) -> int:
    return next(at_ms for at_ms in (task.press_ms, task.expires_ms, task.due_ms) if at_ms is not None)


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of functions the work makes."""
    counts: Counter[str] = Counter()
    sys.setprofile(lambda frame, event, arg: counts.update([event]))
    try:
        work()
    finally:
        sys.setprofile(None)
    return counts["call"] + counts["c_call"]


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--span-s", type=int, default=600, help="over which their times are spread")
    parser.add_argument("--for-s", type=float, default=30.0, help="how much of it is lived through")
    wish = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        shallow = Bench(Path(folder) / "shallow.sqlite", SHALLOW, wish.span_s, Random(1))
        began_s = time.monotonic()
        deep = Bench(Path(folder) / "deep.sqlite", wish.tasks, wish.span_s, Random(1))
        print(f"{wish.tasks:,} timers, set in {time.monotonic() - began_s:.0f} s")
        print(
            f"calls in the longest of some turns: {deep.calls()} with {wish.tasks:,} waiting, {shallow.calls()} with {SHALLOW:,}"
        )
        happened = deep.run(wish.for_s)
        print(
            f"{happened:,} times came in {wish.for_s:g} s, in {len(deep.turn_us):,} turns of {sum(deep.turn_us) / happened:.0f} us a task"
        )
        for kind, late_ms in deep.late_ms.items():
            p50, p99, most = (quantile(late_ms, part) for part in (0.5, 0.99, 1.0))
            print(
                f"{kind:8} {len(late_ms):7,}: late p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {most:.1f} ms, least {min(late_ms):.1f} ms"
            )
            good &= min(late_ms) >= 0 and p99 <= TICK_MS + LATE_MS_MAX
    print("never early, and p99 within a tick + 100 ms" if good else "TOO LATE, OR EARLY")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
