"""What bounds the dispatcher."""

from __future__ import annotations

from dataclasses import dataclass, field

from taskservice.actors.commits import CommitOptions


@dataclass(frozen=True, slots=True)
class DispatcherOptions:
    """The dispatcher's own limits."""

    commit_timeout_s: float = 10.0
    """A caller waits this long for the journal; then it is told to come back."""
    records_max: int = 100_000
    """Records that may wait for the journal before new work is refused."""
    launch_retry_s: float = 0.5
    heartbeat_s: float = 60.0
    """How often a dispatcher asks whether the journal is still its own, while it commits nothing."""
    commits: CommitOptions = field(default_factory=CommitOptions)
