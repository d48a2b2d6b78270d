"""What the gateway needs of the store of task logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskservice.core.types import TaskId, TenantId


class LogPart(Protocol):
    """What one attempt of a task wrote."""

    @property
    def run(self) -> int: ...

    @property
    def attempt(self) -> int: ...

    @property
    def text(self) -> str: ...


class LogReader(Protocol):
    """Blocks: to be called in a thread."""

    def read(self, tenant: TenantId, task_id: TaskId, /) -> Sequence[LogPart]:
        """What the attempts of a task wrote; empty if nothing is known of it."""
