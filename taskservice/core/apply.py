"""What a record makes true. The only place where durable state changes, alive and in recovery alike.

`apply` never chooses: all that there was to choose is in the record. It gives the effects, each with the segment that
must be durable before it may leave the shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TypeVar, cast

from taskservice.core import (
    bulk_apply,
    callbacks_apply,
    catalog_apply,
    change_apply,
    closing,
    deploys_apply,
    orders_apply,
    schedules_apply,
    triggers_apply,
)
from taskservice.core import callback_records as cr
from taskservice.core import records as r
from taskservice.core.checkpoints import CheckpointsSaved
from taskservice.core.deploying import RolloutSet, VersionAdded, VersionsForgotten
from taskservice.core.effects import Deleted, Ended, Held, Launch
from taskservice.core.lease import launch_spec
from taskservice.core.meters import Owner
from taskservice.core.orders import OrdersGiven, TasksPreempted, TasksStopped
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.queues import HeadEntry
from taskservice.core.schedule_records import ScheduleFired, ScheduleRemoved, ScheduleSet
from taskservice.core.state import State, lease_of
from taskservice.core.table import QueueKey
from taskservice.core.trigger_records import TriggerRemoved, TriggerSet
from taskservice.core.types import Leaf, Task, TaskState, TenantId

R = TypeVar("R", bound=r.Record)


class Move(StrEnum):
    """The ways in which a task changes its state: one for each kind of record that says so."""

    DUE = "due"
    LEASE = "lease"
    SUCCEED = "succeed"
    RETRY = "retry"
    FAIL = "fail"
    HAND_BACK = "hand_back"
    PREEMPT = "preempt"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RESUME_SCHEDULED = "resume_scheduled"
    RESUME_RETRYING = "resume_retrying"
    EXPIRE = "expire"
    PRESS = "press"
    RERUN = "rerun"


BORN = (TaskState.SCHEDULED, TaskState.QUEUED)
"""The states in which a task may be accepted."""

TRANSITIONS: dict[tuple[TaskState, Move], TaskState] = {
    (TaskState.SCHEDULED, Move.DUE): TaskState.QUEUED,
    (TaskState.RETRYING, Move.DUE): TaskState.QUEUED,
    (TaskState.QUEUED, Move.LEASE): TaskState.RUNNING,
    (TaskState.RUNNING, Move.SUCCEED): TaskState.SUCCEEDED,
    (TaskState.RUNNING, Move.RETRY): TaskState.RETRYING,
    (TaskState.RUNNING, Move.FAIL): TaskState.FAILED,
    (TaskState.RUNNING, Move.HAND_BACK): TaskState.QUEUED,
    (TaskState.RUNNING, Move.PREEMPT): TaskState.QUEUED,
    (TaskState.SCHEDULED, Move.CANCEL): TaskState.CANCELLED,
    (TaskState.QUEUED, Move.CANCEL): TaskState.CANCELLED,
    (TaskState.RETRYING, Move.CANCEL): TaskState.CANCELLED,
    (TaskState.PAUSED, Move.CANCEL): TaskState.CANCELLED,
    (TaskState.RUNNING, Move.CANCEL): TaskState.CANCELLED,
    (TaskState.SCHEDULED, Move.PAUSE): TaskState.PAUSED,
    (TaskState.QUEUED, Move.PAUSE): TaskState.PAUSED,
    (TaskState.RETRYING, Move.PAUSE): TaskState.PAUSED,
    (TaskState.PAUSED, Move.RESUME): TaskState.QUEUED,
    (TaskState.PAUSED, Move.RESUME_SCHEDULED): TaskState.SCHEDULED,
    (TaskState.PAUSED, Move.RESUME_RETRYING): TaskState.RETRYING,
    (TaskState.SCHEDULED, Move.EXPIRE): TaskState.EXPIRED,
    (TaskState.QUEUED, Move.EXPIRE): TaskState.EXPIRED,
    (TaskState.PAUSED, Move.EXPIRE): TaskState.EXPIRED,
    (TaskState.QUEUED, Move.PRESS): TaskState.QUEUED,
    (TaskState.SUCCEEDED, Move.RERUN): TaskState.QUEUED,
    (TaskState.FAILED, Move.RERUN): TaskState.QUEUED,
    (TaskState.CANCELLED, Move.RERUN): TaskState.QUEUED,
    (TaskState.EXPIRED, Move.RERUN): TaskState.QUEUED,
}
"""Every move that there is. The table refuses any other (`IllegalMove`)."""


def apply(state: State, record: r.Record) -> list[Held]:
    """The record is true; gives what the world may see of it once it is durable."""
    held = _APPLY[type(record)](state, record)
    if state.schedules.watched:
        for _, effect in held:
            if isinstance(effect, Ended | Deleted):
                state.schedules.ended(effect.tasks)
    return held


def _epoch_opened(state: State, record: r.EpochOpened) -> list[Held]:
    state.epoch = record.epoch
    state.next_lease = 1
    return []


def _accepted(state: State, record: r.TasksAccepted) -> list[Held]:
    state.table.insert(record.tasks)
    counts: dict[Owner, int] = {}
    for task in record.tasks:
        owner = task.tenant, task.function
        counts[owner] = counts.get(owner, 0) + 1
    for (tenant, _), count in counts.items():
        _bump(state.unfinished, tenant, count)
    state.meters.accepted(counts.items())
    for task in record.tasks:
        if task.state is TaskState.QUEUED:
            _enqueue(state, task.leaf, QueueKey(task.due_ms, task.no, task.expires_ms), len(task.payload))
    state.next_no = max(state.next_no, record.tasks[-1].no + 1)
    return []


def _due(state: State, record: r.TasksDue) -> list[Held]:
    state.table.make_due(record.nos)
    for task in state.table.load(record.nos):
        _enqueue(state, task.leaf, QueueKey(task.due_ms, task.no, task.expires_ms), len(task.payload))
    return []


def _granted(state: State, record: r.LeaseGranted) -> list[Held]:
    tasks = state.table.lease(record.nos, record.token, record.runner, record.at_ms, record.version)
    entries = state.queue(record.leaf).remove(record.nos, _payload_bytes(tasks), state.table, state.segment)
    state.emptied(record.leaf)
    state.leases[record.token] = lease_of(record.token, record.runner, record.leaf, tasks, record.version)
    state.next_lease = record.token.seq + 1
    state.running.change(record.leaf, len(tasks))
    function = state.function_of(record.leaf, record.version)
    checkpoints, apart = state.table.checkpoints.of(record.nos), len(state.tenants) > 1
    spec = launch_spec(record.token, record.leaf, function, tasks, state.limits, checkpoints, apart=apart)
    return [(_safe_after(state, tasks, entries), Launch(record.runner, spec))]


def _safe_after(state: State, tasks: Sequence[Task], entries: Sequence[HeadEntry]) -> int:
    """The segment after which these tasks may be launched.

    Ordinarily the one that made the newest of them ready: the lease itself may become durable later, for were it lost,
    the tasks would only run again. But a task that may have brought a process of ours down must have its attempt on
    record first, or it could do so for ever.
    """
    if len(entries) < len(tasks):
        return state.segment  # the others were not in the head, so nobody knows when they were made ready
    for task in tasks:
        if task.crashes or task.losses or task.no < state.recovered_no:
            return state.segment
    return max([entry.segment for entry in entries], default=state.segment)


def _succeeded(state: State, record: r.TasksSucceeded) -> list[Held]:
    nos = [row[0] for row in record.rows]
    state.table.succeed(record.rows, record.token, record.at_ms, record.log)
    held = closing.ended(state, record, nos, TaskState.SUCCEEDED)
    keys = state.table.checkpoints.drop(nos)
    return held + change_apply.drop_values(state, keys) if keys else held


def _failed(state: State, record: r.TasksFailed) -> list[Held]:
    state.table.fail(record.rows, record.token, record.at_ms)
    state.meters.died(state.leases[record.token].leaf, [row.error.reason for row in record.rows])
    return closing.ended(state, record, [row.no for row in record.rows], TaskState.FAILED)


def _stopped(state: State, record: TasksStopped) -> list[Held]:
    state.table.cancel(record.nos, record.token, record.at_ms, record.log)
    return closing.ended(state, record, record.nos, TaskState.CANCELLED)


def _retrying(state: State, record: r.TasksRetrying) -> list[Held]:
    state.table.retry(record.rows, record.token)
    closing.close(state, state.leases[record.token], [row.no for row in record.rows])
    return []


def _checkpointed(state: State, record: CheckpointsSaved) -> list[Held]:
    return change_apply.drop_values(state, state.table.checkpoints.save(record.rows, record.token))


def _handed_back(state: State, record: r.TasksHandedBack | TasksPreempted) -> list[Held]:
    stopped, lease = isinstance(record, TasksPreempted), state.leases[record.token]
    (state.table.preempt if stopped else state.table.hand_back)(record.nos, record.token, record.log)
    for no in record.nos:
        attempt = lease.open[no]
        expires_ms = None if stopped else attempt.expires_ms
        _enqueue(state, lease.leaf, QueueKey(attempt.due_ms, no, expires_ms), attempt.payload_bytes)
    closing.close(state, lease, record.nos)
    return []


def _archived(state: State, record: r.TasksArchived) -> list[Held]:
    state.table.past.archive(record.file, record.rows, last=record.last)
    return change_apply.drop_values(state, state.table.checkpoints.drop([no for no, _ in record.rows]))


def _forgotten(state: State, record: r.HistoryForgotten) -> list[Held]:
    state.table.past.forget(record.nos)
    return []


def _dropped(state: State, record: r.FilesDropped) -> list[Held]:
    state.table.past.drop(record.keys)
    return change_apply.drop_values(state, record.value_keys)


def _enqueue(state: State, leaf: Leaf, key: QueueKey, payload_bytes: int) -> None:
    state.queue(leaf).add(key, payload_bytes, state.segment)


def _bump(counts: dict[TenantId, int], tenant: TenantId, change: int) -> None:
    counts[tenant] = counts.get(tenant, 0) + change


def _payload_bytes(tasks: Iterable[Task]) -> int:
    return sum([len(task.payload) for task in tasks])


def _for(kind: type[R], how: Callable[[State, R], list[Held]]) -> tuple[type, Callable[[State, r.Record], list[Held]]]:
    """Ties a record type to the function for it, so that the two cannot disagree."""
    return kind, cast("Callable[[State, r.Record], list[Held]]", how)


_APPLY = dict(
    [
        _for(r.EpochOpened, _epoch_opened),
        _for(r.TenantSet, catalog_apply.tenant_set),
        _for(r.KeySet, catalog_apply.key_set),
        _for(r.FunctionsSet, catalog_apply.functions_set),
        _for(r.PolicySet, catalog_apply.policy_set),
        _for(r.TasksAccepted, _accepted),
        _for(r.TasksDue, _due),
        _for(r.LeaseGranted, _granted),
        _for(r.TasksSucceeded, _succeeded),
        _for(r.TasksRetrying, _retrying),
        _for(r.TasksFailed, _failed),
        _for(r.TasksHandedBack, _handed_back),
        _for(TasksPreempted, _handed_back),
        _for(TasksStopped, _stopped),
        _for(OrdersGiven, orders_apply.given),
        _for(CheckpointsSaved, _checkpointed),
        _for(r.TasksCancelled, change_apply.cancelled),
        _for(r.TasksChanged, change_apply.changed),
        _for(r.TasksExpired, change_apply.expired),
        _for(TasksPressed, change_apply.pressed),
        _for(PressesPutOff, change_apply.put_off),
        _for(r.TasksArchived, _archived),
        _for(r.HistoryForgotten, _forgotten),
        _for(r.FilesDropped, _dropped),
        _for(r.OperationBegun, bulk_apply.begun),
        _for(r.OperationStep, bulk_apply.stepped),
        _for(r.OperationCaught, bulk_apply.caught),
        _for(ScheduleSet, schedules_apply.was_set),
        _for(ScheduleRemoved, schedules_apply.removed),
        _for(ScheduleFired, schedules_apply.fired),
        _for(TriggerSet, triggers_apply.was_set),
        _for(TriggerRemoved, triggers_apply.removed),
        _for(cr.DeliveriesTried, callbacks_apply.tried),
        _for(cr.DeliveryRenewed, callbacks_apply.renew),
        _for(cr.DeliveriesForgotten, callbacks_apply.forgotten),
        _for(cr.EndpointSet, callbacks_apply.endpoint_set),
        _for(cr.SecretSet, callbacks_apply.secret_set),
        _for(VersionAdded, deploys_apply.added),
        _for(RolloutSet, deploys_apply.rolled),
        _for(VersionsForgotten, deploys_apply.forgotten),
    ]
)
