"""The gate before the off-peak lanes: it is open in off-peak hours, and while the pool is idle.

The pool is idle for a task if of everything that the task takes, others have used less than a part of what there is
(`off_peak_idle_ratio`), for a while (`off_peak_idle_s`). Then off-peak tasks start for as long as that part is not in use
altogether. So others find the rest of the pool free; where there is no rest, because the pool is small, they wait for the tasks
that run to end, and for no more: the gate closes as soon as others come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from taskservice.core.flow.gate import ROOM_MAX, Reason
from taskservice.core.flow.quota import OFF_PEAK, Usage
from taskservice.core.limits import Limits
from taskservice.core.off_peak import Hours

NAME = "off_peak"

PASSING_MAX = 1_000
"""Queues that are let go at once when the gate opens, however many wait: the next ones follow as these are served."""


@dataclass(slots=True)
class OffPeak:
    """When off-peak tasks may start. Volatile: after a restart the pool has to be idle for a while again."""

    limits: Limits
    usage: Usage
    hours: Hours = field(init=False)
    _capacity: Mapping[str, int] = field(default_factory=dict)
    _idle_since_ms: dict[str, int] = field(default_factory=dict)
    """Since when others have used little enough of each resource; it is not in there if they use more."""

    def __post_init__(self) -> None:
        self.hours = Hours(self.limits.off_peak_windows)

    @property
    def limited(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.hours) or self.limits.off_peak_idle_ratio > 0

    def look(self, capacity: Mapping[str, int], now_ms: int) -> bool:
        """It is known what the pool has and how much of it is in use; gives whether more may be open than before, or will be."""
        idle = [kind for kind, total in capacity.items() if self._others(kind) < self._bound(kind, total)]
        news = capacity != self._capacity or any(kind not in self._idle_since_ms for kind in idle)
        self._capacity = capacity
        self._idle_since_ms = {kind: min(now_ms, self._idle_since_ms.get(kind, now_ms)) for kind in idle}
        return news

    def idle_ms(self, need: Iterable[str]) -> int | None:
        """When the pool has been idle for long enough, in all of these resources; None: others use too much of it."""
        wait_ms = int(self.limits.off_peak_idle_s * 1000)
        since = [self._idle_since_ms.get(kind) for kind in need]
        known = [since_ms for since_ms in since if since_ms is not None]
        return None if len(known) < len(since) else max(known, default=0) + wait_ms

    def spare(self, need: Iterable[str]) -> bool:
        """Whether less of these resources is in use than may be while the pool counts as idle."""
        return all(self.usage.used_by_all(kind) < self._bound(kind, self._capacity.get(kind, 0)) for kind in need)

    def in_use_ratio(self, need: Iterable[str]) -> float:
        """How much is in use of the one of these resources of which most is."""
        shares = [self.usage.used_by_all(kind) / total for kind in need if (total := self._capacity.get(kind))]
        return max(shares, default=0.0)

    def _others(self, kind: str) -> int:
        return self.usage.used_by_all(kind) - self.usage.used(OFF_PEAK).get(kind, 0)

    def _bound(self, kind: str, total: int) -> float:
        return self.limits.off_peak_idle_ratio * total


@dataclass(frozen=True, slots=True)
class OffPeakGate:
    """The gate for tasks that take certain resources."""

    off_peak: OffPeak
    need: tuple[str, ...]

    def room(self, now_ms: int) -> int:
        """See `Gate`. A lease may have any number of tasks: they run one after the other."""
        if not self.off_peak.limited:
            return ROOM_MAX
        return PASSING_MAX if self.off_peak.hours.is_open(now_ms) or self._idle(now_ms) else 0

    def opens_ms(self, now_ms: int) -> int | None:
        """When the next window opens, or the pool has been idle for long enough, whichever comes first."""
        if self.room(now_ms):
            return now_ms
        moments = (self.off_peak.hours.changes_ms(now_ms), self.off_peak.idle_ms(self.need))
        return min((moment for moment in moments if moment is not None and moment > now_ms), default=None)

    def reason(self, now_ms: int) -> Reason:
        """How it stands, in hundredths of the pool."""
        bound = int(100 * self.off_peak.limits.off_peak_idle_ratio)
        used = int(100 * self.off_peak.in_use_ratio(self.need))
        return Reason(NAME, bound, used, self.opens_ms(now_ms), cause="hours" if self.off_peak.hours else "idle")

    def _idle(self, now_ms: int) -> bool:
        idle_ms = self.off_peak.idle_ms(self.need)
        return idle_ms is not None and idle_ms <= now_ms and self.off_peak.spare(self.need)
