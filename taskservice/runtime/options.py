"""What the runtime is bounded by; from `Settings`, in the same words."""

from __future__ import annotations

from msgspec import Struct


class RuntimeOptions(Struct, frozen=True, array_like=True):
    """Limits of a lease's supervisor and its children."""

    logs_dir: str
    """Where tasks' logs wait until they are stored: see `spool`."""
    result_bytes_max: int = 16 * 1024 * 1024
    log_bytes_max: int = 1024 * 1024
    """Of one attempt's log; what comes after is dropped, and the log says so."""
    report_interval_ms: int = 10
    """Outcomes wait at most this long for others to be reported with."""
    heartbeat_ms: int = 1_000
    """A supervisor that has nothing to report says so this often."""
    children_max: int = 8
    """Children kept warm in one worker process."""
    child_idle_s: float = 60.0
    """A child that has had nothing to do for so long ends."""
    load_timeout_s: float = 60.0
    """An app that takes longer to import is given up."""
    silence_s: float = 30.0
    """A child that has tasks, but runs none and says nothing for so long, is taken for dead."""
    state_dir: str = ""
    """Where large values are, below this directory or `s3://bucket/prefix`; for supervisors, never told to a child."""
    inline_bytes_max: int = 64 * 1024
    """A longer result is an object of its own."""
    value_timeout_s: float = 10.0
    """How long a supervisor tries to read a payload."""
    result_patience_s: float = 300.0
    """How long it keeps a result and tries to write it."""
    fetched_bytes_max: int = 64 * 1024 * 1024
    """Payloads that are fetched for one go of the child; a single one may be larger."""
    unwritten_bytes_max: int = 64 * 1024 * 1024
    """Results that wait to be written, before the lease hands back what it has not started."""
    task_checkpoint_bytes_max: int = 16 * 1024 * 1024
    task_checkpoint_interval_s: float = 5.0
    """From one checkpoint of an attempt that leaves the child to the next."""
    tenant_users: str = "shared"
    """Whether tenants have system users of their own: see `runtime.users`."""
    uid_min: int = 1_900_000_000
    uid_max: int = 1_900_065_535
    uid_file: str = "/var/lib/taskservice/uids"
    """Which users are given out on this machine, by all services."""
    home: str = ""
    """The service's own directory; two services' tenants of one name are two users."""
    secrets_dir: str = ""
    temp_dir: str = ""
    """Where handlers' temporary files are; empty: in the system's."""
    temp_bytes_max: int = 16 << 30
    """Of one child's temporary files."""
    temp_files_max: int = 100_000
    processes_max: int = 1_000
    """Processes and threads of one child and what it has started."""
    tenant_processes_max: int = 4_096
    """Those of a user of its own, on this machine."""
    open_files_max: int = 16_384
    file_bytes_max: int = 16 << 30
    code_dir: str = ""
    """Where code is unpacked that is not in a folder of its own."""
    code_unpacked_bytes_max: int = 256 * 1024 * 1024
    """Of the files of one app's code."""
    code_unused_s: float = 604_800.0
    """Code that nobody has used for so long is removed from this machine."""
