"""All settings: one frozen, typed object.

A flag wins over the environment, the environment over the file, the file over the default. `configs/taskservice.yaml`
shows them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from taskservice.callback_settings import CallbackSettings
from taskservice.config_file import Bytes, FileSource, complaints
from taskservice.core.limits import SCHEDULE_TIMES_MAX, Limits
from taskservice.core.off_peak import parse_window
from taskservice.core.recurrence import BadTiming
from taskservice.errors import RequestError
from taskservice.isolation_settings import IsolationSettings
from taskservice.scaling import AutoscalerSettings

MIB = 1 << 20
DAY_S = 86_400.0
ENV_PREFIX = "TASKSERVICE_"
HEARTBEATS_MISSED_MIN = 3
"""A runner is given up for silent only after so many heartbeats in a row did not come."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9._-]+(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*/?")
"""A bucket, and below it a prefix of words as object keys have them."""
_seconds = partial(Field, gt=0, allow_inf_nan=False)
_kept_s = partial(Field, ge=0, allow_inf_nan=False)


class ServiceSettings(BaseSettings):
    """All settings but those that have a file of their own: see `Settings`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    config: Path | None = Field(None, description="A YAML or TOML file with settings; none by default.")

    home: Path = Field(
        Path("~/.taskservice"),
        validate_default=True,
        description="Directory for what this machine keeps for itself: client.json, pid file, logs, working tables.",
    )
    state_dir: str = Field(
        "",
        validate_default=True,
        description="Where the journal is, which is the truth about all tasks, and all that belongs to it: a local "
        'directory, or s3://bucket/prefix; "" means <home>/state.',
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What the service logs.")

    host: str = Field("127.0.0.1", min_length=1, description="Address that the HTTP server listens on.")
    port: int = Field(8700, ge=1, le=65535, description="TCP port that the HTTP server listens on.")
    address: str = Field("", description='Ray cluster to join, as Ray names it ("auto"); "" starts a local one.')
    cpus: PositiveInt | None = Field(None, description="CPUs that a local Ray may use; null means all.")
    object_store_bytes: Annotated[int, Bytes] = Field(
        100 * MIB,
        ge=75 * MIB,  # Ray refuses less
        description="Bytes of shared memory for a local Ray's object store; tasks do not use it unless they call Ray.",
    )

    # Larger than most queues allow, and small enough that a gateway and a child can have several in RAM.
    payload_bytes_max: Annotated[int, Bytes] = Field(16 * MIB, gt=0, description="Bytes of a task's payload, as JSON.")
    body_bytes_max: Annotated[int, Bytes] = Field(64 * MIB, gt=0, description="Bytes of a request that brings tasks.")
    batch_tasks_max: int = Field(
        10_000, gt=0, description="Tasks in a batch, or ids to be cancelled, paused, ... at once."
    )
    wait_s_max: float = _seconds(60.0, description="Seconds that a long poll stays open.")
    list_limit_max: int = Field(1_000, gt=0, description="Tasks on a page of a listing.")
    result_bytes_max: Annotated[int, Bytes] = Field(16 * MIB, gt=0, description="Bytes of a task's result, as JSON.")
    inline_bytes_max: Annotated[int, Bytes] = Field(
        64 << 10,
        gt=0,
        description="Bytes of a payload or result that is kept in the journal; a larger one is an object of its own.",
    )
    value_timeout_s: float = _seconds(
        10.0,
        description="Seconds that reading or writing such an object may take before the caller is told to come back.",
    )
    result_patience_s: float = _seconds(
        300.0,
        description="Seconds that a large result is kept and tried to be written while the store is away; then the task "
        "is run again.",
    )
    task_checkpoint_bytes_max: Annotated[int, Bytes] = Field(
        16 * MIB, gt=0, description="Bytes of a task's checkpoint."
    )
    task_checkpoint_interval_s: float = _seconds(
        5.0,
        description="Seconds from one checkpoint of a task that is kept to the next; between them the last one waits in the "
        "handler's process.",
    )
    orphan_age_s: float = Field(
        86_400.0,
        ge=3_600.0,
        allow_inf_nan=False,
        description="Seconds after which an object that no task refers to is removed.",
    )
    log_bytes_max: Annotated[int, Bytes] = Field(
        MIB, gt=0, description="Bytes that are kept of an attempt's log; what is written after that is dropped."
    )
    logs_keep_s: float = _kept_s(30 * DAY_S, description="Seconds that logs of tasks are kept; 0 means for ever.")
    log_buffer_bytes_max: Annotated[int, Bytes] = Field(
        256 * MIB, gt=0, description="Bytes of logs that wait on a machine's disk while the store is away, at most."
    )

    lease_target_ms: int = Field(80, gt=0, description="Milliseconds of work aimed at in one lease of short tasks.")
    lease_tasks_max: int = Field(256, gt=0, description="Tasks in one lease.")
    lease_bytes_max: Annotated[int, Bytes] = Field(
        2 * MIB, gt=0, description="Bytes of payloads aimed at in one lease; a single task may be larger."
    )
    lease_slice_ms: int = Field(
        400, gt=0, description="Milliseconds after which a lease hands back what it has not started."
    )
    lease_ahead_max: int = Field(
        1, ge=0, description="Leases of short tasks that may wait on a runner for each of its CPUs."
    )
    head_tasks_max: int = Field(2_000, gt=0, description="Tasks of one queue whose numbers are kept in RAM.")
    losses_max: int = Field(
        10, ge=0, description="Times that an attempt may vanish with its machine before the task is dead-lettered."
    )
    throttles_max: int = Field(
        1_000,
        ge=0,
        description="Times that a downstream may have no room for a task, which is not charged, before it is dead-lettered.",
    )
    due_batch_max: int = Field(
        1_000,
        gt=0,
        description="Tasks that fall due in one turn, that expire, and that are resumed by themselves: of each.",
    )
    operation_batch_max: int = Field(
        2_000, gt=0, description="Tasks that bulk operations change in one turn; a quarter of it where they delete."
    )
    operations_max: int = Field(10, gt=0, description="Bulk operations of one tenant that may be under way.")
    schedules_max: int = Field(1_000, ge=0, description="Schedules of one tenant.")
    triggers_max: int = Field(100, ge=0, description="Triggers of one tenant.")
    schedule_period_ms_min: int = Field(
        1_000, gt=0, description="Milliseconds that have to be between two times of a schedule."
    )
    schedule_catchup_max: int = Field(
        100,
        gt=0,
        lt=SCHEDULE_TIMES_MAX,
        description="Times that passed during an outage, of which a schedule with the catch-up policy all makes tasks.",
    )
    schedule_grace_ms: int = Field(
        60_000, ge=0, description="Milliseconds by which a time may be late under the catch-up policy skip."
    )
    schedule_retry_ms: int = Field(
        10_000, gt=0, description="Milliseconds after which a schedule's task that was refused is tried again."
    )
    off_peak_windows: tuple[str, ...] = Field(
        (),
        description='When off-peak tasks may start, such as ["22:00-06:00 Europe/Berlin", "SAT,SUN 00:00-24:00"]; days are '
        "those on which a window opens, by default all; the zone is UTC if none is named.",
    )
    off_peak_idle_ratio: float = Field(
        0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Part of the pool; while less is in use, off-peak tasks may start as well. 0 means only in the "
        "windows; with no window either, they start like all others.",
    )
    off_peak_idle_s: float = _kept_s(
        60.0, description="Seconds for which other tasks must have used less than that before."
    )
    placement: Literal["least_loaded", "pack"] = Field(
        "least_loaded",
        description="Which machine a task goes to: that with the least load, or (pack) the fullest that has room, so "
        "that whole machines become free.",
    )
    journal_file_bytes_max: Annotated[int, Bytes] = Field(
        64 * MIB, gt=0, description="Bytes of a journal file, after which the next one is begun."
    )
    commit_timeout_s: float = _seconds(
        10.0, description="Seconds that a submit waits for the journal before it is answered with 503."
    )
    commit_interval_ms: int = Field(
        25, ge=0, description="Milliseconds between two commits to a bucket while the first is under way."
    )
    commit_bytes_max: Annotated[int, Bytes] = Field(
        MIB, gt=0, description="Bytes of records that are committed without waiting for commit_interval_ms."
    )
    commit_lazy_ms: int = Field(
        200, ge=0, description="Milliseconds that records wait for a commit when nobody waits for them."
    )
    commits_max: int = Field(
        4, ge=1, le=16, description="Commits to a bucket that may be under way at once; a local directory takes one."
    )
    checkpoint_interval_s: float = _seconds(
        300.0, description="Seconds between two checkpoints, if anything has happened."
    )
    checkpoint_journal_bytes_max: Annotated[int, Bytes] = Field(
        64 * MIB, gt=0, description="Bytes of records after which a checkpoint is made before its time."
    )
    table_log_bytes_max: Annotated[int, Bytes] = Field(
        64 * MIB, gt=0, description="Bytes of the working table's log, after which it is folded into the table's file."
    )
    journal_check_s: float = _seconds(
        60.0, description="Seconds after which an idle dispatcher asks whether the journal is still its own."
    )

    retention_s: float = _kept_s(
        DAY_S,
        description="Seconds that a task stays in the working table after it succeeded, was cancelled or has expired.",
    )
    retention_failed_s: float = _kept_s(
        30 * DAY_S, description="Seconds that a dead letter stays in the working table."
    )
    dedup_window_s: float = _kept_s(
        7 * DAY_S,
        description="Seconds after its end that a task's id is known, so that the task is shown, and not accepted again.",
    )
    history_keep_s: float = _kept_s(
        0, description="Seconds after its day that a file of history is kept; 0 means for ever."
    )
    history_interval_s: float = _seconds(
        900.0, description="Seconds between two looks for tasks that may leave for history, while they are few."
    )
    history_file_tasks_max: int = Field(50_000, gt=0, description="Tasks in a file of history.")
    history_file_bytes_max: Annotated[int, Bytes] = Field(
        64 * MIB, gt=0, description="Bytes of payloads and results in a file of history, before it is compressed."
    )
    history_turn_tasks_max: int = Field(500, gt=0, description="Tasks that leave for history in one turn.")

    runner_heartbeat_ms: int = Field(1_000, gt=0, description="Milliseconds between two signs of life of a runner.")
    runner_silence_ms: int = Field(
        15_000, gt=0, description="Milliseconds without a sign of life after which a runner counts as lost."
    )
    children_max: int = Field(8, gt=0, description="Warm child processes that a worker keeps.")
    child_idle_s: float = _seconds(60.0, description="Seconds that a warm child process is kept without work.")
    load_timeout_s: float = _seconds(60.0, description="Seconds that loading an app's code may take.")
    ready_timeout_s: float = _seconds(60.0, description="Seconds that the service may take to get ready.")
    stop_grace_s: float = _seconds(10.0, description="Seconds that running tasks get to end when the service stops.")

    metrics_owners_max: int = Field(
        500,
        ge=0,
        description="Pairs of tenant and function that /metrics shows apart; those that come later are summed as _other.",
    )
    metrics_open: bool = Field(
        False,
        description="Whether /metrics, which shows tenants and functions, is answered without a key to callers on this "
        "machine; only if host is a loopback address.",
    )
    autoscaler: AutoscalerSettings | None = Field(
        None,
        description="Machines that Ray's autoscaler is to start for the service: see docs/autoscaling.md; null: none.",
    )

    code_bytes_max: Annotated[int, Bytes] = Field(64 * MIB, gt=0, description="Bytes of an app's code, packed.")
    code_unpacked_bytes_max: Annotated[int, Bytes] = Field(
        256 * MIB, gt=0, description="Bytes of the files of an app's code."
    )
    code_unused_s: float = _seconds(7 * DAY_S, description="Seconds without use after which a machine removes code.")
    versions_max: int = Field(20, ge=3, description="Versions of one app that are kept, and can be gone back to.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, the environment, the file: the first that says something wins."""
        return init_settings, env_settings, FileSource(settings_cls)

    @field_validator("home", mode="after")
    @classmethod
    def _absolute_home(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("state_dir", mode="before")
    @classmethod
    def _state_dir(cls, given: str | Path, info: ValidationInfo) -> str:
        state_dir = str(given)
        if "://" in state_dir or state_dir.lower().startswith("s3:"):
            if not _BUCKET.fullmatch(state_dir):
                raise ValueError(f"{state_dir!r} is neither a directory nor s3://bucket/prefix")
            return state_dir.rstrip("/")
        if not state_dir:
            return str(info.data["home"] / "state") if "home" in info.data else ""
        return str(Path(state_dir).expanduser().absolute())

    @field_validator("off_peak_windows", mode="after")
    @classmethod
    def _windows(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            try:
                parse_window(text)
            except BadTiming as why:
                raise ValueError(why.message) from why
        return given

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        heartbeats_ms = HEARTBEATS_MISSED_MIN * self.runner_heartbeat_ms
        if self.payload_bytes_max > self.body_bytes_max:
            raise ValueError(f"payload_bytes_max cannot be above body_bytes_max ({self.body_bytes_max})")
        if self.lease_slice_ms < self.lease_target_ms:
            raise ValueError(f"lease_slice_ms cannot be below lease_target_ms ({self.lease_target_ms})")
        if self.dedup_window_s < self.retention_s:
            raise ValueError(f"dedup_window_s cannot be below retention_s ({self.retention_s})")
        if self.metrics_open and not is_loopback(self.host):
            raise ValueError(
                f"metrics_open needs a loopback address as host (it is {self.host}); or give Prometheus a key"
            )
        if self.runner_silence_ms < heartbeats_ms:
            raise ValueError(
                f"runner_silence_ms cannot be below {HEARTBEATS_MISSED_MIN} runner_heartbeat_ms ({heartbeats_ms})"
            )
        return self

    def core_limits(self) -> Limits:
        """What the core is bounded by."""
        return Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})

    @property
    def state_is_local(self) -> bool:
        """Whether the state is on a disk of one machine."""
        return not self.state_dir.startswith("s3://")

    @property
    def client_file(self) -> Path:
        """Where this machine's clients find the service and its key."""
        return self.home / "client.json"

    @property
    def service_log(self) -> Path:
        """Where a detached service writes what it has to say."""
        return self.home / "logs" / "service.log"


class Settings(IsolationSettings, CallbackSettings, ServiceSettings):
    """What the service is told when it starts. Raises pydantic's ValidationError; `load_settings` says it in words."""


def load_settings(**flags: Any) -> Settings:
    """The settings; flags that are None are as if not given. Raises RequestError, which names each bad setting."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise RequestError("\n".join(complaints(error)), code="bad_settings") from error


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: most likely misspelt."""
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields} | CLIENT_VARIABLES
    return sorted(name for name in environ if name.upper().startswith(ENV_PREFIX) and name.upper() not in known)


CLIENT_VARIABLES = {"TASKSERVICE_URL", "TASKSERVICE_API_KEY"}
"""What clients read besides TASKSERVICE_HOME: see `client.discovery`."""
