"""As many tasks in flight as a downstream bears, found out by trying: one window for all functions that call it.

It is a sender's congestion window, but what it counts are tasks, and what it listens to are `Throttled` and time-outs: a task that fails
otherwise says nothing about capacity. `aimd` says how large it is; here is from what, and when:

- A period is as long as a round trip, and a second at least: nothing is decided faster than its effects can be seen. A round trip is
  the mean time of an attempt, not its median: by Little's law (1961) it is the mean that says how many places a rate takes up.
- A limit that has risen opens as TCP's does: one place more for each attempt that ends. All at once they would start together, and come
  back together: a downstream that bears a rate would throttle them though it bears the limit.
- After a `retry_after` it opens from one place on likewise: one task asks whether the downstream is back, and not all of them.
- What started before the limit was shrunk does not shrink it again.
- It grows only if it was full, and at least half full on average, as in RFC 7661 (Fairhurst, Sathiaseelan, Secchi, "Updating TCP to
  Support Rate-Limited Traffic", 2015): what was not used has not been tried.
- A throttled attempt keeps its place for a round trip. Rejections come back at once; otherwise each place above the capacity would send
  one task after the other into them, and their share would tell how fast they are, and not how many places are too many.

Among functions that share a window it does not choose: it says how many may start, and whose turn it is say the fair queues of those that
wait for it. Windows before the same downstream (of two shards) become equal by themselves: they see the same share of errors,
shrink by the same factor, and grow by the same number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

from taskservice.core.flow.aimd import FLOOR, Aimd, Why
from taskservice.core.flow.gate import Reason
from taskservice.core.flow.places import Places
from taskservice.core.flow.wishes import Wishes

CEILING = 10_000
"""Who wants more than this in flight to one downstream sets it by hand."""
PERIOD_MIN_MS = 1_000
DURATIONS_MAX = 401
"""Attempts of which the round trip is the mean."""
IDLE_MS = 60_000
"""For each such time without a task in flight the limit is halved."""
HISTORY_MAX = 100


class Ended(NamedTuple):
    """What became of attempts that had started under a window. Durations are in milliseconds."""

    finished_ms: Sequence[int] = ()
    """How long those took that were not throttled and did not time out, whether they succeeded or failed."""
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


class WindowView(NamedTuple):
    """A window, for people."""

    limit: int
    in_flight: int
    floor: int
    ceiling: int
    frozen: int | None
    round_trip_ms: int
    reason: Reason
    changes: tuple[Change, ...]


class Window:
    """How many tasks may be in flight to one downstream."""

    __slots__ = (
        "_aimd",
        "_begun_ms",
        "_closed_until_ms",
        "_durations",
        "_frozen",
        "_full",
        "_idle_ms",
        "_now_ms",
        "_open_at_first",
        "_opened",
        "_places",
        "_shrunk_ms",
        "_wishes",
        "gate",
        "history",
        "round_trip_ms",
    )

    def __init__(self, gate: str, now_ms: int, ceiling: int = CEILING) -> None:
        """`gate`: what users know it by, e.g. `downstream.window`."""
        self.gate = gate
        self.round_trip_ms = PERIOD_MIN_MS
        self.history: deque[Change] = deque([Change(now_ms, FLOOR, Why.NEW)], HISTORY_MAX)
        self._aimd = Aimd(ceiling)
        self._places = Places()
        self._wishes = Wishes()
        self._durations: deque[int] = deque(maxlen=DURATIONS_MAX)
        self._frozen: int | None = None
        """The limit while an operator has set it."""
        self._opened = FLOOR
        """Places that are open, of the limit."""
        self._open_at_first = FLOOR
        """When the period began."""
        self._full = False
        """Whether no place was free at some time in this period."""
        self._now_ms = now_ms
        self._begun_ms = now_ms
        """When the period began."""
        self._shrunk_ms = now_ms
        self._idle_ms = now_ms
        """Since when nothing is in flight, or the limit was halved for it."""
        self._closed_until_ms = now_ms

    @property
    def limit(self) -> int:
        """Places: for tasks in flight, and those that throttled attempts keep."""
        return int(self._aimd.limit) if self._frozen is None else self._frozen

    @property
    def in_flight(self) -> int:
        return self._places.in_flight

    @property
    def open(self) -> int:
        """How much of the limit is open."""
        return min(self.limit, self._opened) if self._frozen is None else self._frozen

    def room(self, now_ms: int) -> int:
        self._pass_time(now_ms)
        return 0 if self._must_wait else max(0, self.open - self._places.taken)

    def opens_ms(self, now_ms: int) -> int | None:
        self._pass_time(now_ms)
        free_ms = self._places.frees_ms(self._places.taken - self.open + 1, now_ms)
        return max(free_ms, self._closed_until_ms) if free_ms is not None and self._must_wait else free_ms

    def reason(self, now_ms: int) -> Reason:
        opens_ms = self.opens_ms(now_ms)
        cause = "frozen" if self._frozen is not None else "retry_after" if self._must_wait else ""
        return Reason(self.gate, self.open, self._places.taken, opens_ms, cause=cause)

    def started(self, tasks: int, now_ms: int) -> None:
        """So many more are in flight; also those that are found so after a restart, be there room for them or not."""
        self._pass_time(now_ms)
        unused = not (self._places.taken or self._aimd.attempts)
        if unused and now_ms - self._idle_ms >= self._period_ms:
            self._begin_period(now_ms)
        self._places.in_flight += tasks
        self._full = self._full or self._places.taken >= self.open

    def ended(self, batch: Ended, now_ms: int) -> None:
        """These are in flight no more, and the window has learnt from what became of them."""
        self._pass_time(now_ms)
        throttled, others = len(batch.throttled_ms), len(batch.finished_ms) + len(batch.timed_out_ms)
        self._places.in_flight -= throttled + others + batch.silent
        assert self.in_flight >= 0, f"{self.gate}: more have ended than had started"
        self._places.keep(throttled, now_ms, self.round_trip_ms)
        if not self.in_flight:
            self._idle_ms = now_ms
        self._durations.extend(batch.finished_ms)
        self._wishes.hear(others, [wish_ms for _, wish_ms in batch.throttled_ms], now_ms)
        wait_until_ms = self._wishes.wait_until_ms(self.in_flight, now_ms)
        self._count(batch, now_ms)
        if now_ms - self._begun_ms >= self._period_ms and self._aimd.attempts:
            self._end_period(now_ms)
        self._opened = min(self._opened + len(batch.finished_ms), self.limit)
        self._close(wait_until_ms, now_ms)

    def freeze(self, limit: int | None, now_ms: int) -> None:
        """The limit is this, whatever happens, and no `retry_after` closes the window; None: from here on it finds its own again."""
        self._pass_time(now_ms)
        if limit == self._frozen:
            return
        if limit is None and self._frozen is not None:
            self._aimd.put(self._frozen)
            self._opened = self._frozen
        self._frozen = limit
        self._note(now_ms, Why.THAWED if limit is None else Why.FROZEN)

    def bound(self, ceiling: int, now_ms: int) -> None:
        """It never finds a limit above the ceiling."""
        self._pass_time(now_ms)
        self._aimd.bound(ceiling)
        self._note(now_ms, Why.CEILING)

    def view(self, now_ms: int) -> WindowView:
        """How it is now, for people. Changes nothing."""
        return deepcopy(self)._shown(now_ms)  # noqa: SLF001 - of a window like this one

    def _shown(self, now_ms: int) -> WindowView:
        reason, aimd = self.reason(now_ms), self._aimd
        changes = tuple(self.history)
        return WindowView(
            self.limit, self.in_flight, FLOOR, aimd.ceiling, self._frozen, self.round_trip_ms, reason, changes
        )

    @property
    def _must_wait(self) -> bool:
        return self._frozen is None and self._now_ms < self._closed_until_ms

    @property
    def _period_ms(self) -> int:
        return max(PERIOD_MIN_MS, self.round_trip_ms)

    def _pass_time(self, now_ms: int) -> None:
        """It is `now_ms`, and what comes true by the clock alone is true."""
        if now_ms < self._now_ms:
            self._put_back(self._now_ms - now_ms)
        self._places.pass_time(self._now_ms, now_ms)
        self._now_ms = now_ms
        halvings = 0 if self.in_flight else (now_ms - self._idle_ms) // IDLE_MS
        if halvings:
            self._idle_ms += halvings * IDLE_MS
            self._aimd.idle(halvings)
            self._note(now_ms, Why.IDLE)

    def _put_back(self, by_ms: int) -> None:
        """The clock was put back: what was so long ago, or is to come in so long, still is."""
        self._now_ms -= by_ms
        self._begun_ms -= by_ms
        self._shrunk_ms -= by_ms
        self._idle_ms -= by_ms
        self._closed_until_ms -= by_ms
        self._places.put_back(by_ms)
        self._wishes.put_back(by_ms)

    def _close(self, until_ms: int, now_ms: int) -> None:
        """Nothing starts before then; what was asked for has been granted, and says nothing about who asks afterwards."""
        if until_ms <= now_ms or self._frozen is not None:
            return
        self._closed_until_ms = max(self._closed_until_ms, until_ms)
        self._opened = FLOOR
        self._wishes.forget()
        if self.history[-1].why is not Why.TOLD:
            self.history.append(Change(now_ms, self.limit, Why.TOLD))

    def _count(self, batch: Ended, now_ms: int) -> None:
        """Errors count that started since the limit was shrunk; what finished counts in any case, for as much of it is yet to come."""
        took_ms = [*batch.timed_out_ms, *(took for took, _ in batch.throttled_ms)]
        congested = sum(now_ms - took >= self._shrunk_ms for took in took_ms)
        self._aimd.attempts += len(batch.finished_ms) + congested
        self._aimd.congested += congested

    def _end_period(self, now_ms: int) -> None:
        wanted = self._full and 2 * self._places.busy_ms >= self._open_at_first * (now_ms - self._begun_ms)
        if self._durations:
            self.round_trip_ms = max(1, sum(self._durations) // len(self._durations))
        self._aimd.opened = self.open
        if self._frozen is not None:
            self._aimd.forget()
        elif (why := self._aimd.end_period(wanted=wanted)) is not None:
            self._note(now_ms, why)
            if why is Why.CONGESTED:
                self._shrunk_ms = now_ms
        self._begin_period(now_ms)

    def _begin_period(self, now_ms: int) -> None:
        self._begun_ms = now_ms
        self._places.busy_ms = 0
        self._full = self._places.taken >= self.open
        self._open_at_first = self.open
        self._wishes.forget()

    def _note(self, now_ms: int, why: Why) -> None:
        if self.limit != self.history[-1].limit or why in {Why.FROZEN, Why.THAWED}:
            self.history.append(Change(now_ms, self.limit, why))
