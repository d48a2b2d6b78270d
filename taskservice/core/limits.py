"""What bounds the core."""

from __future__ import annotations

from msgspec import Struct

SCHEDULE_TIMES_MAX = 1_000
"""Times of one schedule that are looked at in one turn."""


class Limits(Struct, frozen=True, array_like=True):
    """What the core is bounded by; from `Settings`, in the same words."""

    lease_target_ms: int = 80
    """Work aimed at in one lease of short tasks."""
    lease_tasks_max: int = 256
    lease_bytes_max: int = 2 * 1024 * 1024
    """Payloads aimed at in one lease, reckoned by the queue's mean; a single task may be larger."""
    lease_slice_ms: int = 400
    """A lease hands back what it has not started by then."""
    lease_ahead_max: int = 1
    """Leases of short tasks that may wait on a runner for each of its CPUs, so that a CPU never waits for us."""
    head_tasks_max: int = 2_000
    """Tasks of one queue whose numbers are kept in RAM."""
    losses_max: int = 10
    throttles_max: int = 1_000
    """Times that an attempt may vanish with its machine before the task is dead-lettered."""
    due_batch_max: int = 1_000
    """Tasks that fall due in one turn, that expire, and that are resumed by themselves."""
    retention_s: float = 86_400.0
    """How long a task that succeeded, was cancelled or has expired stays in the table."""
    retention_failed_s: float = 30 * 86_400.0
    """How long a dead letter does."""
    dedup_window_s: float = 7 * 86_400.0
    """How long after its end a task's id is known, in the table or in history."""
    history_keep_s: float = 0.0
    """How long after its day a file of history is kept; 0: for ever."""
    operation_batch_max: int = 2_000
    """Tasks that bulk operations change in one turn."""
    operations_max: int = 10
    """Bulk operations of one tenant that may be under way."""
    schedules_max: int = 1_000
    """Schedules of one tenant."""
    triggers_max: int = 100
    """Triggers of one tenant."""
    schedule_period_ms_min: int = 1_000
    """Between two times of a schedule."""
    schedule_catchup_max: int = 100
    """Times that passed during an outage, of which a schedule with the catch-up policy `all` makes tasks."""
    schedule_grace_ms: int = 60_000
    """A time that passed no longer ago is not too late for the catch-up policy `skip`."""
    schedule_retry_ms: int = 10_000
    """After which a schedule's task that was refused is tried again."""
    off_peak_windows: tuple[str, ...] = ()
    """When off-peak tasks may start, as `off_peak.parse_window` reads them."""
    off_peak_idle_ratio: float = 0.5
    """They may start as well while less of the pool than this is in use; 0: only in the windows."""
    off_peak_idle_s: float = 60.0
    """For how long others must have used less than that before."""
    placement: str = "least_loaded"
    """Which runners get leases first: `least_loaded`, or `pack`: the fullest."""
    callback_retry_s: float = 86_400.0
    """For how long a callback is tried again after the run's end."""
    callback_keep_s: float = 3 * 86_400.0
    """How long after the run's end a callback is known, whatever became of it."""
    callback_disable_s: float = 3 * 86_400.0
    """An endpoint that has failed for so long, without a success, is told nothing more."""
    callback_secret_overlap_s: float = 86_400.0
    """How long a signing secret signs beside the one that has taken its place."""
    metrics_owners_max: int = 500
    """Pairs of tenant and function that are counted apart; the rest is summed."""
    versions_max: int = 20
    """Versions of one app that are kept: the oldest that no task needs are forgotten first."""
