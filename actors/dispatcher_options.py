"""What bounds the dispatcher, and what one turn of it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

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


class Counts(NamedTuple):
    """What one turn did."""

    events: int
    leases: int
    effects: int
