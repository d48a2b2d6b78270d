"""What due schedules lead to: tasks, times that are skipped or wait, and how far each schedule has come then.

    a time is due -> does it still count? (catch-up) -> has the last task ended? (overlap) -> the task is accepted, or refused

A turn deals with a bounded number of times; what is left has its turn next. The tasks' record comes before those that say how
far the schedules have come: whoever reads a part of them finds the tasks known, and does not make them again.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from taskservice.core.admit import Admission, find
from taskservice.core.effects import ItemStatus, Refusal
from taskservice.core.limits import Limits
from taskservice.core.records import Record, TasksAccepted
from taskservice.core.recurrence import BadTiming, passed, task_id
from taskservice.core.schedule_records import ScheduleFired
from taskservice.core.schedules import (
    CatchUp,
    FireError,
    Overlap,
    Progress,
    Schedule,
    ScheduleState,
)
from taskservice.core.state import State
from taskservice.core.types import NewTask, Task, TaskId, TenantId

TAG = "schedule"
"""The tag of a schedule's tasks that names it, unless it has such a tag itself."""

PLAN_STEPS = 3
"""A schedule's turn takes about as long as making so many waiting tasks ready, beside the times that are looked at."""

TURN_BYTES = 4 * 1024 * 1024
"""Payloads of the tasks of one turn; the last schedule of the turn may go beyond it."""


class _Plan(NamedTuple):
    """What a schedule's turn is about."""

    schedule: Schedule
    progress: Progress
    """As far as the times go: what becomes of those that count is to be seen."""
    times: tuple[int, ...] = ()
    """Those that count."""
    looked_at: int = 0
    """Times that were looked at to find them."""

    @property
    def ids(self) -> list[TaskId]:
        """The tasks that may be made, and the last one that was."""
        last, waiting_ms = self.progress.last_task, self.progress.waiting_ms
        times = self.times if waiting_ms is None else (waiting_ms, *self.times)
        return [*([] if last is None else [last]), *(task_id(self.schedule.id, nominal_ms) for nominal_ms in times)]


def fire(state: State, now_ms: int) -> tuple[Record, ...]:
    """The tasks of the schedules whose turn has come, and how far these schedules have come then."""
    plans = _plans(state, now_ms)
    ids: dict[TenantId, list[TaskId]] = {}
    for plan in plans:
        ids.setdefault(plan.schedule.tenant, []).extend(plan.ids)
    accepted: list[Task] = []
    admissions = {
        tenant: Admission(state, state.tenants[tenant], find(state, state.tenants[tenant], of_tenant), accepted, now_ms)
        for tenant, of_tenant in ids.items()
    }
    fired = tuple(
        ScheduleFired(
            now_ms,
            plan.schedule.tenant,
            plan.schedule.id,
            _Turn(plan.schedule, admissions[plan.schedule.tenant], state.limits, now_ms).come_of(plan),
        )
        for plan in plans
    )
    return (TasksAccepted(now_ms, tuple(accepted)), *fired) if accepted else fired


def _plans(state: State, now_ms: int) -> list[_Plan]:
    plans: list[_Plan] = []
    steps_left, bytes_left = state.limits.due_batch_max, TURN_BYTES
    for known in state.schedules.due(now_ms):
        plan = _plan(known, state.limits, now_ms)
        plans.append(plan)
        steps_left -= PLAN_STEPS + plan.looked_at
        bytes_left -= len(plan.schedule.spec.task.payload) * len(plan.times)
        if steps_left <= 0 or bytes_left <= 0:
            break
    return plans


def _plan(known: ScheduleState, limits: Limits, now_ms: int) -> _Plan:
    """Which of the times that have passed count, by the catch-up policy."""
    schedule, progress = known.schedule, replace(known.progress, retry_ms=None)
    first_ms, policy = progress.next_ms, schedule.spec.catch_up
    if first_ms is None or schedule.fires_ms(first_ms) > now_ms:
        return _Plan(schedule, progress)
    try:
        found = passed(schedule, first_ms, now_ms, limits.schedule_catchup_max if policy is CatchUp.ALL else 1)
    except BadTiming as why:  # it was good when it was set: the zone has gone
        error = FireError(now_ms, first_ms, why.refusal, why.message)
        return _Plan(schedule, replace(progress, next_ms=None, error=error))
    if not found.complete and policy is CatchUp.ALL:
        return _Plan(schedule, _came_to(progress, found.times[0], found.dropped), looked_at=found.steps)
    too_late = policy is CatchUp.SKIP and now_ms - schedule.fires_ms(found.times[-1]) > limits.schedule_grace_ms
    if not found.complete or too_late:
        return _Plan(schedule, _came_to(progress, found.next_ms, found.dropped + 1), looked_at=found.steps)
    return _Plan(schedule, _came_to(progress, found.next_ms, found.dropped), found.times, found.steps)


def _came_to(progress: Progress, next_ms: int | None, late: int) -> Progress:
    skipped = progress.skipped
    return replace(progress, next_ms=next_ms, skipped=replace(skipped, late=skipped.late + late))


class _Turn(NamedTuple):
    """The turn of one schedule."""

    schedule: Schedule
    admission: Admission
    limits: Limits
    now_ms: int

    def come_of(self, plan: _Plan) -> Progress:
        """How far the schedule has come, after what waits and the times that count have been dealt with."""
        progress = plan.progress
        waiting_ms = progress.waiting_ms
        if waiting_ms is not None and not self.admission.unfinished(progress.last_task):
            progress = self._offer(replace(progress, waiting_ms=None), waiting_ms, waited=True)
        for nominal_ms in plan.times:
            progress = self._deal_with(progress, nominal_ms)
            if progress.next_ms == nominal_ms:
                break  # it is tried again, and those after it in their order
        return progress

    def _deal_with(self, progress: Progress, nominal_ms: int) -> Progress:
        policy = self.schedule.spec.overlap
        occupied = progress.waiting_ms is not None or self.admission.unfinished(progress.last_task)
        if policy is Overlap.ALLOW or not occupied:
            return self._offer(progress, nominal_ms, waited=False)
        if policy is Overlap.QUEUE_ONE and progress.waiting_ms is None:
            return replace(progress, waiting_ms=nominal_ms)
        return replace(progress, skipped=replace(progress.skipped, overlap=progress.skipped.overlap + 1))

    def _offer(self, progress: Progress, nominal_ms: int, *, waited: bool) -> Progress:
        """The time has come to a task; or it is tried again, or skipped, and the progress says why."""
        item = self.admission.take(_task_at(self.schedule, nominal_ms))
        if item.status is not ItemStatus.REFUSED:
            return replace(
                progress,
                fired=progress.fired + 1,
                last_ms=nominal_ms,
                last_fired_ms=self.now_ms,
                last_task=item.id,
                error=None,
            )
        reason = item.refusal or Refusal.CONFLICT
        progress = replace(progress, error=FireError(self.now_ms, nominal_ms, reason, item.message))
        if self.schedule.spec.catch_up is CatchUp.SKIP or reason is Refusal.CONFLICT:
            return replace(progress, skipped=replace(progress.skipped, refused=progress.skipped.refused + 1))
        retry_ms = self.now_ms + self.limits.schedule_retry_ms
        if waited:
            return replace(progress, waiting_ms=nominal_ms, retry_ms=retry_ms)
        return replace(progress, next_ms=nominal_ms, retry_ms=retry_ms)


def _task_at(schedule: Schedule, nominal_ms: int) -> NewTask:
    """The task for a time."""
    task = schedule.spec.task
    tags = task.tags
    if not any(name == TAG for name, _ in tags):
        tags = tuple(sorted((*tags, (TAG, schedule.id))))
    return replace(task, id=task_id(schedule.id, nominal_ms), tags=tags, run_at_ms=None, delay_ms=None)
