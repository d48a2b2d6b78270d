"""How large records are, roughly: what a segment is closed by."""

from __future__ import annotations

from taskservice.core.callback_records import DeliveriesForgotten, DeliveriesTried
from taskservice.core.checkpoints import CheckpointsSaved
from taskservice.core.deploying import VersionAdded
from taskservice.core.orders import OrdersGiven, TasksStopped
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.records import (
    FilesDropped,
    HistoryForgotten,
    LeaseGranted,
    Record,
    TasksAccepted,
    TasksArchived,
    TasksChanged,
    TasksExpired,
    TasksFailed,
    TasksRetrying,
    TasksSucceeded,
)
from taskservice.core.schedule_records import ScheduleSet
from taskservice.core.trigger_records import TriggerSet

ROW_BYTES = 200
"""What a task takes in a record beside its payload, result or error; roughly."""

NO_BYTES = 10
"""What it takes where it is but a number or two."""

KEY_BYTES = 80
"""What an object takes of which there is but the key."""


def bytes_of(record: Record) -> int:
    """About how large the record is when it is encoded."""
    match record:
        case LeaseGranted():  # the first three are almost all there are
            return ROW_BYTES
        case TasksSucceeded(rows=rows):
            return sum([len(row[1]) + ROW_BYTES for row in rows])
        case TasksAccepted(tasks=tasks):
            return sum([len(task.payload) + ROW_BYTES for task in tasks])
        case ScheduleSet(schedule=schedule):
            return len(schedule.spec.task.payload) + ROW_BYTES
        case TriggerSet(trigger=trigger):
            return len(trigger.spec.template or b"") + ROW_BYTES
        case VersionAdded(version=version):
            return ROW_BYTES + sum(len(each.payload_schema) + ROW_BYTES for each in version.functions)
        case TasksRetrying(rows=retries):
            return sum(len(row.error.detail) + ROW_BYTES for row in retries)
        case TasksFailed(rows=dead):
            return sum(len(row.error.detail) + ROW_BYTES for row in dead)
        case TasksArchived(rows=archived):
            return ROW_BYTES + NO_BYTES * len(archived)
        case PressesPutOff(rows=later):
            return ROW_BYTES + NO_BYTES * len(later)
        case CheckpointsSaved(rows=checkpoints):
            return sum(len(text) + ROW_BYTES for _, text in checkpoints)
        case OrdersGiven(orders=orders):
            return sum(ROW_BYTES + NO_BYTES * len(order.nos) for order in orders)
        case TasksStopped(nos=nos):
            return ROW_BYTES + NO_BYTES * len(nos)
        case HistoryForgotten(nos=nos) | TasksChanged(nos=nos) | TasksExpired(nos=nos) | TasksPressed(nos=nos):
            return ROW_BYTES + NO_BYTES * len(nos)
        case DeliveriesTried(rows=tried):
            return ROW_BYTES * len(tried)
        case DeliveriesForgotten(keys=deliveries):
            return ROW_BYTES + NO_BYTES * len(deliveries)
        case FilesDropped(keys=files, value_keys=values):
            return ROW_BYTES + KEY_BYTES * (len(files) + len(values))
        case _:
            return ROW_BYTES
