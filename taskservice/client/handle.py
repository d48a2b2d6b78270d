"""What a task's two handles, `TaskHandle` and `AsyncTaskHandle`, have in common: what is known of the task."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from taskservice.errors import TaskCancelled, TaskExpired, TaskFailed


class KnownTask:
    """A task, as the service last told of it: what it says is as old as the last call that asked for it."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        """All that is known: the fields of `GET /v1/tasks/{id}`."""

    @property
    def id(self) -> str:
        return str(self.info["id"])

    @property
    def function(self) -> str:
        return str(self.info["function"])

    @property
    def state(self) -> str:
        """`scheduled`, `queued`, `running`, `retrying`, `paused`, `succeeded`, `failed`, `cancelled` or `expired`, when last
        heard."""
        return str(self.info["state"])

    @property
    def duplicate(self) -> bool:
        """Whether the task was there already when it was submitted."""
        return bool(self.info.get("duplicate", False))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.function} {self.state}>"

    @contextmanager
    def _noting_the_end(self) -> Generator[None]:
        """The result, or its absence, says in which state the task is."""
        try:
            yield
        except TaskFailed:
            self.info = {**self.info, "state": "failed"}
            raise
        except TaskCancelled:
            self.info = {**self.info, "state": "cancelled"}
            raise
        except TaskExpired:
            self.info = {**self.info, "state": "expired"}
            raise
        self.info = {**self.info, "state": "succeeded"}
