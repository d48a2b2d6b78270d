"""Records of schedules. Part of `records`, and under its rules."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.schedules import Progress, Schedule, ScheduleId, ScheduleKey
from taskservice.core.types import TenantId


class ScheduleSet(Struct, frozen=True, array_like=True, tag="schedule"):
    """There is such a schedule, or it is like that now."""

    at_ms: int
    schedule: Schedule
    progress: Progress


class ScheduleRemoved(Struct, frozen=True, array_like=True, tag="schedule_removed"):
    """There is no such schedule any more. The tasks that it made go on."""

    at_ms: int
    tenant: TenantId
    id: ScheduleId

    @property
    def key(self) -> ScheduleKey:
        return ScheduleKey(self.tenant, self.id)


class ScheduleFired(Struct, frozen=True, array_like=True, tag="schedule_fired"):
    """The schedule has come so far. The tasks that it has made on the way were accepted in a record of the same segment."""

    at_ms: int
    tenant: TenantId
    id: ScheduleId
    progress: Progress

    @property
    def key(self) -> ScheduleKey:
        return ScheduleKey(self.tenant, self.id)
