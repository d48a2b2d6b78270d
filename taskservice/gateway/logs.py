"""What the gateway needs of the store of task logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskservice.core.types import Task


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

    def read(self, task: Task, /) -> Sequence[LogPart]:
        """What the attempts of a task wrote, and in its place what there is to say of what cannot be read."""
