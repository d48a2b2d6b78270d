"""What a handler may know of the attempt that it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime


class Cancelled(BaseException):
    """The attempt was asked to stop. Raised by `Context.raise_if_cancelled`; no `except Exception` catches it."""


class StopSignal:
    """Whether an attempt was asked to stop. Set by another thread than the handler's."""

    __slots__ = ("_set", "on_set")

    def __init__(self) -> None:
        self._set = False
        self.on_set: Callable[[], object] | None = None
        """Called once it is set."""

    def set(self) -> None:
        """The attempt is asked to stop."""
        self._set = True
        if self.on_set is not None:
            self.on_set()

    def __bool__(self) -> bool:
        return self._set


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
    stop_signal: StopSignal = field(default_factory=StopSignal, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is to stop, because others need its place: it runs again later, and is not charged. What has not
        returned at the end of the function's `grace` is ended by force."""
        return bool(self.stop_signal)

    def raise_if_cancelled(self) -> None:
        """Returns if the attempt may go on; else raises Cancelled, which the handler is to let pass."""
        if self.stop_signal:
            raise Cancelled("the attempt was asked to stop")

    @property
    def idempotency_key(self) -> str:
        """The same in all attempts and runs of the task: give it to services that do a thing once per key."""
        return f"{self.tenant}/{self.task_id}"

    @property
    def logger(self) -> logging.Logger:
        """Writes to the task's log."""
        return logging.getLogger("task")
