"""The life of one task, read from the journal: what to print when something about it is not understood."""

from __future__ import annotations

from collections.abc import Iterable

from taskservice.core import records as r
from taskservice.core.callback_records import DeliveriesTried, DeliveryRenewed
from taskservice.core.checkpoints import CheckpointsSaved
from taskservice.core.operate import DONE
from taskservice.core.operations import OperationKind
from taskservice.core.orders import OrdersGiven, TasksPreempted, TasksStopped
from taskservice.core.press_records import PressesPutOff, TasksPressed
from taskservice.core.types import Leaf, Task, TaskNo, Token


def story(records: Iterable[r.Record], no: TaskNo, leaf: Leaf | None = None) -> list[str]:
    """One line for each record that speaks of task `no`, in order, beginning with its time in ms.

    `leaf`: the task's, to be given if its acceptance is not among the records: a bulk operation's step names nothing else.
    """
    records = list(records)
    orders = _orders(records, no)
    passed = _steps_past(records, no, leaf)
    return [
        f"{record.at_ms} {line}"
        for record in records
        if (line := _line(record, no) or _callback(record, no) or passed.get(id(record)) or orders.get(id(record)))
    ]


def _steps_past(records: Iterable[r.Record], no: TaskNo, leaf: Leaf | None) -> dict[int, str]:
    """What to say of the step with which each bulk operation came past the task: whether the task passed its filter, the
    record does not say."""
    first: dict[str, r.OperationStep] = {}
    for record in records:
        if isinstance(record, r.TasksAccepted):
            leaf = next((task.leaf for task in record.tasks if task.no == no), leaf)
        elif isinstance(record, r.OperationStep) and record.leaf == leaf is not None and record.to_no >= no:
            first.setdefault(record.id, record)
    return {
        id(record): f"{record.id} came past: {DONE[record.action]}, if it passes its filter"
        for record in first.values()
    }


def _orders(records: Iterable[r.Record], no: TaskNo) -> dict[int, str]:
    """What to say of the orders that leases of the task were given: they name the lease."""
    holds: Token | None = None
    lines: dict[int, str] = {}
    for record in records:
        if isinstance(record, r.LeaseGranted) and no in record.nos:
            holds = record.token
        elif isinstance(record, OrdersGiven):
            for order in record.orders:
                if order.token == holds and order.means(no):
                    lines[id(record)] = f"told to stop within {order.grace_ms} ms ({order.kind}): {order.why}"
    return lines


def _line(record: r.Record, no: TaskNo) -> str:
    match record:
        case r.TasksAccepted(tasks=tasks):
            for task in tasks:
                if task.no == no:
                    return _accepted(task)
        case r.LeaseGranted(nos=nos) if no in nos:
            return _leased(record)
        case r.TasksSucceeded(rows=rows):
            for row in rows:
                if row[0] == no:
                    return f"succeeded under {_token(record.token)} after {row[3]} us, {len(row[1])} bytes"
        case r.TasksRetrying(rows=retries):
            for retry in retries:
                if retry.no == no:
                    counts = f"attempts {retry.attempt}, crashes {retry.crashes}, losses {retry.losses}"
                    return f"retrying at {retry.due_ms} ({counts}): {retry.error.reason}: {retry.error.message}"
        case r.TasksFailed(rows=dead_rows):
            for dead in dead_rows:
                if dead.no == no:
                    return f"failed under {_token(record.token)}: {dead.error.reason}: {dead.error.message}"
        case r.TasksDue(nos=nos) if no in nos:
            return "queued: its time has come"
        case r.TasksHandedBack(nos=nos) if no in nos:
            return f"queued: handed back under {_token(record.token)}"
        case CheckpointsSaved(rows=rows) if no in dict(rows):
            return f"checkpoint under {_token(record.token)}"
        case TasksPreempted(nos=nos) if no in nos:
            return f"queued: stopped for others under {_token(record.token)}"
        case TasksStopped(nos=nos) if no in nos:
            return f"cancelled: its attempt under {_token(record.token)} has ended"
        case r.TasksCancelled(nos=nos) if no in nos:
            return "cancelled"
        case r.TasksChanged(nos=nos) if no in nos:
            return _changed(record)
        case r.TasksExpired(nos=nos) if no in nos:
            return "expired: it had not started in time"
        case TasksPressed(nos=nos) if no in nos:
            return "pressed: its deadline is too near to wait for off-peak hours"
        case PressesPutOff(rows=later):
            for put_off, press_ms in later:
                if put_off == no:
                    return f"may wait for off-peak hours until {press_ms}"
        case r.TasksArchived(rows=archived):
            for entry in archived:
                if entry[0] == no:
                    return f"archived as row {entry[1]} of {record.file.key}"
        case r.HistoryForgotten(nos=nos) if no in nos:
            return "forgotten: its id may be used again"
        case r.OperationCaught(nos=nos) if no in nos:
            return f"{DONE[record.action]} by {record.id} when its time had come"
        case _:
            pass
    return ""


def _leased(record: r.LeaseGranted) -> str:
    version = f", for v{record.version}" if record.version else ""
    return f"leased to {record.runner} under {_token(record.token)} with {len(record.nos) - 1} others{version}"


def _accepted(task: Task) -> str:
    expires = f", expires {task.expires_ms}" if task.expires_ms is not None else ""
    what = f"accepted as {task.id!r} of {task.tenant}: {task.function}, {task.state}, due {task.due_ms}"
    lane = f", {task.lane} lane" if task.lane else ""
    lane += f" until {task.press_ms}" if task.press_ms is not None else ""
    return what + expires + lane


def _callback(record: r.Record, no: TaskNo) -> str:
    match record:
        case DeliveriesTried(rows=tried):
            for one in tried:
                if one.no == no:
                    said = one.attempt.message or f"HTTP status {one.attempt.status}"
                    after = one.state if one.next_ms is None else f"tried again at {one.next_ms}"
                    return f"callback of run {one.run}: {said}, {after}"
        case DeliveryRenewed() if record.no == no:
            return f"callback of run {record.run}: asked for again"
        case _:
            pass
    return ""


def _changed(record: r.TasksChanged) -> str:
    if record.action is OperationKind.RETRY:
        return "queued: it runs again, as if it were new"
    until = f" until {record.resume_ms}" if record.resume_ms is not None else ""
    return f"{DONE[record.action]}{until}"


def _token(token: tuple[int, int]) -> str:
    return f"{token[0]}.{token[1]}"
