"""A simulated downstream that throttles what is too much for it, and the callers that find out by their windows what that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import exp
from random import Random
from typing import Protocol

from taskservice.core.flow.window import Ended, Window

START_MS = 1_700_000_000_000
LATENCY_MS = 3.0
"""What a call and its report take on the way, on average. Rejections come at once, so long before an answer would."""

Duration = Callable[[Random], int]


def lognormal(median_ms: float, sigma: float) -> Duration:
    """Durations as they are measured within real functions: sigma is 0.2 for even ones, 0.6 for half of them, 1.1 for a quarter."""
    return lambda rng: max(1, int(median_ms * exp(rng.gauss(0, sigma))))


class Downstream(Protocol):
    """What callers call."""

    served: float
    """What it could have served so far, and had asked for it: in the unit of `capacity`, times seconds."""

    def accepts(self, now_ms: int) -> bool: ...

    def finished(self, now_ms: int) -> None: ...


@dataclass
class Places:
    """Serves `capacity` calls at once and throttles the others."""

    capacity: int
    noise: float = 0.0
    """The share of calls that it throttles for no reason."""
    rng: Random = field(default_factory=lambda: Random(1))
    busy: int = 0
    served: float = 0.0
    _since_ms: int = START_MS

    def accepts(self, now_ms: int) -> bool:
        self._pass_time(now_ms)
        if self.busy >= self.capacity or self.rng.random() < self.noise:
            return False
        self.busy += 1
        return True

    def finished(self, now_ms: int) -> None:
        self._pass_time(now_ms)
        self.busy -= 1

    def _pass_time(self, now_ms: int) -> None:
        self.served += min(self.busy, self.capacity) * (now_ms - self._since_ms) / 1000
        self._since_ms = now_ms


@dataclass
class Rate:
    """Serves `capacity` calls a second, half a second's at once after a pause, and throttles the others."""

    capacity: float
    served: float = 0.0
    _tokens: float = field(init=False)
    _since_ms: int = START_MS

    def __post_init__(self) -> None:
        """Before the beginning was a pause."""
        self._tokens = self.capacity / 2

    def accepts(self, now_ms: int) -> bool:
        self._tokens = min(self._tokens + self.capacity * (now_ms - self._since_ms) / 1000, self.capacity / 2)
        self._since_ms = now_ms
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def finished(self, now_ms: int) -> None:
        self.served += 1


@dataclass
class Caller:
    """A function with more work than can be done."""

    window: Window
    duration: Duration
    finished: int = 0
    throttled: int = 0
    limits: list[int] = field(default_factory=list)
    """At the end of each of the window's periods."""
    wakes_ms: int = 0

    def ended(self, batch: Ended, now_ms: int) -> None:
        begun_ms = self.window._begun_ms
        self.finished += len(batch.finished_ms)
        self.throttled += len(batch.throttled_ms)
        self.window.ended(batch, now_ms)
        if self.window._begun_ms != begun_ms:
            self.limits.append(self.window.limit)


@dataclass(frozen=True)
class Second:
    """What one second came to."""

    served: float
    finished: int
    throttled: int
    limits: tuple[int, ...]
    """Of each caller's window, at its end."""

    @property
    def throttled_share(self) -> float:
        return self.throttled / max(1, self.throttled + self.finished)


class World:
    """Callers before one downstream, in simulated time. What passes between them takes some milliseconds each way."""

    def __init__(self, downstream: Downstream, callers: list[Caller], seed: int, retry_after_ms: int = 0) -> None:
        self.downstream = downstream
        self.callers = callers
        self.rng = Random(seed)
        self.retry_after_ms = retry_after_ms
        self.now_ms = START_MS
        self.seconds: list[Second] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._turn = 0
        self._news: dict[int, tuple[list[int], list[tuple[int, int]]]] = {}
        """What has ended in this millisecond, for each caller: told to its window in one batch."""

    def run(self, seconds: int) -> list[Second]:
        """So many seconds more, one by one."""
        return [self._second() for _ in range(seconds)]

    def _second(self) -> Second:
        served, finished, throttled = self.downstream.served, self._total("finished"), self._total("throttled")
        end_ms = self.now_ms + 1_000
        self._start()
        while self._heap and self._heap[0][0] <= end_ms:
            self.now_ms = self._heap[0][0]
            while self._heap and self._heap[0][0] == self.now_ms:
                heappop(self._heap)[2]()
            for who, news in self._news.items():
                self.callers[who].ended(Ended(*news), self.now_ms)
            self._news.clear()
            self._start()
        self.now_ms = end_ms
        second = Second(
            self.downstream.served - served,
            self._total("finished") - finished,
            self._total("throttled") - throttled,
            tuple(caller.window.limit for caller in self.callers),
        )
        self.seconds.append(second)
        return second

    def _total(self, what: str) -> int:
        return sum(getattr(caller, what) for caller in self.callers)

    def _after(self, ms: int, what: Callable[[], None]) -> None:
        self._number += 1
        heappush(self._heap, (self.now_ms + ms, self._number, what))

    def _start(self) -> None:
        """As many start as the windows have room for, one of each caller after the other."""
        closed = 0
        while closed < len(self.callers):
            self._turn = (self._turn + 1) % len(self.callers)
            closed = 0 if self._start_one(self._turn) else closed + 1
        for caller in self.callers:
            opens_ms = caller.window.opens_ms(self.now_ms)
            if opens_ms is not None and opens_ms != caller.wakes_ms:
                caller.wakes_ms = opens_ms
                self._after(opens_ms - self.now_ms, lambda: None)

    def _start_one(self, who: int) -> bool:
        window = self.callers[who].window
        if not window.room(self.now_ms):
            return False
        window.started(1, self.now_ms)
        began_ms = self.now_ms
        self._after(self._latency(), lambda: self._arrive(who, began_ms))
        return True

    def _arrive(self, who: int, began_ms: int) -> None:
        if self.downstream.accepts(self.now_ms):
            self._after(self.callers[who].duration(self.rng), lambda: self._finish(who, began_ms))
        else:
            self._after(self._latency(), lambda: self._tell(who, began_ms, throttled=True))

    def _finish(self, who: int, began_ms: int) -> None:
        self.downstream.finished(self.now_ms)
        self._after(self._latency(), lambda: self._tell(who, began_ms, throttled=False))

    def _tell(self, who: int, began_ms: int, *, throttled: bool) -> None:
        finished, throttled_ms = self._news.setdefault(who, ([], []))
        if throttled:
            throttled_ms.append((self.now_ms - began_ms, self.retry_after_ms))
        else:
            finished.append(self.now_ms - began_ms)

    def _latency(self) -> int:
        return 1 + int(self.rng.expovariate(1 / LATENCY_MS))
