"""What is set up rather than submitted: functions, tenants, keys.

Structs are encoded as arrays: append new fields at the end, with a default, and never reorder.
"""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.types import FunctionName, Priority, TenantId


class Resources(Struct, frozen=True, array_like=True):
    """A quantity of machine: thousandths of CPUs and GPUs, bytes of memory, thousandths of custom resources."""

    cpu_m: int = 1000
    gpu_m: int = 0
    memory_bytes: int = 0
    custom_m: tuple[tuple[str, int], ...] = ()


class Bundle(Struct, frozen=True, array_like=True):
    """Where a function's code is: `module:attribute`, importable once the code is on `sys.path`."""

    module: str
    attribute: str
    path: str
    """The code's folder on every machine; empty if the code is an archive."""
    sha256: str = ""
    """Of the archive's files, in hex: the same code has the same, wherever it was packed."""
    key: str = ""
    """The archive, on the object store of the state."""
    size_bytes: int = 0
    """Of the archive."""


class RetryPolicy(Struct, frozen=True, array_like=True):
    """Exponential back-off: before attempt n+1, up to `base * factor**(n-1)`, at most `max`; full jitter draws below it."""

    max_attempts: int = 5
    base_ms: int = 1_000
    max_ms: int = 300_000
    factor: float = 2.0
    jitter: bool = True


class Rate(Struct, frozen=True, array_like=True):
    """So many tasks a second, and so many at once after a pause."""

    per_s: float
    burst: int


class Quota(Struct, frozen=True, array_like=True):
    """What somebody may have of the pool at once: resource names (CPU, GPU, memory, custom ones), and amounts as in `Resources`."""

    reserved: tuple[tuple[str, int], ...] = ()
    """It gets as much as soon as it has work; while it has none, others have it."""
    maximum: tuple[tuple[str, int], ...] = ()
    """A resource that is not named has no bound."""


class FunctionSpec(Struct, frozen=True, array_like=True):
    """A registered function, as the control plane knows it: never its code."""

    name: FunctionName
    bundle: Bundle
    payload_schema: bytes
    """JSON Schema of the payload, as JSON text."""
    result_schema: bytes = b""
    doc: str = ""
    resources: Resources = Resources()
    timeout_ms: int = 600_000
    retry: RetryPolicy = RetryPolicy()
    is_async: bool = False
    concurrency: int = 1
    """Attempts of one lease that run at the same time in one process; above 1 only for async handlers."""
    max_crashes: int = 3
    priority: Priority = Priority.NORMAL
    rate: Rate | None = None
    """Tasks that may start, of all tenants together."""
    submit_rate: Rate | None = None
    """Tasks that may be submitted, by all tenants together."""
    max_running: int | None = None
    """Tasks that may run at once, of all tenants together."""
    downstream: str = ""
    """What it calls, and shares with others that call it; empty: nothing that anybody else calls."""
    key: str = ""
    """The parameter whose value is a task's key; empty: its tasks have none."""
    key_max_running: int | None = None
    """Tasks of one tenant that have the same key and may run at once."""
    retry_share: float = 0.1
    """Retries for each call, at most: see `flow.retry_budget`."""
    ttl_ms: int | None = None
    """Of tasks that do not say their own; None: they do not expire."""
    off_peak: bool = False
    """Whether tasks that do not say it can wait for off-peak hours."""
    deadline_ms: int | None = None
    """Of tasks that do not say their own, from their acceptance; None: they have none."""
    labels: tuple[tuple[str, str], ...] = ()
    """What a machine must have among its labels to run its tasks, sorted by name."""
    spread: bool = False
    """Its tasks run where the fewest others of it do, and not where there is most room."""
    memory_retry_factor: float | None = None
    """A task that has run out of memory asks for so many times as much the next time; None: for as much again."""
    memory_max_bytes: int | None = None
    """It never asks for more; None: for as much as the largest machine has."""
    preemptible: bool | None = None
    """Whether its tasks may be stopped, to run again later, so that others get what is their own; None: unless they are critical."""
    grace_ms: int = 5_000
    """How long an attempt that is told to stop has before it is ended by force."""
    secrets: tuple[str, ...] = ()
    """Names of what its attempts may read of the operator's secrets, in order; their values are nowhere in the core."""
    pin: bool = False
    """Its queued tasks stay on the version under which they were accepted."""
    missing: bool = False
    """The current version of its app has no such function: it takes no new tasks, and those that there are wait."""


class Tenant(Struct, frozen=True, array_like=True):
    """Whom tasks belong to. `weight` is the share of machine time relative to other tenants."""

    id: TenantId
    weight: float = 1.0
    queued_max: int | None = None
    """Tasks not yet ended that the tenant may have; None: no limit of its own."""
    running_max: int | None = None
    rate: Rate | None = None
    """Tasks that may start."""
    submit_rate: Rate | None = None
    """Tasks that may be submitted."""
    quota: Quota = Quota()


class FunctionPolicy(Struct, frozen=True, array_like=True, tag="function"):
    """What an operator has set of a function while it is in use. None: as the function says itself."""

    name: FunctionName
    paused: bool = False
    """None of its tasks starts; what runs goes on."""
    rate: Rate | None = None
    max_running: int | None = None
    quota: Quota = Quota()


class DownstreamPolicy(Struct, frozen=True, array_like=True, tag="downstream"):
    """What an operator has set of a downstream's window. None: it is found out."""

    name: str
    ceiling: int | None = None
    frozen: int | None = None
    """As many at once, whatever happens."""


class ClassPolicy(Struct, frozen=True, array_like=True, tag="class"):
    """What an operator has set of a priority class."""

    name: Priority
    weight: float | None = None
    quota: Quota = Quota()


Policy = FunctionPolicy | DownstreamPolicy | ClassPolicy


def policy_key(policy: Policy) -> tuple[str, str]:
    """What the policy is about: there is one for each."""
    return policy.__struct_config__.tag, policy.name  # type: ignore[return-value]  # a tag that we wrote is a str


class ApiKey(Struct, frozen=True, array_like=True):
    """A key's public half: the secret itself is shown once and never stored."""

    id: str
    tenant: TenantId
    scopes: tuple[str, ...]
    """Of `submit`, `read`, `operate`, `admin`; admin includes all, for every tenant."""
    secret_sha256: bytes
    name: str = ""
    created_ms: int = 0
    revoked: bool = False
