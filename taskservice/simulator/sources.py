"""Where tasks come from: one tenant's submits of one function, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from taskservice.core.types import FunctionName, Priority, TenantId


@dataclass(frozen=True, slots=True)
class Source:
    """Submits of one function by one tenant."""

    tenant: TenantId
    function: FunctionName
    priority: Priority
    takes: Callable[[], int]
    """How long the next of its tasks takes, in microseconds."""
    times: Iterator[int]
    """When it submits, in microseconds since the beginning, in order."""
    tasks: int = 1
    """In each submit."""
    delay_us: int = 0
    """From the submit until it may run."""
    thinks: Callable[[], int] | None = None
    """If its clients are in a closed loop, each submitting its first at one of `times`: how long one waits after the end
    of a task before it submits the next."""
    until_us: int = 0
    """When such clients stop."""
    key: Callable[[], str] | None = None
    """The key of its next task, if they have any."""
    cron: str | None = None
    """It does not submit, but has schedules, as many as it has `tasks`."""
