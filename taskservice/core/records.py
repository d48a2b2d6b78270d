"""All that may be journalled. Replaying them in order gives the shard's durable state.

Encoded as tagged arrays. A field is added at the end with a default, never removed or moved; a new meaning is a new record.
Rows are tuples where a record holds thousands. `log` is what `Task.log` is from now on; empty: what it was.
"""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.callback_records import CallbackRecord
from taskservice.core.changes import Change
from taskservice.core.checkpoints import CheckpointsSaved
from taskservice.core.deploying import DeployRecord
from taskservice.core.operations import Operation, OperationKind
from taskservice.core.orders import OrderRecord
from taskservice.core.past import HistoryFile
from taskservice.core.press_records import PressRecord
from taskservice.core.schedule_records import ScheduleFired, ScheduleRemoved, ScheduleSet
from taskservice.core.specs import ApiKey, FunctionSpec, Policy, Tenant
from taskservice.core.trigger_records import TriggerRecord
from taskservice.core.types import ErrorInfo, Lane, Leaf, ListFilter, RunnerId, Task, TaskNo, Token


class EpochOpened(Struct, frozen=True, array_like=True, tag="epoch"):
    """A dispatcher took the shard over. First record of its epoch."""

    at_ms: int
    epoch: int


class TenantSet(Struct, frozen=True, array_like=True, tag="tenant"):
    at_ms: int
    tenant: Tenant


class KeySet(Struct, frozen=True, array_like=True, tag="key"):
    at_ms: int
    key: ApiKey


class FunctionsSet(Struct, frozen=True, array_like=True, tag="functions"):
    at_ms: int
    functions: tuple[FunctionSpec, ...]


class PolicySet(Struct, frozen=True, array_like=True, tag="policy"):
    """What an operator has set of a function, a downstream or a class is this, whatever it was."""

    at_ms: int
    policy: Policy


class TasksAccepted(Struct, frozen=True, array_like=True, tag="accepted"):
    """These tasks exist: each `queued`, or `scheduled` for later."""

    at_ms: int
    tasks: tuple[Task, ...]


class TasksDue(Struct, frozen=True, array_like=True, tag="due"):
    """Their time has come: scheduled or retrying -> queued."""

    at_ms: int
    nos: tuple[TaskNo, ...]


class LeaseGranted(Struct, frozen=True, array_like=True, tag="lease"):
    """queued -> running; one attempt more is charged to each."""

    at_ms: int
    token: Token
    runner: RunnerId
    leaf: Leaf
    nos: tuple[TaskNo, ...]
    version: int = 0
    """Of its function's app: the code that it runs; 0: the code has no versions."""


class TasksSucceeded(Struct, frozen=True, array_like=True, tag="succeeded"):
    """running -> succeeded. Rows: (no, result JSON, started_ms, duration_us)."""

    at_ms: int
    token: Token
    rows: tuple[tuple[TaskNo, bytes, int, int], ...]
    log: str = ""


class RetryRow(Struct, frozen=True, array_like=True, gc=False):
    """An attempt that ended badly, with another one to come."""

    no: TaskNo
    due_ms: int
    error: ErrorInfo
    attempt: int
    """Attempts charged from now on: one less than at the lease if this one does not count."""
    crashes: int
    losses: int
    duration_us: int
    lane: Lane = Lane.MAIN
    """Where it stands from now on."""
    memory_bytes: int = 0
    """What it asks for from now on, if that is more than its function says."""
    throttles: int = 0
    log: str = ""


class TasksRetrying(Struct, frozen=True, array_like=True, tag="retrying"):
    """running -> retrying."""

    at_ms: int
    token: Token
    rows: tuple[RetryRow, ...]


class DeadRow(Struct, frozen=True, array_like=True, gc=False):
    """An attempt that ended badly and was the last one."""

    no: TaskNo
    error: ErrorInfo
    crashes: int
    losses: int
    duration_us: int
    log: str = ""


class TasksFailed(Struct, frozen=True, array_like=True, tag="failed"):
    """running -> failed: dead letters."""

    at_ms: int
    token: Token
    rows: tuple[DeadRow, ...]


class TasksHandedBack(Struct, frozen=True, array_like=True, tag="handed_back"):
    """running -> queued, in their old place; the attempt is taken off again."""

    at_ms: int
    token: Token
    nos: tuple[TaskNo, ...]
    log: str = ""


class TasksCancelled(Struct, frozen=True, array_like=True, tag="cancelled"):
    """scheduled, queued, retrying or paused -> cancelled."""

    at_ms: int
    nos: tuple[TaskNo, ...]


class TasksChanged(Struct, frozen=True, array_like=True, tag="changed"):
    """What people asked for has been done to these tasks, as `changes.changed` says. Cancelled: see `TasksCancelled`."""

    at_ms: int
    action: OperationKind
    nos: tuple[TaskNo, ...]
    resume_ms: int | None = None

    @property
    def change(self) -> Change:
        return Change(self.action, self.at_ms, self.resume_ms)


class TasksExpired(Struct, frozen=True, array_like=True, tag="expired"):
    """scheduled, queued or paused -> expired."""

    at_ms: int
    nos: tuple[TaskNo, ...]


class TasksArchived(Struct, frozen=True, array_like=True, tag="archived"):
    """These tasks are in a file of history, which is durable, and no longer in the table. Rows: (no, row of the file)."""

    at_ms: int
    file: HistoryFile
    rows: tuple[tuple[TaskNo, int], ...]
    last: bool
    """Whether these are the last of the file's tasks."""


class HistoryForgotten(Struct, frozen=True, array_like=True, tag="forgotten"):
    """These tasks are known no longer: their ids may be used again."""

    at_ms: int
    nos: tuple[TaskNo, ...]


class FilesDropped(Struct, frozen=True, array_like=True, tag="dropped"):
    """These files of history are part of it no longer, and may be deleted; nothing refers to these values any more."""

    at_ms: int
    keys: tuple[str, ...]
    value_keys: tuple[str, ...] = ()


class OperationBegun(Struct, frozen=True, array_like=True, tag="operation"):
    """A bulk operation holds from now on for all tasks up to number `upto_no` that pass the filter."""

    at_ms: int
    id: str
    action: OperationKind
    filter: ListFilter
    upto_no: TaskNo
    dry_run: bool
    matched: int | None
    resume_ms: int | None = None
    running: int = 0

    @property
    def operation(self) -> Operation:
        begun = (self.id, self.action, self.filter, self.upto_no, self.at_ms, self.dry_run, self.matched)
        return Operation(*begun, resume_ms=self.resume_ms, running=self.running)


class OperationStep(Struct, frozen=True, array_like=True, tag="operation_step"):
    """The operation is through with one leaf up to number `to_no`: whatever passes its filter there, as the table is now,
    has been changed. `leaf` None: there was nothing to do."""

    at_ms: int
    id: str
    leaf: Leaf | None
    to_no: TaskNo
    done: bool
    action: OperationKind = OperationKind.CANCEL
    """The operation's own, for whoever reads this record alone."""


class OperationCaught(Struct, frozen=True, array_like=True, tag="operation_caught"):
    """The time of these tasks has come before the operation has come to them: it has changed them now."""

    at_ms: int
    id: str
    nos: tuple[TaskNo, ...]
    action: OperationKind = OperationKind.CANCEL
    """As in `OperationStep`."""


Record = (
    EpochOpened
    | TenantSet
    | KeySet
    | FunctionsSet
    | PolicySet
    | TasksAccepted
    | TasksDue
    | LeaseGranted
    | TasksSucceeded
    | TasksRetrying
    | TasksFailed
    | TasksHandedBack
    | OrderRecord
    | CheckpointsSaved
    | TasksCancelled
    | TasksChanged
    | TasksExpired
    | PressRecord
    | TasksArchived
    | HistoryForgotten
    | FilesDropped
    | OperationBegun
    | OperationStep
    | OperationCaught
    | ScheduleSet
    | ScheduleRemoved
    | ScheduleFired
    | CallbackRecord
    | TriggerRecord
    | DeployRecord
)
