"""Faults at random, and a book of what the handlers did meanwhile: what a chaos soak is made of.

Plan        how long, how often, how long the longest task is
Producer    a tenant: submits mixed work, and watches that no task ends twice
Book        the runs that the handlers of `apps/chaos.py` have told of
Faults      kills one process after another, as a seed says
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event
from typing import NamedTuple

import psutil

from helpers.live import eventually
from helpers.machines import Machines
from taskservice import Client

KINDS = ("handler", "runner", "dispatcher", "gateway", "raylet")
FUNCTIONS = ("chaos.works", "chaos.waits")
SHORTEST_S = 0.01
BACK_WITHIN_S = 60.0
"""A process that was killed has been replaced by then."""
PAUSE_S = 1.0
"""Between two batches of a tenant."""
BATCH = 2
ENDS = ("succeeded", "failed", "cancelled", "expired")


class Plan(NamedTuple):
    """One soak."""

    seconds: float
    interval_s: float
    """From one fault to the next."""
    longest_s: float
    """What the longest task takes."""


class End(NamedTuple):
    """How a task has ended, as its tenant saw it."""

    state: str
    ended_at: str
    attempt: int


class Producer:
    """One tenant's work. Tries again, with the same ids, for as long as the service is away."""

    def __init__(self, client: Client, name: str, rng: Random, plan: Plan, book: Path) -> None:
        self.client = client
        self.accepted: dict[str, float] = {}
        """When each task was durable, by the wall clock."""
        self.seconds: dict[str, float] = {}
        """What each task takes."""
        self.ends: dict[str, End] = {}
        self.second_ends: list[tuple[str, End, End]] = []
        self.slowest_s = 0.0
        """The longest that a submit took."""
        self.name = name
        self._rng = rng
        self._plan = plan
        self._book = book

    def run(self, stop: Event) -> None:
        """`run_once` until it is told to stop."""
        while not stop.wait(PAUSE_S):
            self.run_once()

    def run_once(self) -> int:
        """A batch was submitted, and a look was had at what has ended; gives how many tasks have."""
        tasks = [self._task(f"{self.name}-{len(self.accepted) + i}") for i in range(BATCH)]
        began_s = time.time()
        answer = self.client.submit_many(tasks)
        assert answer.accepted + answer.duplicates == BATCH, answer
        self.slowest_s = max(self.slowest_s, time.time() - began_s)
        self.accepted.update((str(task["id"]), time.time()) for task in tasks)
        return self.look(limit=200)

    def look(self, limit: int | None = None) -> int:
        """Whatever has ended, of the newest `limit` tasks or of all, is known; gives how many that are."""
        for task in self.client.list(limit=limit):
            if task.state in ENDS:
                end = End(task.state, str(task.info["ended_at"]), int(task.info["attempt"]))
                first = self.ends.setdefault(task.id, end)
                if first != end:
                    self.second_ends.append((task.id, first, end))
        return len(self.ends)

    def _task(self, id: str) -> dict[str, object]:
        """Most tasks are short, a few are as long as the plan allows."""
        spans = [(SHORTEST_S, 0.1), (0.1, 2.0), (2.0, self._plan.longest_s)]
        (span,) = self._rng.choices(spans, weights=(75, 22, 3))
        self.seconds[id] = self._rng.uniform(*span)
        payload = {"seconds": self.seconds[id], "file": str(self._book)}
        return {"id": id, "function": self._rng.choice(FUNCTIONS), "payload": payload}


@dataclass(slots=True)
class Run:
    """A handler's run of a task."""

    name: str
    task: str
    pid: int
    begun_s: float
    ended: bool = False


@dataclass(slots=True)
class Book:
    """All runs that were told of in a file, by their names."""

    path: Path
    runs: dict[str, Run] = field(default_factory=dict)

    def read(self) -> Book:
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            what, name = line.split()
            if what == "ended":
                self.runs[name].ended = True
            elif name not in self.runs:
                task, pid, began_ns = name.split("/")
                self.runs[name] = Run(name, task, int(pid), int(began_ns) / 1e9)
        return self

    def of_tasks(self) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs.values():
            found[run.task].append(run)
        return found

    def begun_after(self, at_s: float) -> float:
        """When the first run began after that; infinite: none did."""
        return min((run.begun_s for run in self.runs.values() if run.begun_s > at_s), default=float("inf"))


class Fault(NamedTuple):
    """What was killed, and when, by the wall clock."""

    at_s: float
    kind: str
    pid: int | None = None
    """None: all processes of a machine."""
    machine: int | None = None

    def __str__(self) -> str:
        where = "" if self.machine is None else f" on machine {self.machine}"
        return f"{self.kind}{where}" if self.pid is None else f"{self.kind} {self.pid}{where}"


class Faults:
    """Each kind once, in an order that the seed says, then again in another order. A machine that was killed is added before the
    next fault."""

    def __init__(self, seed: int, machines: Machines, count: int, book: Book, say: Callable[[str], None]) -> None:
        self._rng = Random(seed)
        self._machines = machines
        self._book = book
        self._say = say
        home = {*machines.processes("DispatcherProcess"), *machines.processes("GatewayProcess")}
        self._others = [machine for machine in range(count) if machine not in home]
        self._down: int | None = None
        self._kinds = self._in_turn()
        self._began_s = time.time()
        self.done: list[Fault] = []

    def run(self, plan: Plan) -> None:
        """A fault every `interval_s`; all machines are there at the end."""
        never = Event()
        while time.time() - self._began_s < plan.seconds:
            never.wait(plan.interval_s)
            self.run_once()
        self.mend()

    def run_once(self) -> Fault:
        """One more process has been killed."""
        self.mend()
        kind = next(self._kinds)
        if kind == "raylet":
            self._down = self._rng.choice(self._others)
            fault = Fault(time.time(), kind, machine=self._down)
            self._machines.kill(self._down)
        else:
            machine, process = self._victim(kind)
            fault = Fault(time.time(), kind, process.pid, machine)
            process.kill()
        self.done.append(fault)
        self._say(f"{fault.at_s - self._began_s:6.1f} s  killed: {fault}")
        return fault

    def mend(self) -> None:
        """The machine that was killed is there again."""
        if self._down is not None:
            self._machines.add(self._down)
            self._down = None

    def _in_turn(self) -> Iterator[str]:
        while True:
            yield from self._rng.sample(KINDS, len(KINDS))

    def _victim(self, kind: str) -> tuple[int | None, psutil.Process]:
        found: list[tuple[int | None, psutil.Process]] = []

        def there_is_one() -> bool:
            found[:] = self._handlers() if kind == "handler" else self._actors(f"{kind.capitalize()}Process")
            return bool(found)

        eventually(there_is_one, BACK_WITHIN_S, f"a {kind} to kill")
        return self._rng.choice(found)

    def _actors(self, kind: str) -> list[tuple[int | None, psutil.Process]]:
        return sorted(self._machines.processes(kind).items())

    def _handlers(self) -> list[tuple[int | None, psutil.Process]]:
        """Processes in which a run is under way."""
        open_runs = [run for run in self._book.read().runs.values() if not run.ended]
        return [(None, process) for run in open_runs if (process := _process_of(run)) is not None]


def _process_of(run: Run) -> psutil.Process | None:
    """The process of a run, if it lives; not one that has its number by now."""
    try:
        process = psutil.Process(run.pid)
        lives = process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= run.begun_s
    except psutil.NoSuchProcess:
        return None
    return process if lives else None
