"""The nouns of the service: names, states, specifications and tasks.

All are immutable. Times are integer milliseconds since the Unix epoch (`_ms`), durations say their unit, sizes are
bytes. Structs are encoded as arrays: append new fields at the end, with a default, and never reorder.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, NewType

from msgspec import Struct

TaskId = NewType("TaskId", str)
"""What users call a task; unique within its tenant for as long as the task is kept."""

TaskNo = NewType("TaskNo", int)
"""What a shard calls a task: dense, in the order of acceptance, never used twice."""

TenantId = NewType("TenantId", str)
FunctionName = NewType("FunctionName", str)
RunnerId = NewType("RunnerId", str)


class TaskState(StrEnum):
    """Where a task is in its life. `apply.TRANSITIONS` says how it may move."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


WAITING_STATES = (TaskState.SCHEDULED, TaskState.RETRYING)
"""Waiting for the clock: `due_ms` says until when."""

TERMINAL_STATES = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED)


class Priority(StrEnum):
    """The priority classes, most urgent first. Weighted, never strict: see `schedule`."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BATCH = "batch"


class Lane(StrEnum):
    """Which of a function's queues a task stands in: each has a gate of its own."""

    MAIN = ""
    RETRY = "retry"
    """It has failed before: it goes when the function's retry budget says so."""
    OFF_PEAK = "off_peak"
    """It can wait for off-peak hours, or for a pool that is idle: see `flow.off_peak`."""
    OFF_PEAK_RETRY = "off_peak_retry"
    """Both."""


class OnConflict(StrEnum):
    """What is done with a submitted task whose id is known already, with the same function and payload."""

    RETURN = "return"
    """It is the task that is known."""
    REJECT = "reject"
    """It is refused."""
    RERUN = "rerun"
    """If the task that is known has ended, its next run begins; else as `RETURN`."""


RETRY_LANES = {Lane.MAIN: Lane.RETRY, Lane.OFF_PEAK: Lane.OFF_PEAK_RETRY}
"""Where tasks of a lane stand once they have failed."""

PRESSED_LANES = {Lane.OFF_PEAK: Lane.MAIN, Lane.OFF_PEAK_RETRY: Lane.RETRY}
"""Where tasks of a lane stand once their deadline is too near to wait for off-peak hours."""


class OutcomeKind(StrEnum):
    """How one attempt ended. `report.RULES` says what follows from each."""

    SUCCEEDED = "succeeded"
    HANDLER_ERROR = "handler_error"
    NON_RETRYABLE = "non_retryable"
    BAD_PAYLOAD = "bad_payload"
    BAD_RESULT = "bad_result"
    IMPORT_FAILED = "import_failed"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    LOST = "lost"
    STORE_AWAY = "store_away"
    """The store could not be reached for long: a large payload could not be read, or a large result not be written."""
    VALUE_LOST = "value_lost"
    """The object that holds the payload is gone, or is not what was written."""
    OUT_OF_MEMORY = "out_of_memory"
    """It took more memory than it may, or than there was."""
    PREEMPTED = "preempted"
    """It was told to stop, so that others get what is their own."""
    CANCELLED = "cancelled"
    """It was told to stop, for its task is to be cancelled."""


_tuple = tuple.__new__


class Token(NamedTuple):
    """What proves that a report speaks for the lease that a task holds now: (shard epoch, lease sequence)."""

    epoch: int
    seq: int


class Leaf(NamedTuple):
    """One queue of the scheduler: tasks that are alike in all that it may decide by."""

    tenant: TenantId
    function: FunctionName
    priority: Priority
    key: str = ""
    """Of which so many may run at once; empty: the function has no such limit, or the task no key."""
    lane: Lane = Lane.MAIN
    memory_bytes: int = 0
    """What a lease asks for, if that is more than its function says: these have run out of less. See `memory`."""
    pin: int = 0
    """The version of its app that these stay on; 0: they take whatever is current. See `versions`."""

    @property
    def plain(self) -> Leaf:
        """The same without what only matters for as long as a task waits: where it is counted in history."""
        return Leaf(self.tenant, self.function, self.priority)

    @property
    def group(self) -> Leaf:
        """The same without its key: what is counted together, however many keys there are."""
        return self._replace(key="") if self.key else self


class ErrorInfo(Struct, frozen=True, array_like=True, gc=False):
    """Why an attempt or a task ended badly. `reason` is an `OutcomeKind` value, or `poison`."""

    reason: str
    message: str
    detail: str = ""
    """The end of the traceback or of the process's last words; empty if there was none."""


class Hooks(Struct, frozen=True, array_like=True, gc=False):
    """What follows when a run of a task has ended. Empty: nothing."""

    callback_url: str = ""
    """Is told by a signed HTTP request, however the run has ended."""
    on_success: str = ""
    """A function that gets a task when the run has succeeded."""
    on_failure: str = ""
    """A function that gets a task when the run has failed, or has expired."""


class NewTask(Struct, frozen=True, array_like=True, gc=False):
    """A task as the gateway hands it over: its payload is valid for the function's schema."""

    id: TaskId
    function: FunctionName
    payload: bytes
    """Canonical JSON text (sorted keys), so that equal payloads are equal bytes; or a reference to it (`values`)."""
    priority: Priority | None = None
    """None: the function's own."""
    run_at_ms: int | None = None
    delay_ms: int | None = None
    max_attempts: int | None = None
    timeout_ms: int | None = None
    tags: tuple[tuple[str, str], ...] = ()
    key: str = ""
    """What its function's `key_max_running` counts by."""
    ttl_ms: int | None = None
    """It ends if it has not started by then, reckoned from its acceptance. None: the function's own."""
    deadline_ms: int | None = None
    """When it is to have ended."""
    deadline_in_ms: int | None = None
    """The same, reckoned from its acceptance. Neither: the function's own."""
    off_peak: bool | None = None
    """Whether it can wait for off-peak hours. None: the function's own."""
    hooks: Hooks | None = None


class Task(Struct, frozen=True, array_like=True, gc=False):
    """A task as the table keeps it."""

    no: TaskNo
    id: TaskId
    tenant: TenantId
    function: FunctionName
    priority: Priority
    state: TaskState
    payload: bytes
    """As in `NewTask`."""
    tags: tuple[tuple[str, str], ...]
    created_ms: int
    due_ms: int
    """When it may run at the earliest; queues are ordered by it."""
    max_attempts: int
    timeout_ms: int
    run: int = 1
    """1, and one more for each time a finished task is run again by hand."""
    attempt: int = 0
    """Attempts charged in this run, counted when leased."""
    crashes: int = 0
    losses: int = 0
    token: Token | None = None
    """The lease it holds; None unless running."""
    started_ms: int | None = None
    ended_ms: int | None = None
    duration_us: int | None = None
    """Time the last finished attempt spent in the handler."""
    result: bytes | None = None
    """JSON text, or a reference to it."""
    error: ErrorInfo | None = None
    """Why the last attempt of this run ended badly; kept after a later success as well."""
    expires_ms: int | None = None
    """When it ends if it has not started by then; None: never, or it has come back from an attempt."""
    resume_ms: int | None = None
    """When it is resumed by itself; only of paused tasks."""

    key: str = ""
    lane: Lane = Lane.MAIN
    deadline_ms: int | None = None
    """When it is to have ended. If it has not by then it runs all the same, and has missed it."""
    press_ms: int | None = None
    """When it leaves its off-peak lane at the latest, so as to end by its deadline: see `press`."""
    memory_bytes: int = 0
    """As in `Leaf`."""
    preempted: int = 0
    """How often it was stopped for others in this run."""
    throttles: int = 0
    """How often its downstream had no room for it in this run."""
    hooks: Hooks | None = None
    log: str = ""
    """Where the log of its last attempts is, those of runs before included: see `taskservice.logs.places`."""
    pin: int = 0
    """As in `Leaf`."""
    version: int = 0
    """The version of its app that its last lease was for; 0: none, or its code has no versions."""

    @property
    def leaf(self) -> Leaf:
        parts = (self.tenant, self.function, self.priority, self.key, self.lane, self.memory_bytes, self.pin)
        return _tuple(Leaf, parts)  # as Leaf(*parts), in half the time: this is asked several times for each task


class ListFilter(Struct, frozen=True, array_like=True):
    """Which tasks a listing wants. None: any."""

    tenant: TenantId | None = None
    states: tuple[TaskState, ...] = ()
    function: FunctionName | None = None
    priority: Priority | None = None
    tag: tuple[str, str] | None = None
    created_after_ms: int | None = None
    created_before_ms: int | None = None
