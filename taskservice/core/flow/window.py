"""As many tasks in flight as a downstream bears, found out by trying: the window of one downstream, shared by the functions that call it.

Like a sender's congestion window, but what it counts are tasks, and what it listens to is `Throttled` and time-outs. A task that fails
otherwise says nothing about capacity. `aimd` says how large the window is; here is what it learns from, and when:

- A period is as long as a round trip, half of the attempts being shorter, and at least a second: nothing is decided faster than its
  effects can be seen. What started before the window was shrunk last does not shrink it again.
- It grows only when it was full, and on average at least half full, as in RFC 7661 (Fairhurst, Sathiaseelan, Secchi, "Updating TCP to Support
  Rate-Limited Traffic", 2015): what was not used has not been tried.
- A throttled attempt keeps its place for a round trip. Rejections come back at once; otherwise each place above the capacity
  would send one task after the other into them, and the share of errors would say how fast rejections are, and not how many places are too many.
- `retry_after` is a throttled task's own wish first, and it waits for itself. When most of the attempts were throttled, the window
  is closed for as long as most of them said.

When two functions share a window, a fair split is not its business: it says how many may start, and the line before it
whose turn it is. Windows in front of the same downstream (of two shards, say) converge, since they see the same share of errors and
the smaller one grows by the larger part of itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from taskservice.core.flow.aimd import CONGESTED_MIN, Aimd, Why
from taskservice.core.flow.gate import Reason

CEILING = 10_000
"""More in flight to one downstream wants to be set by hand."""
PERIOD_MIN_MS = 1_000
DURATIONS_MAX = 401
"""Attempts whose median is the round trip."""
HOLDS_MAX = 16
"""Parts of a round trip that kept places are told apart by."""
SAID_MAX = 101
"""Wishes of throttled attempts that are remembered in a period."""
PAUSE_MS_MAX = 3_600_000
"""However long most of them ask for, after an hour some are tried."""
IDLE_MS = 60_000
"""After each of which without a task in flight the limit is half of what it was."""
HISTORY_MAX = 100


class Ended(NamedTuple):
    """What became of attempts that had started under a window. Durations in milliseconds."""

    finished_ms: Sequence[int] = ()
    """How long those took that neither timed out nor were throttled, whether they succeeded or not."""
    throttled_ms: Sequence[tuple[int, int]] = ()
    """How long each took that was throttled, and its `retry_after`; 0 if it had none."""
    timed_out_ms: Sequence[int] = ()
    silent: int = 0
    """Those that say nothing: lost, or handed back before they began."""


class Change(NamedTuple):
    """A moment at which the limit became another."""

    at_ms: int
    limit: int
    why: Why


class Window:
    """How many tasks may be in flight to one downstream."""

    __slots__ = (
        "_aimd",
        "_begun_ms",
        "_busy_ms",
        "_durations",
        "_frozen",
        "_full",
        "_held",
        "_holds",
        "_idle_ms",
        "_now_ms",
        "_paused_ms",
        "_said",
        "_shrunk_ms",
        "gate",
        "history",
        "in_flight",
        "round_trip_ms",
    )

    def __init__(self, gate: str, now_ms: int, ceiling: int = CEILING) -> None:
        """`gate`: what users know it by, e.g. `downstream.window`."""
        self.gate = gate
        self.in_flight = 0
        self.round_trip_ms = PERIOD_MIN_MS
        """The median of what attempts took lately."""
        self.history: deque[Change] = deque([Change(now_ms, 1, Why.DOUBLED)], HISTORY_MAX)
        self._aimd = Aimd(ceiling)
        self._frozen: int | None = None
        self._durations: deque[int] = deque(maxlen=DURATIONS_MAX)
        self._holds: deque[tuple[int, int]] = deque()
        """Until when so many throttled attempts keep their places; `_held` is their sum."""
        self._held = 0
        self._said: deque[int] = deque(maxlen=SAID_MAX)
        """Until when those wanted to wait that were throttled since the limit last changed."""
        self._paused_ms = now_ms
        """It is closed until then."""
        self._shrunk_ms = now_ms
        self._idle_ms = now_ms
        """Since when nothing is in flight."""
        self._begun_ms = now_ms
        """When the period began."""
        self._busy_ms = 0
        """Places times the milliseconds in which they were taken, in this period."""
        self._full = False
        """Whether all were, at some time in this period."""
        self._now_ms = now_ms

    @property
    def limit(self) -> int:
        """How many tasks may be in flight, counting the places that are kept."""
        return int(self._aimd.limit) if self._frozen is None else self._frozen

    def room(self, now_ms: int) -> int:
        self._pass_time(now_ms)
        return 0 if self._is_paused else max(0, self.limit - self._taken)

    def opens_ms(self, now_ms: int) -> int | None:
        self._pass_time(now_ms)
        free_ms, missing = now_ms, self._taken - self.limit + 1
        if missing > self._held:
            return None
        for until_ms, places in self._holds:
            if missing <= 0:
                break
            free_ms, missing = until_ms, missing - places
        return max(free_ms, self._paused_ms) if self._is_paused else free_ms

    def reason(self, now_ms: int) -> Reason:
        opens_ms = self.opens_ms(now_ms)
        cause = "frozen" if self._frozen is not None else "retry_after" if self._is_paused else ""
        return Reason(self.gate, self.limit, self._taken, opens_ms, cause=cause)

    def started(self, tasks: int, now_ms: int) -> None:
        """So many more are in flight; also those that are found so after a restart, be there room for them or not."""
        self._pass_time(now_ms)
        if not self.in_flight and now_ms - self._idle_ms >= self._period_ms:
            self._begin_period(now_ms)
        self.in_flight += tasks
        self._full = self._full or self._taken >= self.limit

    def ended(self, batch: Ended, now_ms: int) -> None:
        """These are in flight no more, and the window has learnt from what became of them."""
        self._pass_time(now_ms)
        self.in_flight -= len(batch.finished_ms) + len(batch.throttled_ms) + len(batch.timed_out_ms) + batch.silent
        assert self.in_flight >= 0, f"{self.gate}: more have ended than had started"
        if not self.in_flight:
            self._idle_ms = now_ms
        self._durations.extend(batch.finished_ms)
        self._keep_places(len(batch.throttled_ms), now_ms)
        self._count(batch, now_ms)
        self._pause_if_most_say_so()
        if now_ms - self._begun_ms >= self._period_ms and self._aimd.attempts:
            self._end_period(now_ms)

    def freeze(self, limit: int | None, now_ms: int) -> None:
        """The limit is this, whatever happens, and no `retry_after` closes the window; None: from here on it finds its own again."""
        self._pass_time(now_ms)
        if limit is None and self._frozen is not None:
            self._aimd.put(self._frozen)
        self._frozen = limit
        self._note(now_ms, Why.THAWED if limit is None else Why.FROZEN)

    def bound(self, ceiling: int, now_ms: int) -> None:
        """It never finds a limit above the ceiling."""
        self._pass_time(now_ms)
        self._aimd.bound(ceiling)
        self._note(now_ms, Why.CEILING)

    @property
    def _taken(self) -> int:
        return self.in_flight + self._held

    @property
    def _is_paused(self) -> bool:
        return self._frozen is None and self._now_ms < self._paused_ms

    @property
    def _period_ms(self) -> int:
        return max(PERIOD_MIN_MS, self.round_trip_ms)

    def _pass_time(self, now_ms: int) -> None:
        """Places whose time is over are free, and an idle minute has halved the limit."""
        if now_ms < self._now_ms:
            self._put_back(self._now_ms - now_ms)
        self._busy_ms += self._taken * (now_ms - self._now_ms)
        self._now_ms = now_ms
        while self._holds and self._holds[0][0] <= now_ms:
            self._held -= self._holds.popleft()[1]
        minutes = (now_ms - self._idle_ms) // IDLE_MS
        if minutes > 0 and not self.in_flight:
            self._idle_ms += minutes * IDLE_MS
            self._aimd.idle(minutes)
            self._note(now_ms, Why.IDLE)

    def _put_back(self, by_ms: int) -> None:
        """The clock was put back: what was so long ago, or so far away, still is."""
        self._now_ms -= by_ms
        self._begun_ms -= by_ms
        self._idle_ms -= by_ms
        self._paused_ms -= by_ms
        self._shrunk_ms -= by_ms
        self._holds = deque((until_ms - by_ms, places) for until_ms, places in self._holds)
        self._said = deque((until_ms - by_ms for until_ms in self._said), SAID_MAX)

    def _keep_places(self, places: int, now_ms: int) -> None:
        """So many throttled attempts keep their places for a round trip, in steps, so that there are never many of these."""
        if not places:
            return
        self._held += places
        step_ms = 1 + self.round_trip_ms // HOLDS_MAX
        last_ms, last = self._holds[-1] if self._holds else (0, 0)
        until_ms = now_ms + self.round_trip_ms
        if until_ms < last_ms + step_ms:
            self._holds[-1] = (last_ms, last + places)
        else:
            self._holds.append((until_ms, places))

    def _count(self, batch: Ended, now_ms: int) -> None:
        throttled = [wish_ms for took_ms, wish_ms in batch.throttled_ms if now_ms - took_ms >= self._shrunk_ms]
        timed_out = sum(now_ms - took_ms >= self._shrunk_ms for took_ms in batch.timed_out_ms)
        self._aimd.attempts += len(batch.finished_ms) + len(throttled) + timed_out
        self._aimd.congested += len(throttled) + timed_out
        self._said.extend(now_ms + min(wish_ms, PAUSE_MS_MAX) for wish_ms in throttled)

    def _pause_if_most_say_so(self) -> None:
        """Closed until the time until which, or longer, more than half of the attempts were told to wait; those in flight were not."""
        congested, most = self._aimd.congested, (self._aimd.attempts + self.in_flight) // 2
        if congested < CONGESTED_MIN or congested <= most:
            return
        said = sorted(self._said, reverse=True)
        rank = most * len(said) // congested
        if rank < len(said):
            self._paused_ms = max(self._paused_ms, said[rank])

    def _end_period(self, now_ms: int) -> None:
        wanted = self._full and 2 * self._busy_ms >= self.limit * (now_ms - self._begun_ms)
        if self._durations:
            self.round_trip_ms = max(1, sum(self._durations) // len(self._durations))
        if self._frozen is not None:
            self._aimd.forget()
        else:
            why = self._aimd.end_period(wanted=wanted)
            if why is Why.CONGESTED:
                self._shrunk_ms = now_ms
            if why is not None:
                self._note(now_ms, why)
        if not self._aimd.attempts:
            self._said.clear()
        self._begin_period(now_ms)

    def _begin_period(self, now_ms: int) -> None:
        self._begun_ms = now_ms
        self._busy_ms = 0
        self._full = self._taken >= self.limit

    def _note(self, now_ms: int, why: Why) -> None:
        if self.limit != self.history[-1].limit or why in {Why.FROZEN, Why.THAWED}:
            self.history.append(Change(now_ms, self.limit, why))
