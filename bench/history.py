"""What history costs, on this machine: `python bench/history.py`.

Takes tasks that have ended out of the working table, into files of Parquet and out again, as the archiver and the gateway do.
Prints CPU time for each step of a task's way, and the longest turn that the dispatcher's other callers would have waited for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from taskservice.core.history import DONE
from taskservice.core.past import DAY_MS, EndedKey, HistoryFile, Past
from taskservice.core.table import Mark
from taskservice.core.types import (
    FunctionName,
    ListFilter,
    Priority,
    RunnerId,
    Task,
    TaskId,
    TaskNo,
    TaskState,
    TenantId,
    Token,
)
from taskservice.history import parquet
from taskservice.history.keys import file_key
from taskservice.history.reader import HistoryReader
from taskservice.ids import uuid7
from taskservice.journal.store.sqlite import SqliteTable
from taskservice.objects.directory import DirectoryObjects

T = TypeVar("T")

TURN = 500
FILE_TASKS = 50_000
TENANTS = 5
NOW_MS = 1_700_000_000_000
LOOKS = 300


class Meter:
    """CPU time by step, and the longest single call of each."""

    def __init__(self) -> None:
        self._spent: dict[str, tuple[float, float, int]] = {}

    def __call__(self, step: str, tasks: int, call: Callable[[], T]) -> T:
        began_s = time.thread_time()
        result = call()
        took_s = time.thread_time() - began_s
        total_s, longest_s, done = self._spent.get(step, (0.0, 0.0, 0))
        self._spent[step] = (total_s + took_s, max(longest_s, took_s), done + tasks)
        return result

    def report(self) -> None:
        for step, (total_s, longest_s, tasks) in self._spent.items():
            print(f"{step:22} {1e6 * total_s / tasks:8.2f} us/task   longest {1e3 * longest_s:7.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--payload-bytes", type=int, default=200)
    wish = parser.parse_args()
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        table, store = SqliteTable(Path(folder) / "table.sqlite"), DirectoryObjects(Path(folder) / "state")
        fill(table, wish.tasks, wish.payload_bytes)
        archive(table, store, meter)
        places = table.past.listing(ListFilter(), None, wish.tasks)
        look(store, places, meter)
        meter("list a page", 100, lambda: table.past.listing(ListFilter(tenant=TenantId("t1")), None, 100))
        for start in range(0, len(places), TURN):
            nos = [place.no for place in places[start : start + TURN]]
            meter("forget", len(nos), lambda nos=nos: table.past.forget(nos))
        meter.report()


def fill(table: SqliteTable, tasks: int, payload_bytes: int) -> None:
    """So many tasks have succeeded."""
    rng, token = Random(1), Token(1, 1)
    for first in range(1, tasks + 1, TURN):
        nos = [TaskNo(no) for no in range(first, min(first + TURN, tasks + 1))]
        table.insert([task(no, rng, payload_bytes) for no in nos])
        table.lease(nos, token, RunnerId("r1"), NOW_MS)
        table.succeed([(no, b'{"ok":true}', NOW_MS, 500) for no in nos], token, NOW_MS + first)
        table.commit(Mark("log", "nonce", 1, first))
    table.fold()


def task(no: TaskNo, rng: Random, payload_bytes: int) -> Task:
    text = f'{{"text":"{rng.randbytes(payload_bytes // 2).hex()}"}}'
    return Task(
        no,
        TaskId(uuid7()),
        TenantId(f"t{no % TENANTS}"),
        FunctionName("bench.f"),
        Priority.NORMAL,
        TaskState.QUEUED,
        text.encode(),
        (),
        NOW_MS,
        NOW_MS,
        3,
        60_000,
    )


def archive(table: SqliteTable, store: DirectoryObjects, meter: Meter) -> None:
    """All tasks are in files."""
    segment, size_bytes, count = 10**9, 0, 0
    while True:
        nos: list[TaskNo] = []
        batches, after = [], None
        while len(nos) < FILE_TASKS:
            found = meter("read", TURN, lambda a=after: table.past.ended(DONE, 10**15, a, TURN, 4 << 20))
            if not found:
                break
            batches.append(meter("rows (in a thread)", len(found), lambda f=found: parquet.batch(f)))
            nos += [one.no for one in found]
            after = EndedKey(found[-1].ended_ms or 0, found[-1].no)
        if not nos:
            break
        data = meter("file (in a thread)", len(nos), lambda b=batches: parquet.encode(b))
        day = NOW_MS // DAY_MS
        file = HistoryFile(file_key(day, nos[0], nos[-1], 1, "ab"), day, 1, 1, len(nos), len(data), NOW_MS)
        store.put_if_absent(file.key, data)
        size_bytes, count = size_bytes + len(data), count + len(nos)
        for start in range(0, len(nos), TURN):
            some, last = nos[start : start + TURN], start + TURN >= len(nos)
            rows = [(no, start + at) for at, no in enumerate(some)]
            meter("decide", len(rows), lambda n=some: table.past.standing(n))
            meter("leave", len(rows), lambda f=file, r=rows, end=last: table.past.archive(f, r, last=end))
            segment += 1
            meter("commit", len(rows), lambda s=segment: table.commit(Mark("log", "nonce", 1, s)))
    print(f"{count} tasks in files of {size_bytes / count:.0f} bytes/task")


def look(store: DirectoryObjects, places: list[Past], meter: Meter) -> None:
    """Tasks are read, here and there."""
    rng = Random(2)
    for place in rng.sample(places, LOOKS):
        meter("get, nothing known", 1, lambda p=place: HistoryReader(lambda: store).read([p], whole=True))
    reader = HistoryReader(lambda: store)
    for place in rng.sample(places[:4_000], LOOKS):
        meter("get, group known", 1, lambda p=place: reader.read([p], whole=True))
    for start in range(0, 20_000, 100):
        meter("page of 100", 1, lambda s=start: reader.read(places[s : s + 100], whole=False))


if __name__ == "__main__":
    main()
