"""All schedules of a shard, and which of them is next: a heap, so that thousands that wait cost nothing."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from taskservice.core.schedules import Progress, Schedule, ScheduleId, ScheduleKey, ScheduleState
from taskservice.core.types import TaskId, TenantId

AT_ONCE_MS = 0
"""The turn of a schedule whose waiting time waits no longer."""

_STALE_MIN = 100
"""So many entries of the heap that are not true any more are not worth making it anew."""


@dataclass(slots=True)
class Timetable:
    """The schedules by tenant, in the order in which they were first set."""

    by_tenant: dict[TenantId, dict[ScheduleId, ScheduleState]] = field(default_factory=dict)

    # What follows from them, and from the table.
    turns: dict[ScheduleKey, int] = field(default_factory=dict)
    """When each schedule is to be looked at that is waiting for the clock."""
    watched: dict[tuple[TenantId, TaskId], ScheduleKey] = field(default_factory=dict)
    """Tasks with whose end a waiting time waits no longer."""
    _heap: list[tuple[int, ScheduleKey]] = field(default_factory=list)
    """Those of `turns`, and entries that are not true any more; never one of these in the first place."""

    def find(self, key: ScheduleKey) -> ScheduleState | None:
        """The schedule of that name."""
        return self.by_tenant.get(key.tenant, {}).get(key.id)

    def of(self, tenant: TenantId | None) -> Iterator[ScheduleState]:
        """The tenant's schedules, or all."""
        groups: Iterable[dict[ScheduleId, ScheduleState]] = (
            self.by_tenant.values() if tenant is None else [self.by_tenant.get(tenant, {})]
        )
        return (each for group in groups for each in group.values())

    def put(self, schedule: Schedule, progress: Progress, *, watch: bool) -> None:
        """The schedule is like that now. `watch`: its last task has not ended, and a time waits for that."""
        key = schedule.key
        self._forget(key)
        self.by_tenant.setdefault(key.tenant, {})[key.id] = ScheduleState(schedule, progress)
        if watch and progress.last_task is not None:
            self.watched[key.tenant, progress.last_task] = key
        turn_ms = _turn_ms(schedule, progress, watch=watch)
        if turn_ms is not None:
            self._plan(key, turn_ms)
        self._tidy()

    def remove(self, key: ScheduleKey) -> None:
        """There is no such schedule any more."""
        self._forget(key)
        group = self.by_tenant[key.tenant]
        del group[key.id]
        if not group:
            del self.by_tenant[key.tenant]
        self._tidy()

    def ended(self, tasks: Iterable[tuple[TenantId, TaskId]]) -> None:
        """These tasks have ended: what waited for one of them waits no longer."""
        for task in tasks:
            key = self.watched.pop(task, None)
            if key is not None:
                self._plan(key, AT_ONCE_MS)
        self._tidy()

    def next_ms(self) -> int | None:
        """When the next schedule is to be looked at; None if none waits for the clock."""
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> Iterator[ScheduleState]:
        """The schedules whose turn has come, the one that waits for the longest first. Changes nothing."""
        heap = self._heap
        front = [(heap[0], 0)] if heap else []
        before = None
        while front:
            entry, place = heapq.heappop(front)
            turn_ms, key = entry
            if turn_ms > now_ms:
                return
            for child in (2 * place + 1, 2 * place + 2):
                if child < len(heap):
                    heapq.heappush(front, (heap[child], child))
            if self.turns.get(key) == turn_ms and entry != before:
                before = entry
                yield self.by_tenant[key.tenant][key.id]

    def _plan(self, key: ScheduleKey, turn_ms: int) -> None:
        self.turns[key] = turn_ms
        heapq.heappush(self._heap, (turn_ms, key))

    def _forget(self, key: ScheduleKey) -> None:
        self.turns.pop(key, None)
        known = self.find(key)
        if known is not None and known.progress.last_task is not None:
            self.watched.pop((key.tenant, known.progress.last_task), None)

    def _tidy(self) -> None:
        heap = self._heap
        if len(heap) > 2 * len(self.turns) + _STALE_MIN:
            heap[:] = [(turn_ms, key) for key, turn_ms in self.turns.items()]
            heapq.heapify(heap)
        while heap and self.turns.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)


def _turn_ms(schedule: Schedule, progress: Progress, *, watch: bool) -> int | None:
    """When the schedule is to be looked at next; None if that is not for the clock to say."""
    turns = []
    if progress.next_ms is not None:
        turns.append(max(schedule.fires_ms(progress.next_ms), progress.retry_ms or 0))
    if progress.waiting_ms is not None and not watch:
        turns.append(progress.retry_ms or AT_ONCE_MS)
    return min(turns, default=None)
