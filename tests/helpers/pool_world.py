"""A pool in virtual time, with streams of leases that take turns by fair share, as the scheduler would have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from taskservice.core.demand import Demand
from taskservice.core.pool import Pool
from taskservice.core.resources import dominant_share, fits
from taskservice.core.runner import Runner
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId, Token

TICK_MS = 50


@dataclass(slots=True, eq=False)
class Stream:
    """Leases of one demand: so many, or one after the other for ever."""

    name: str
    demand: Demand
    lasts_ms: Callable[[], int]
    """How long the next lease really lasts."""
    expected_ms: int | None
    """How long each is thought to last; None: nobody knows. 0: exactly as long as it does."""
    left: int = 10**9
    from_ms: int = 0
    tag: float = 0.0
    """What it was served so far: whoever has least is next."""
    waits_since_ms: int | None = None
    waits_ms: list[int] = field(default_factory=list)
    """How long each lease has waited, from the moment that its turn was refused."""
    refused_at: int | None = None
    """The pool's number when it was refused last."""
    started: int = 0


class World:
    """Runners of so many CPUs, and the streams that want them."""

    def __init__(self, cpus: list[int], streams: list[Stream], *, reserving: bool = True) -> None:
        self.pool = Pool()
        self.now_ms = 0
        self.streams = streams
        self.reserving = reserving
        self.total = {"CPU": 1000 * sum(cpus)}
        self.idle_eligible_ms = 0
        """Thousandths of CPUs times milliseconds that were free although somebody waited who might have had them."""
        self.idle_ms = 0
        """Those that were free while anybody waited."""
        self._ends: list[tuple[int, int, RunnerId, Token]] = []
        self._next_ms: dict[str, int] = {}
        self._granted = 0
        for number, each in enumerate(cpus):
            self.pool.join(RunnerId(f"r{number}"), "node", Resources(cpu_m=1000 * each))

    def run(self, ms: int) -> None:
        """So much time passes."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self._round()
            next_ms = min(until_ms, self.now_ms + TICK_MS, self._ends[0][0] if self._ends else until_ms)
            self._count_idle(next_ms - self.now_ms)
            self.now_ms = next_ms
            while self._ends and self._ends[0][0] <= self.now_ms:
                _, _, runner, token = heappop(self._ends)
                self.pool.lease_over(runner, token)

    def _waiting(self) -> list[Stream]:
        """In the order of their turns."""
        waiting = [stream for stream in self.streams if stream.left and stream.from_ms <= self.now_ms]
        return sorted(waiting, key=lambda stream: stream.tag)

    def _round(self) -> None:
        while any(self._turn(stream) for stream in self._waiting()):
            pass
        if self.reserving:
            self.pool.waiting([stream.demand for stream in self._waiting()], self.now_ms)

    def _turn(self, stream: Stream) -> bool:
        """Whether the stream got a lease. One that was refused is not asked again before something was freed."""
        if stream.refused_at is not None and not self.pool.freed_since(stream.demand, stream.refused_at):
            return False
        lasts_ms = self._next_ms.setdefault(stream.name, stream.lasts_ms())
        expected_ms = lasts_ms if stream.expected_ms == 0 else stream.expected_ms
        runner = self.pool.place(stream.demand, 0, self.now_ms, expected_ms)
        if runner is None:
            stream.refused_at = self.pool.number
            if stream.waits_since_ms is None:
                stream.waits_since_ms = self.now_ms
            return False
        self._grant(stream, runner, self._next_ms.pop(stream.name), expected_ms)
        return True

    def _grant(self, stream: Stream, runner: Runner, lasts_ms: int, expected_ms: int | None) -> None:
        self._granted += 1
        token = Token(1, self._granted)
        self.pool.occupy(runner.id, token, stream.demand, short=False, now_ms=self.now_ms, lasts_ms=expected_ms)
        heappush(self._ends, (self.now_ms + lasts_ms, self._granted, runner.id, token))
        waited_ms = 0 if stream.waits_since_ms is None else self.now_ms - stream.waits_since_ms
        stream.waits_ms.append(waited_ms)
        stream.waits_since_ms = stream.refused_at = None
        stream.left -= 1
        stream.started += 1
        stream.tag += lasts_ms * dominant_share(dict(stream.demand.need), self.total)

    def _count_idle(self, ms: int) -> None:
        waiting = self._waiting()
        for runner in self.pool.runners.values():
            free = runner.capacity["CPU"] - runner.used.get("CPU", 0)
            if free and waiting:
                self.idle_ms += free * ms
                self.idle_eligible_ms += ms * max(min(free, self._would_take(stream, runner)) for stream in waiting)

    def _would_take(self, stream: Stream, runner: Runner) -> int:
        """Thousandths of CPUs that the stream's next lease might have there now: by the rule, not by the pool's way to it."""
        need = dict(stream.demand.need)
        if not fits(need, runner.used, runner.capacity):
            return 0
        kept = self.pool.reservations.by_runner.get(runner.id)
        if kept is None or kept.demand == stream.demand:
            return need["CPU"]
        expected_ms = self._next_ms.get(stream.name) if stream.expected_ms == 0 else stream.expected_ms
        if expected_ms is not None and self.now_ms + expected_ms <= kept.at_ms:
            return need["CPU"]
        stays = sum(
            lease.need["CPU"] for lease in runner.leases.values() if lease.expected_end_ms(self.now_ms) > kept.at_ms
        )
        beside = stays + dict(kept.demand.need)["CPU"] + need["CPU"] <= runner.capacity["CPU"]
        return need["CPU"] if beside else 0
