"""What a lease and its reports are made of: spoken by dispatcher, runner and supervisor, as msgpack of these structs."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.specs import Bundle, Resources
from taskservice.core.types import FunctionName, OutcomeKind, RunnerId, TaskId, TaskNo, TenantId, Token

BYTES = b"\x02"
"""What a checkpoint begins with that is no JSON."""


class LeaseTask(Struct, frozen=True, array_like=True, gc=False):
    """One attempt to make."""

    no: TaskNo
    id: TaskId
    payload: bytes
    """A reference to it where that is what the task has: the supervisor fetches it, the child gets the text."""
    attempt: int
    run: int
    timeout_ms: int
    tags: tuple[tuple[str, str], ...] = ()
    checkpoint: bytes = b""
    """The last one of the attempts before; empty if there is none. JSON text, or `BYTES` and bytes; or a reference to that where
    that is what the task has: as with the payload."""
    log: str = ""
    """Where the log of the attempts before is."""


class LeaseSpec(Struct, frozen=True, array_like=True):
    """A lease as its supervisor gets it: tasks of one tenant and function, in order."""

    token: Token
    tenant: TenantId
    function: FunctionName
    bundle: Bundle
    resources: Resources
    is_async: bool
    concurrency: int
    slice_ms: int
    """While an attempt runs longer than this after the lease began, what has not been started is handed back."""
    tasks: tuple[LeaseTask, ...]
    grace_ms: int = 0
    """What an attempt has when its time is over, before it is ended by force."""
    apart: bool = False
    """Whether there are other tenants, whom its handlers must not reach."""
    secrets: tuple[str, ...] = ()
    """Names of those that the function has declared."""


class Outcome(Struct, frozen=True, array_like=True, gc=False):
    """How one attempt of a lease ended."""

    no: TaskNo
    kind: OutcomeKind
    started_ms: int = 0
    duration_us: int = 0
    result: bytes = b""
    """JSON text if it succeeded; a reference to it if the supervisor has written it apart."""
    message: str = ""
    detail: str = ""
    retry_after_ms: int | None = None
    """Only for THROTTLED and STORE_AWAY."""


class LeaseReport(Struct, frozen=True, array_like=True):
    """News of one lease. Each task of a lease is reported once: by an outcome, or as handed back."""

    token: Token
    outcomes: tuple[Outcome, ...] = ()
    handed_back: tuple[TaskNo, ...] = ()
    """Not started, or stopped through no fault of their own; their attempt is not charged."""
    done: bool = False
    """The lease is over and its resources are free; whatever it did not report is lost."""
    held_us: int = 0
    """How long it has had its resources, if it is over; 0: nobody knows."""
    checkpoints: tuple[tuple[TaskNo, bytes], ...] = ()
    """What attempts have put down, in order, before whatever else is said here of them; large ones are references."""
    log: str = ""
    """Where the log of all that this tells of is, or will be; empty: they wrote nothing; `~`: it could not be kept."""
    logs: tuple[tuple[TaskNo, str], ...] = ()
    """Attempts that still run, and where the newest part of their log is that is stored."""


class RunnerReport(Struct, frozen=True, array_like=True):
    """What a runner tells its dispatcher at once; also its heartbeat when empty."""

    runner: RunnerId
    leases: tuple[LeaseReport, ...] = ()


class ReportAck(Struct, frozen=True, array_like=True):
    """The report is durable and may be forgotten."""

    gone: tuple[Token, ...] = ()
    """Leases of this report that nobody holds any more: stop them, their tasks belong to others."""


class HeldLease(Struct, frozen=True, array_like=True):
    """A lease that a runner has, told to a dispatcher that has just started."""

    token: Token
    resources: Resources
    logs: tuple[tuple[TaskNo, str], ...] = ()
    """As in `LeaseReport`."""
