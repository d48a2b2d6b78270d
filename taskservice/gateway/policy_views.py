"""Functions, downstreams and classes as operators change them: what comes in and what is shown."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from taskservice.core.specs import ClassPolicy, DownstreamPolicy, FunctionPolicy, FunctionSpec
from taskservice.core.turns import CLASS_WEIGHTS
from taskservice.core.types import Priority
from taskservice.gateway.amounts import QuotaSaid, QuotaView, RateSaid, RateView, quota_view, rate_view
from taskservice.gateway.insight_views import WindowView
from taskservice.gateway.requests import QuantityMax, Weight


class FunctionPatch(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of how a function is treated. Absent: as it is; null: as the function says itself."""

    paused: bool | UnsetType | None = UNSET
    """None of its tasks starts; what runs goes on."""
    rate: RateSaid | UnsetType | None = UNSET
    """Tasks that may start, of all tenants together."""
    max_running: QuantityMax | UnsetType | None = UNSET
    quota: QuotaSaid | UnsetType | None = UNSET


class DownstreamPatch(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a downstream's window. Absent: as it is; null: it is found out."""

    ceiling: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType | None = UNSET
    """Never more at once than that."""
    frozen: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType | None = UNSET
    """As many at once, whatever happens."""


class ClassPatch(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a priority class. Absent: as it is; null: as by default."""

    weight: Weight | UnsetType | None = UNSET
    quota: QuotaSaid | UnsetType | None = UNSET


class ResourcesView(Struct, frozen=True):
    """What one attempt occupies."""

    cpus: float
    gpus: float
    memory_bytes: int
    custom: dict[str, float]


class RetryView(Struct, frozen=True):
    """When an attempt that failed is made again."""

    max_attempts: int
    base_s: float
    max_s: float
    factor: float
    jitter: bool


class FunctionView(Struct, frozen=True, kw_only=True):
    """A function that can be submitted to, as it is treated now."""

    name: str
    doc: str
    payload_schema: Raw
    result_schema: Raw | None
    resources: ResourcesView
    timeout_s: float
    ttl_s: float | None
    """Of tasks that do not say their own; null: they do not expire."""
    deadline_s: float | None
    """Likewise, from acceptance on; null: they have none."""
    off_peak: bool
    """Likewise: they can wait for off-peak hours or an idle pool."""
    labels: dict[str, str]
    """Of the machines that may run it."""
    spread: bool
    """Its tasks run where the fewest others of it do."""
    retry: RetryView
    retry_share: float
    """Retries for each call, at most, while its calls fail."""
    memory_retry_factor: float | None
    """A task that has run out of memory asks for so many times as much the next time; null: for as much again."""
    memory_max_bytes: int | None
    """It never asks for more; null: for as much as the largest machine has."""
    concurrency: int
    max_crashes: int
    priority: Priority
    preemptible: bool | None
    """Whether its tasks may be stopped for others; null: unless they are critical."""
    grace_s: float
    """What they have then before they are ended by force."""
    pin: bool
    """Its queued tasks stay on the version of the app that they were submitted under."""
    missing: bool
    """The current version of its app has not got it: it takes no tasks, and those that there are wait."""
    paused: bool
    rate: RateView | None
    """Tasks that may start, of all tenants together; null: no limit."""
    submit_rate: RateView | None
    max_running: int | None
    quota: QuotaView
    downstream: str | None
    """Whose window its tasks pass."""
    key: str | None
    """The parameter whose value is a task's key."""
    key_max_running: int | None
    set_by_operator: list[str]
    """Of these settings, those that are not as the function says itself."""


class FunctionsView(Struct, frozen=True):
    functions: list[FunctionView]


class DownstreamView(Struct, frozen=True, kw_only=True):
    """A downstream: what operators have set (null: nothing), and its window; null: nothing has called it yet."""

    name: str
    functions: list[str]
    ceiling: int | None
    frozen: int | None
    window: WindowView | None


class DownstreamsView(Struct, frozen=True):
    downstreams: list[DownstreamView]


class ClassView(Struct, frozen=True, kw_only=True):
    """A priority class."""

    name: Priority
    weight: float
    quota: QuotaView
    set_by_operator: list[str]


class ClassesView(Struct, frozen=True):
    classes: list[ClassView]


MODELS = (
    FunctionPatch, DownstreamPatch, ClassPatch, FunctionView, FunctionsView, DownstreamView, DownstreamsView, ClassView,
    ClassesView,
)  # fmt: skip


def function_view(spec: FunctionSpec, policy: FunctionPolicy) -> FunctionView:
    """A function as users see it: everything but where its code is."""
    resources, retry = spec.resources, spec.retry
    return FunctionView(
        name=spec.name,
        doc=spec.doc,
        payload_schema=Raw(spec.payload_schema),
        result_schema=Raw(spec.result_schema) if spec.result_schema else None,
        resources=ResourcesView(
            resources.cpu_m / 1000,
            resources.gpu_m / 1000,
            resources.memory_bytes,
            {name: amount / 1000 for name, amount in resources.custom_m},
        ),
        timeout_s=spec.timeout_ms / 1000,
        ttl_s=None if spec.ttl_ms is None else spec.ttl_ms / 1000,
        deadline_s=None if spec.deadline_ms is None else spec.deadline_ms / 1000,
        off_peak=spec.off_peak,
        labels=dict(spec.labels),
        spread=spec.spread,
        retry=RetryView(retry.max_attempts, retry.base_ms / 1000, retry.max_ms / 1000, retry.factor, retry.jitter),
        retry_share=spec.retry_share,
        memory_retry_factor=spec.memory_retry_factor,
        memory_max_bytes=spec.memory_max_bytes,
        concurrency=spec.concurrency,
        max_crashes=spec.max_crashes,
        priority=spec.priority,
        preemptible=spec.preemptible,
        pin=spec.pin,
        missing=spec.missing,
        grace_s=spec.grace_ms / 1000,
        paused=policy.paused,
        rate=rate_view(policy.rate or spec.rate),
        submit_rate=rate_view(spec.submit_rate),
        max_running=spec.max_running if policy.max_running is None else policy.max_running,
        quota=quota_view(policy.quota),
        downstream=spec.downstream or None,
        key=spec.key or None,
        key_max_running=spec.key_max_running,
        set_by_operator=_set(policy, FunctionPolicy(spec.name)),
    )


def class_view(policy: ClassPolicy) -> ClassView:
    """A class as it is treated now."""
    return ClassView(
        name=policy.name,
        weight=policy.weight or CLASS_WEIGHTS[policy.name],
        quota=quota_view(policy.quota),
        set_by_operator=_set(policy, ClassPolicy(policy.name)),
    )


def downstream_view(policy: DownstreamPolicy, functions: list[str], window: WindowView | None) -> DownstreamView:
    """A downstream as it is treated now."""
    return DownstreamView(
        name=policy.name, functions=functions, ceiling=policy.ceiling, frozen=policy.frozen, window=window
    )


def _set(policy: Struct, default: Struct) -> list[str]:
    return [name for name in policy.__struct_fields__ if getattr(policy, name) != getattr(default, name)]
