"""All that can happen to a shard. `ref` names the caller to whom `decide`'s answer goes; 0: nobody waits."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.callback_events import CallbackEvent
from taskservice.core.deploying import Deploying
from taskservice.core.insight import Insight
from taskservice.core.lease_wire import HeldLease, RunnerReport
from taskservice.core.operations import OperationKind
from taskservice.core.past import EndedKey, HistoryFile, WrittenTask
from taskservice.core.schedules import ScheduleId, ScheduleKey, ScheduleSpec
from taskservice.core.specs import ApiKey, FunctionSpec, Policy, Resources, Tenant
from taskservice.core.trigger_events import TriggerEvent
from taskservice.core.types import ListFilter, NewTask, OnConflict, RunnerId, TaskId, TaskNo, TenantId


class Submitted(Struct, frozen=True, tag=True):
    """A tenant hands over tasks."""

    ref: int
    tenant: TenantId
    tasks: tuple[NewTask, ...]
    on_conflict: OnConflict = OnConflict.RETURN


class ChangeAsked(Struct, frozen=True, tag=True):
    """A tenant wants something to be done to tasks that it names."""

    ref: int
    tenant: TenantId
    kind: OperationKind
    ids: tuple[TaskId, ...]
    resume_ms: int | None = None
    """When those that are paused are to be resumed by themselves."""


class BulkAsked(Struct, frozen=True, tag=True):
    """Something is to be done to all tasks that pass the filter: its tenant's, or everybody's if it names none."""

    ref: int
    kind: OperationKind
    filter: ListFilter
    dry_run: bool = False
    """Only say how many they are."""
    resume_ms: int | None = None
    """As in `ChangeAsked`."""


class OperationAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know how far a bulk operation has come; `tenant` None: whosever it is."""

    ref: int
    tenant: TenantId | None
    id: str


class TaskAsked(Struct, frozen=True, tag=True):
    """Somebody wants to see one task."""

    ref: int
    tenant: TenantId
    id: TaskId


class TasksListed(Struct, frozen=True, tag=True):
    """Somebody wants to see tasks, newest first, older than `before_no` if that is given."""

    ref: int
    filter: ListFilter
    before_no: TaskNo | None
    limit: int


class StatusAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know how the shard is; `tenant` None: of all tenants."""

    ref: int
    tenant: TenantId | None = None


class SchedulePut(Struct, frozen=True, tag=True):
    """A tenant wants a schedule to be like that."""

    ref: int
    tenant: TenantId
    id: ScheduleId
    spec: ScheduleSpec
    version: int | None
    """The one that is to be changed; None: there is to be a new one."""


class ScheduleRemoveAsked(Struct, frozen=True, tag=True):
    """A tenant does not want a schedule any more."""

    ref: int
    tenant: TenantId
    id: ScheduleId


class ScheduleAsked(Struct, frozen=True, tag=True):
    """Somebody wants to see one schedule."""

    ref: int
    tenant: TenantId
    id: ScheduleId


class SchedulesListed(Struct, frozen=True, tag=True):
    """Somebody wants to see schedules, the tenant's or everybody's, after that one if one is given."""

    ref: int
    tenant: TenantId | None
    after: ScheduleKey | None
    limit: int


class FunctionsRegistered(Struct, frozen=True, tag=True):
    """An app was inspected on a node: these are its functions now."""

    ref: int
    functions: tuple[FunctionSpec, ...]


class TenantPut(Struct, frozen=True, tag=True):
    ref: int
    tenant: Tenant


class PolicyPut(Struct, frozen=True, tag=True):
    """An operator says how a function, a downstream or a class is to be treated from now on."""

    ref: int
    policy: Policy


class KeyPut(Struct, frozen=True, tag=True):
    ref: int
    key: ApiKey


class CatalogAsked(Struct, frozen=True, tag=True):
    """Somebody wants the tenants, keys and functions."""

    ref: int


class ReferencesAsked(Struct, frozen=True, tag=True):
    """Somebody wants to know which of these keys of values are referred to."""

    ref: int
    keys: tuple[str, ...]


class RunnerJoined(Struct, frozen=True, tag=True):
    """A runner is ready. `held` are leases that it already runs: they go on."""

    runner: RunnerId
    node: str
    capacity: Resources
    held: tuple[HeldLease, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    """Of its node: what demands may ask for beside resources."""


class RunnerDraining(Struct, frozen=True, tag=True):
    """A runner gets no more leases; those it has go on."""

    runner: RunnerId


class RunnerLost(Struct, frozen=True, tag=True):
    """A runner is gone, and with it all that it ran."""

    runner: RunnerId


class RunnersSettled(Struct, frozen=True, tag=True):
    """After a start, every runner that lived through it has joined: a lease that none of them holds is lost."""


class RunnerReported(Struct, frozen=True, tag=True):
    ref: int
    report: RunnerReport


class Ticked(Struct, frozen=True, tag=True):
    """Time has passed: what waited for the clock may be due."""


class EndedAsked(Struct, frozen=True, tag=True):
    """The archiver wants tasks whose time in the table is over: of one day, after `after` if that is given."""

    ref: int
    dead: bool
    """Dead letters, which are kept longer, or all others."""
    after: EndedKey | None
    limit: int
    bytes_max: int
    """Of payloads and results."""


class FileWritten(Struct, frozen=True, tag=True):
    """A file of history is durable; these are some of its tasks, or with `last` the rest of them."""

    ref: int
    file: HistoryFile
    rows: tuple[WrittenTask, ...]
    last: bool


class UnfinishedAsked(Struct, frozen=True, tag=True):
    """The archiver wants to know which files it, or one before it, has not told to the end."""

    ref: int


class ForgetAsked(Struct, frozen=True, tag=True):
    """Tasks in history whose time is over may be forgotten; at most so many now."""

    ref: int
    limit: int


class DropAsked(Struct, frozen=True, tag=True):
    """The archiver wants to know which files of history may be dropped, because their time is over; at most so many."""

    ref: int
    limit: int


class OldFileRead(Struct, frozen=True, tag=True):
    """A file that may be dropped refers to these values, or with `last` to no others: then it is dropped."""

    ref: int
    key: str
    value_keys: tuple[str, ...]
    last: bool


class StrangersAsked(Struct, frozen=True, tag=True):
    """Which of these objects are no files of history?"""

    ref: int
    keys: tuple[str, ...]


class OperationTurn(Struct, frozen=True, tag=True):
    """There is time for a step of the bulk operations that are under way."""


Event = (
    Submitted
    | ChangeAsked
    | BulkAsked
    | OperationAsked
    | TaskAsked
    | TasksListed
    | StatusAsked
    | SchedulePut
    | ScheduleRemoveAsked
    | ScheduleAsked
    | SchedulesListed
    | FunctionsRegistered
    | TenantPut
    | KeyPut
    | PolicyPut
    | CatalogAsked
    | ReferencesAsked
    | RunnerJoined
    | RunnerDraining
    | RunnerLost
    | RunnersSettled
    | RunnerReported
    | Ticked
    | EndedAsked
    | FileWritten
    | UnfinishedAsked
    | ForgetAsked
    | DropAsked
    | OldFileRead
    | StrangersAsked
    | OperationTurn
    | Insight
    | CallbackEvent
    | TriggerEvent
    | Deploying
)
