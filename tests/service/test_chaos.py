"""Mixed work of three tenants on two machines, while one process after another is killed: each task ends once, and well.

TASKSERVICE_CHAOS_SEED repeats a run's faults and its work; in which moment they meet is the machine's.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from threading import Event

import pytest

from helpers.chaos import BACK_WITHIN_S, Book, Faults, Plan, Producer, Run
from helpers.live import Live, eventually
from helpers.machines import Machines
from helpers.seaweed import BUCKET, Seaweed
from taskservice import Client

COUNT = 2
TENANTS = ("red", "green", "blue")
A_MINUTE = Plan(seconds=60, interval_s=4, longest_s=8)
TEN_MINUTES = Plan(seconds=600, interval_s=15, longest_s=30)
SETTLES_WITHIN_S = 60.0
"""When nothing is killed any more, all that is left has ended by then, besides the longest task's own time."""
LOGS_WITHIN_S = 60.0


@pytest.fixture
def machines(seaweed: Seaweed) -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="tsc", dir="/tmp"))  # short: there will be sockets in it
    machines = Machines(folder, COUNT, seaweed.environment)
    yield machines
    machines.end()
    shutil.rmtree(folder)


@pytest.fixture
def live(machines: Machines, tmp_path: Path) -> Iterator[Live]:
    live = Live(tmp_path / "home", "chaos:app", machines.environment)
    live.up("--address", machines.address, "--state-dir", f"s3://{BUCKET}/{tmp_path.name}").close()
    yield live
    live.down()
    live.kill_everything()


@pytest.fixture
def tenants(live: Live) -> Iterator[dict[str, Client]]:
    """Each with a client that waits for the service for as long as it takes to come back."""
    with live.client() as admin, ExitStack() as clients:
        found = {}
        for name in TENANTS:
            admin.create_tenant(name)
            secret = str(admin.create_key(["submit", "read"], tenant=name)["secret"])
            found[name] = clients.enter_context(live.client(secret, patience_s=BACK_WITHIN_S))
        yield found


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(A_MINUTE, id="a-minute", marks=pytest.mark.timeout(400)),
        pytest.param(TEN_MINUTES, id="ten-minutes", marks=[pytest.mark.soak, pytest.mark.timeout(1_500)]),
    ],
)
def test_whatever_is_killed_each_task_ends_once_and_well(
    tenants: dict[str, Client], machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: Plan
) -> None:
    seed = int(os.environ.get("TASKSERVICE_CHAOS_SEED") or random.SystemRandom().randrange(10**6))

    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    say(f"\nTASKSERVICE_CHAOS_SEED={seed}")
    book = Book(tmp_path / "book")
    producers = [Producer(client, name, Random(f"{seed} {name}"), plan, book.path) for name, client in tenants.items()]
    faults = Faults(seed, machines, COUNT, book, say)
    with ThreadPoolExecutor(len(producers)) as threads:
        stop = Event()
        working = [threads.submit(producer.run, stop) for producer in producers]
        try:
            faults.run(plan)
        finally:
            stop.set()
        for each in working:
            each.result()
    all_end(producers, plan.longest_s + SETTLES_WITHIN_S)
    report(producers, faults, book.read(), say)
    killed = {fault.pid for fault in faults.done if fault.kind == "handler"}
    for producer in producers:
        check_ends(producer, book.of_tasks(), killed)
        check_logs(producer)


def all_end(producers: list[Producer], within_s: float) -> None:
    """None is stuck, and none is lost."""

    def none_is_left() -> bool:
        counts = [producer.client.status()["counts"] for producer in producers]
        return not any(each[state] for each in counts for state in ("scheduled", "queued", "running", "retrying"))

    try:
        eventually(none_is_left, within_s)
    finally:
        for producer in producers:
            producer.look()
        left = [(producer, id) for producer in producers for id in producer.accepted.keys() - producer.ends]
        assert not left, f"stuck or lost: {[producer.client.timeline(id) for producer, id in left]}"


def check_ends(producer: Producer, runs: dict[str, list[Run]], killed: set[int]) -> None:
    """Each task has one end, the result of one of its own runs, and was charged for nothing but the deaths of its own processes."""
    assert not producer.second_ends
    for id in producer.accepted:
        end, own = producer.ends[id], runs[id]
        assert end.state == "succeeded", producer.client.get(id).info
        assert producer.client.result(id) in {run.name for run in own if run.ended}
        assert end.attempt <= 1 + sum(run.pid in killed for run in own), (id, end, own)


def check_logs(producer: Producer) -> None:
    """What the run that counts has written is in its task's log."""
    silent = set(producer.accepted)

    def all_have_logs() -> bool:
        for id in sorted(silent):
            task = producer.client.get(id)
            if task.result() in task.logs():
                silent.discard(id)
        return not silent

    eventually(all_have_logs, LOGS_WITHIN_S, f"logs of {sorted(silent)}")


def report(producers: list[Producer], faults: Faults, book: Book, say: Callable[[str], None]) -> None:
    """What an operator would ask: how long nothing began after each fault, and how long tasks waited."""
    runs = book.of_tasks()
    for fault in faults.done:
        say(f"{book.begun_after(fault.at_s) - fault.at_s:6.2f} s until a run began after {fault}")
    waits: list[tuple[float, str]] = []
    late: list[tuple[float, str]] = []
    for producer in producers:
        for id, accepted_s in producer.accepted.items():
            waits.append((min(run.begun_s for run in runs[id]) - accepted_s, id))
            last = max(run.begun_s for run in runs[id])
            late.append((last - accepted_s, f"{id} of {len(runs[id])} runs"))
    say(
        f"{len(waits)} tasks, {len(book.runs)} runs; waited {statistics.median(wait for wait, _ in waits):.2f} s (median)"
    )
    say(f"longest waits for the first run: {top(waits)}")
    say(f"longest times up to the last run: {top(late)}")
    say(f"slowest submit: {max(producer.slowest_s for producer in producers):.2f} s")


def top(figures: list[tuple[float, str]]) -> str:
    return ", ".join(f"{seconds:.1f} s ({what})" for seconds, what in sorted(figures, reverse=True)[:6])
