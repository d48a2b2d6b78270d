"""What the runtime is bounded by; from `Settings`, in the same words."""

from __future__ import annotations

from msgspec import Struct


class RuntimeOptions(Struct, frozen=True, array_like=True):
    """Limits of a lease's supervisor and its children."""

    logs_dir: str
    """Where tasks' logs are kept."""
    result_bytes_max: int = 1024 * 1024
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
