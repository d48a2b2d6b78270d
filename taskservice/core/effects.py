"""All that a shard asks of the world, and what it answers. None of it is done before its cause is durable."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from taskservice.core.backlog import KindPlan, ShapePlan
from taskservice.core.callback_events import CallbackAnswer
from taskservice.core.deadlines import Kept
from taskservice.core.deploying import DeployAnswer
from taskservice.core.insight import InsightAnswer
from taskservice.core.lease_wire import LeaseSpec, ReportAck
from taskservice.core.operations import Operation
from taskservice.core.orders import Order
from taskservice.core.past import HistoryFile, Past
from taskservice.core.schedules import ScheduleState
from taskservice.core.specs import ApiKey, FunctionSpec, Policy, Tenant
from taskservice.core.trigger_events import TriggerAnswer, TriggersAnswer
from taskservice.core.types import FunctionName, RunnerId, Task, TaskId, TaskNo, TaskState, TenantId


class ItemStatus(StrEnum):
    """What became of one item of a request."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    """It runs, and is cancelled when its attempt has ended; unless that succeeds."""
    PAUSED = "paused"
    RESUMED = "resumed"
    RETRIED = "retried"
    DELETED = "deleted"
    REFUSED = "refused"


class Refusal(StrEnum):
    """Why an item was refused."""

    UNKNOWN_FUNCTION = "unknown_function"
    UNKNOWN_TENANT = "unknown_tenant"
    CONFLICT = "conflict"
    """The id is known with another payload or function."""
    DUPLICATE = "duplicate"
    """The id is known, and the caller asked to be refused then."""
    QUEUED_MAX = "queued_max"
    """The tenant has as many unfinished tasks as it may."""
    SUBMIT_RATE = "submit_rate"
    """The tenant, or all tenants together for this function, submit faster than they may."""
    ATTEMPTS_ABOVE_LIMIT = "attempts_above_limit"
    TIMEOUT_ABOVE_LIMIT = "timeout_above_limit"
    NOT_FOUND = "not_found"
    RUNNING = "running"
    """It has started; nothing but cancelling can be done to it until it comes back."""
    ENDED = "ended"
    IN_HISTORY = "in_history"
    """It has left the working table; there is nothing of it here that could run again."""
    OPERATION_AHEAD = "operation_ahead"
    """A bulk operation is still to come to it, which this would undo or escape."""
    EXPIRES_UNDUE = "expires_undue"
    """It would expire before it is due."""
    DEADLINE_UNDUE = "deadline_undue"
    """Its deadline is before it is due."""
    OPERATIONS_MAX = "operations_max"
    """As many bulk operations are under way as may be."""
    SCHEDULES_MAX = "schedules_max"
    SCHEDULE_EXISTS = "schedule_exists"
    """There is another schedule of that id."""
    SCHEDULE_CHANGED = "schedule_changed"
    """Somebody else has changed the schedule meanwhile."""
    SCHEDULE_INVALID = "schedule_invalid"
    """What it says of its times does not fit together."""
    CRON_INVALID = "cron_invalid"
    ZONE_UNKNOWN = "zone_unknown"
    PERIOD_TOO_SHORT = "period_too_short"
    """Its times are too close."""


class ItemAnswer(Struct, frozen=True, gc=False):
    """What became of one item. `task` is the task as it is now, unless refused without one."""

    id: TaskId
    status: ItemStatus
    task: Task | None = None
    refusal: Refusal | None = None
    message: str = ""
    limit: int | None = None
    """The value of the limit that refused it."""
    past: Past | None = None
    """The task, if it is in history."""
    retry_after_ms: int | None = None
    """When the same would be accepted if nobody else comes; only for `Refusal.SUBMIT_RATE`."""


class ItemsAnswer(Struct, frozen=True):
    """One answer per item, in the request's order."""

    items: tuple[ItemAnswer, ...]


class TaskAnswer(Struct, frozen=True):
    """The task, or where it is in history, or neither."""

    task: Task | None
    past: Past | None = None
    cancelling: bool = False
    """It runs, and is cancelled when its attempt has ended."""


class TasksAnswer(Struct, frozen=True):
    """A page: newest first, but those in history apart from the others."""

    tasks: tuple[Task, ...]
    next_before_no: TaskNo | None
    """Ask again with this for the next page; None: there is none."""
    past: tuple[Past, ...] = ()
    cancelling: tuple[TaskNo, ...] = ()
    """Those that run, and are cancelled when their attempts have ended."""


class RunnerStatus(Struct, frozen=True):
    runner: RunnerId
    node: str
    cpus: float
    cpus_used: float
    leases: int
    draining: bool


class StatusAnswer(Struct, frozen=True):
    """How the shard is."""

    epoch: int
    counts: dict[str, int]
    """Tasks by state."""
    functions: dict[FunctionName, dict[str, int]]
    """Unfinished tasks by function and state."""
    runners: tuple[RunnerStatus, ...]
    deadlines: dict[FunctionName, Kept] = {}
    """What became of the deadlines of tasks that have ended."""
    machines: tuple[KindPlan, ...] = ()
    """What the autoscaler wants, if there is one."""
    places: tuple[ShapePlan, ...] = ()
    """What it wants them for."""


class CatalogAnswer(Struct, frozen=True):
    """What a gateway needs to admit a request."""

    version: int
    tenants: tuple[Tenant, ...]
    keys: tuple[ApiKey, ...]
    functions: tuple[FunctionSpec, ...]
    policies: tuple[Policy, ...] = ()


class ReferencesAnswer(Struct, frozen=True):
    """Those of the keys asked about that are referred to."""

    keys: tuple[str, ...]


class OperationAnswer(Struct, frozen=True):
    """A bulk operation, as far as it has come; None: there is no such one, or it was refused."""

    operation: Operation | None
    refusal: Refusal | None = None
    message: str = ""
    limit: int | None = None


class ScheduleAnswer(Struct, frozen=True):
    """A schedule as it is now, or as it was last; None: there is none of that id, or it was refused."""

    found: ScheduleState | None
    refusal: Refusal | None = None
    message: str = ""
    limit: int | None = None
    """The value of the limit that refused it."""
    known: bool = False
    """It was like that before."""


class SchedulesAnswer(Struct, frozen=True):
    """A page of schedules, by tenant and id."""

    schedules: tuple[ScheduleState, ...]
    more: bool
    """Whether there are others after them."""


class DoneAnswer(Struct, frozen=True):
    """It is done and durable."""


class EndedAnswer(Struct, frozen=True):
    """Tasks for history."""

    tasks: tuple[Task, ...]


class FilesAnswer(Struct, frozen=True):
    """Files of history."""

    files: tuple[HistoryFile, ...]


class KeysAnswer(Struct, frozen=True):
    """Keys of objects."""

    keys: tuple[str, ...]


class CountAnswer(Struct, frozen=True):
    """With how many tasks that was done."""

    count: int


AnswerValue = (
    ItemsAnswer
    | TaskAnswer
    | TasksAnswer
    | StatusAnswer
    | CatalogAnswer
    | OperationAnswer
    | ReferencesAnswer
    | ScheduleAnswer
    | SchedulesAnswer
    | DoneAnswer
    | ReportAck
    | EndedAnswer
    | FilesAnswer
    | KeysAnswer
    | CountAnswer
    | InsightAnswer
    | CallbackAnswer
    | TriggerAnswer
    | TriggersAnswer
    | DeployAnswer
)


class Answer(Struct, frozen=True):
    """Tell the caller `ref`."""

    ref: int
    value: AnswerValue


class Launch(Struct, frozen=True):
    """Push a lease to a runner."""

    runner: RunnerId
    lease: LeaseSpec


class Ordered(Struct, frozen=True):
    """Tell a runner what one of its leases is to do. It may come again."""

    runner: RunnerId
    order: Order


class Ended(Struct, frozen=True):
    """Tasks have reached a terminal state: whoever waits for them may be told."""

    state: TaskState
    tasks: tuple[tuple[TenantId, TaskId], ...]


class Deleted(Struct, frozen=True):
    """These tasks are not there any more, as if they had never been: whoever waits for them may be told."""

    tasks: tuple[tuple[TenantId, TaskId], ...]


class CatalogChanged(Struct, frozen=True):
    """Tenants, keys or functions are others than before."""

    version: int


class ValuesDropped(Struct, frozen=True):
    """Nobody refers to the objects of these keys any more, nor ever will: they may be removed."""

    keys: tuple[str, ...]


class CallbacksOwed(Struct, frozen=True):
    """Somebody is to be told of the end of a task, or can be told again: whoever sends callbacks may look."""


Effect = Answer | Launch | Ordered | Ended | Deleted | CatalogChanged | ValuesDropped | CallbacksOwed

Held = tuple[int, Effect]
"""An effect and the segment it waits for."""
