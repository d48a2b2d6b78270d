"""Schedules: tasks that are made again and again, at times that a cron expression or an interval says.

    ScheduleSet --ScheduleFired--> ... --ScheduleFired--> ScheduleRemoved

A time that is due is called by what the expression says (its *nominal* time), however late it is dealt with. Its task has an
id made of the schedule's and of that time: so there is one task for each, whoever makes it and however often it is tried.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple, NewType

from msgspec import Struct

from taskservice.core.types import NewTask, TaskId, TenantId

ScheduleId = NewType("ScheduleId", str)
"""What users call a schedule; unique within its tenant."""


class ScheduleKey(NamedTuple):
    """A schedule among those of all tenants."""

    tenant: TenantId
    id: ScheduleId


class Overlap(StrEnum):
    """What happens when a time is due while the schedule's last task has not ended."""

    ALLOW = "allow"
    """There is one more task."""
    SKIP = "skip"
    """The time is skipped."""
    QUEUE_ONE = "queue_one"
    """One time waits until the task has ended; those that come while it waits are skipped."""


class CatchUp(StrEnum):
    """What happens to times that passed while nobody could deal with them."""

    SKIP = "skip"
    """They are skipped; but the last of them is not, if it passed no longer than `schedule_grace_ms` ago."""
    ONE = "one"
    """The last of them is dealt with, the others are skipped."""
    ALL = "all"
    """The last `schedule_catchup_max` are dealt with, in their order; any before them are skipped."""


class ScheduleSpec(Struct, frozen=True, array_like=True):
    """What a user says of a schedule. A field is added at the end with a default, never removed or moved."""

    task: NewTask
    """What its tasks are like. Their ids are made, and they are due at once, whatever it says of that."""
    cron: str | None = None
    """Minute, hour, day of month, month, day of week; or there is an interval."""
    zone: str = "UTC"
    """The time zone that `cron` is in, by its IANA name."""
    interval_ms: int | None = None
    anchor_ms: int | None = None
    """A time that the intervals are counted from, forwards and backwards. None: `starts_ms`, or when it was made."""
    overlap: Overlap = Overlap.ALLOW
    catch_up: CatchUp = CatchUp.ONE
    jitter_ms: int = 0
    """Each time is dealt with up to so much later; how much follows from the schedule and the time."""
    paused: bool = False
    starts_ms: int | None = None
    """There is no time before this."""
    ends_ms: int | None = None
    """There is no time at this or after it."""


class Schedule(Struct, frozen=True, array_like=True):
    """A schedule as it is set. A field is added at the end with a default, never removed or moved."""

    id: ScheduleId
    tenant: TenantId
    spec: ScheduleSpec
    created_ms: int
    version: int = 1
    """One more with each change."""

    @property
    def key(self) -> ScheduleKey:
        return ScheduleKey(self.tenant, self.id)

    def jitter_of(self, nominal_ms: int) -> int:
        """How much later than it says a time is dealt with: evenly spread over `jitter_ms`, and always the same."""
        if not self.spec.jitter_ms:
            return 0
        digest = blake2b(f"{self.tenant}/{self.id}@{nominal_ms}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % (self.spec.jitter_ms + 1)

    def fires_ms(self, nominal_ms: int) -> int:
        """When a time is dealt with, at the earliest."""
        return nominal_ms + self.jitter_of(nominal_ms)


class Skipped(Struct, frozen=True, array_like=True):
    """How many times came to no task, by the reason."""

    late: int = 0
    """They had passed, and the catch-up policy skips them."""
    overlap: int = 0
    """The last task had not ended."""
    refused: int = 0
    """There was no room for the task, or it could not be accepted for another reason, and it is not tried again."""


class FireError(Struct, frozen=True, array_like=True):
    """Why a task could not be accepted."""

    at_ms: int
    nominal_ms: int
    reason: str
    """A `Refusal`."""
    message: str


class Progress(Struct, frozen=True, array_like=True):
    """How far a schedule has come. A field is added at the end with a default, never removed or moved."""

    next_ms: int | None = None
    """The first time that has not been dealt with; None: there is none, or the schedule is paused. It is on record, so a newer
    edition of the zones' rules counts from the time after it."""
    fired: int = 0
    """Times that came to a task."""
    skipped: Skipped = Skipped()
    last_ms: int | None = None
    """The last time that came to a task."""
    last_fired_ms: int | None = None
    """When it did."""
    last_task: TaskId | None = None
    waiting_ms: int | None = None
    """A time that waits until the last task has ended."""
    retry_ms: int | None = None
    """A task was refused, and is tried again then."""
    error: FireError | None = None
    """Why a task was refused the last time; None once one has been accepted after that."""


class ScheduleState(Struct, frozen=True, array_like=True):
    """A schedule, and how far it has come."""

    schedule: Schedule
    progress: Progress
