"""What a handler may know of the attempt that it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Context:
    """The attempt, handed to handlers that have a parameter for it."""

    task_id: str
    tenant: str
    attempt: int
    """1 for the first."""
    deadline: datetime
    """When this attempt is stopped if it still runs; in UTC."""
    tags: dict[str, str]
    run: int = 1
    """1, and one more for each time that the finished task was run again by hand."""

    @property
    def idempotency_key(self) -> str:
        """The same in all attempts and runs of the task: give it to services that do a thing once per key."""
        return f"{self.tenant}/{self.task_id}"

    @property
    def logger(self) -> logging.Logger:
        """Writes to the task's log."""
        return logging.getLogger("task")
