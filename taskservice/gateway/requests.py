"""What comes in, as typed structs: the decoder, the validation and the OpenAPI document are all made from these."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from taskservice.callback_urls import URL_CHARS_MAX
from taskservice.core.schedules import CatchUp, Overlap
from taskservice.core.types import OnConflict, Priority, TaskState
from taskservice.gateway.amounts import QuotaSaid, RateSaid
from taskservice.ids import SCHEDULE_ID_PATTERN, TASK_ID_PATTERN

Scope = Literal["submit", "read", "operate", "admin", "metrics"]

Duration = Annotated[
    str | int | float, Meta(description='Seconds, or text such as "90s", "5m", "1h".', examples=["5m"])
]
Instant = Annotated[
    str | int | float,
    Meta(description="ISO 8601 with a zone, or seconds since the Unix epoch.", examples=["2030-01-31T09:00:00Z"]),
]
Deadline = Annotated[
    str | int | float,
    Meta(description="ISO 8601 with a zone; or from acceptance on: seconds, or text such as 8h.", examples=["8h"]),
]
JsonObject = Annotated[Raw, Meta(description="The function's arguments.", extra_json_schema={"type": "object"})]
TaskIdText = Annotated[
    str, Meta(max_length=200, description="1 to 200 characters.", extra_json_schema={"pattern": TASK_ID_PATTERN})
]
ScheduleIdText = Annotated[
    str, Meta(max_length=100, description="1 to 100 characters.", extra_json_schema={"pattern": SCHEDULE_ID_PATTERN})
]
FunctionText = Annotated[str, Meta(min_length=1, max_length=200, examples=["media.thumbnail"])]
TenantText = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$(?!\n)")]  # Python's $ also stands before \n
QuantityMax = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Weight = Annotated[float, Meta(gt=0, le=1_000_000)]


class TaskRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A task to be run. Null is the same as absent, except for the payload."""

    function: FunctionText
    payload: JsonObject | UnsetType = UNSET
    id: TaskIdText | UnsetType | None = UNSET
    """Made up (UUIDv7) if absent. The same id again is the same task."""
    priority: Priority | UnsetType | None = UNSET
    delay: Duration | UnsetType | None = UNSET
    run_at: Instant | UnsetType | None = UNSET
    max_attempts: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType | None = UNSET
    timeout: Duration | UnsetType | None = UNSET
    ttl: Duration | UnsetType | None = UNSET
    """The task expires if it has not started by then; the function's own if absent."""
    deadline: Deadline | UnsetType | None = UNSET
    """When the task is to have ended; the function's own if absent. Later, it runs all the same."""
    off_peak: bool | UnsetType | None = UNSET
    """The task can wait for off-peak hours, or for an idle pool, while its deadline leaves time; the function's own if absent."""
    tags: dict[str, str] | UnsetType | None = UNSET
    key: Annotated[str, Meta(min_length=1, max_length=1_000)] | UnsetType | None = UNSET
    """What its function's `key_max_running` counts by; if absent, the value of the parameter that the function names."""
    callback_url: Annotated[str, Meta(min_length=1, max_length=URL_CHARS_MAX)] | UnsetType | None = UNSET
    """Is told by a signed POST (Standard Webhooks) when the task has ended."""
    on_success: FunctionText | UnsetType | None = UNSET
    """A function that gets a task `{"task": {...}}` when this one has succeeded."""
    on_failure: FunctionText | UnsetType | None = UNSET
    """A function that gets a task `{"task": {...}}` when this one has failed or expired."""


class SubmitRequest(TaskRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A task to be run, and what to do if its id is known already."""

    on_conflict: OnConflict | UnsetType | None = UNSET


class BatchRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Tasks to be run. Each is read on its own, so that a bad one refuses itself alone."""

    tasks: list[Raw]
    on_conflict: OnConflict | UnsetType | None = UNSET


class ChangeRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Tasks to which something is to be done: by their ids, or all that pass the filters, which are those of a listing."""

    ids: list[TaskIdText] | UnsetType = UNSET
    state: TaskState | list[TaskState] | UnsetType | None = UNSET
    function: str | UnsetType | None = UNSET
    priority: Priority | UnsetType | None = UNSET
    tag: str | UnsetType | None = UNSET
    """NAME=VALUE"""
    created_after: Instant | UnsetType | None = UNSET
    created_before: Instant | UnsetType | None = UNSET
    tenant: str | UnsetType | None = UNSET
    """For admins: another tenant than the key's own, or * for all."""
    dry_run: bool = False
    """Only say how many pass the filters."""

    @property
    def says_more_than_ids(self) -> bool:
        """Whether it names filters as well, or asks for a dry run."""
        return any(getattr(self, name) is not UNSET for name in FILTER_NAMES) or self.dry_run


FILTER_NAMES = tuple(name for name in ChangeRequest.__struct_fields__ if name not in ("ids", "dry_run"))


class PauseRequest(ChangeRequest, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Tasks that are to be paused, named as in `ChangeRequest`."""

    until: Instant | UnsetType | None = UNSET
    """They are resumed by themselves then; if absent, when somebody resumes them."""
    running: Literal["finish"] = "finish"
    """Tasks that run are left alone."""


class SchedulePatch(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change of a schedule. Absent: as it is; null: as if it had never been said. An interval takes the place of a cron
    expression, and the other way round."""

    function: FunctionText | UnsetType = UNSET
    payload: JsonObject | UnsetType = UNSET
    priority: Priority | UnsetType | None = UNSET
    max_attempts: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType | None = UNSET
    timeout: Duration | UnsetType | None = UNSET
    ttl: Duration | UnsetType | None = UNSET
    deadline: Duration | UnsetType | None = UNSET
    """Of each task, from when it is made."""
    off_peak: bool | UnsetType | None = UNSET
    tags: dict[str, str] | UnsetType | None = UNSET
    callback_url: Annotated[str, Meta(min_length=1, max_length=URL_CHARS_MAX)] | UnsetType | None = UNSET
    """Of each task; so for the two that follow."""
    on_success: FunctionText | UnsetType | None = UNSET
    on_failure: FunctionText | UnsetType | None = UNSET
    cron: Annotated[str, Meta(max_length=200, examples=["30 2 * * MON-FRI"])] | UnsetType | None = UNSET
    """Minute, hour, day of month, month, day of week."""
    zone: Annotated[str, Meta(max_length=100, examples=["Europe/Berlin"])] | UnsetType | None = UNSET
    """The time zone of `cron`; UTC if absent."""
    interval: Duration | UnsetType | None = UNSET
    anchor: Instant | UnsetType | None = UNSET
    """A time that intervals are counted from."""
    overlap: Overlap | UnsetType | None = UNSET
    catch_up: CatchUp | UnsetType | None = UNSET
    jitter: Duration | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET
    starts_at: Instant | UnsetType | None = UNSET
    ends_at: Instant | UnsetType | None = UNSET


class ScheduleRequest(SchedulePatch, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A schedule to be set, with `cron` or `interval`. Null is the same as absent, except for the payload."""

    function: FunctionText
    id: ScheduleIdText | UnsetType | None = UNSET
    """Made up (UUIDv7) if absent. The same schedule under the same id again is there once."""


class TenantRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant to be known."""

    id: TenantText
    weight: Weight = 1.0
    queued_max: QuantityMax | None = None
    running_max: QuantityMax | None = None
    rate: RateSaid | None = None
    """Tasks that may start."""
    submit_rate: RateSaid | None = None
    """Tasks that may be submitted."""
    quota: QuotaSaid | None = None


class TenantPatch(Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a tenant. Absent: as it is; null: no limit, and of the weight 1."""

    weight: Weight | UnsetType | None = UNSET
    queued_max: QuantityMax | UnsetType | None = UNSET
    running_max: QuantityMax | UnsetType | None = UNSET
    rate: RateSaid | UnsetType | None = UNSET
    submit_rate: RateSaid | UnsetType | None = UNSET
    quota: QuotaSaid | UnsetType | None = UNSET


class KeyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A key to be made."""

    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=16)]
    tenant: TenantText | None = None
    """The caller's own if absent."""
    name: Annotated[str, Meta(max_length=200)] = ""


class EndpointRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint of callbacks."""

    origin: Annotated[str, Meta(min_length=1, max_length=URL_CHARS_MAX, examples=["https://example.com"])]
    """Scheme, host and port, as listings have them."""


MODELS = (
    TaskRequest, SubmitRequest, BatchRequest, ChangeRequest, PauseRequest, SchedulePatch, ScheduleRequest, TenantRequest,
    TenantPatch, KeyRequest, EndpointRequest,
)  # fmt: skip
"""All that the OpenAPI document describes."""
