"""What a handler may know of the attempt that it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from taskservice.checkpoints import Checkpoints

MASKED_CHARS_MIN = 6
"""Shorter secrets are not looked for in what a handler says."""


class Cancelled(BaseException):
    """The attempt was asked to stop. Raised by `Context.raise_if_cancelled`; no `except Exception` catches it."""


class TimeLimitExceeded(Cancelled):
    """The attempt has used its `timeout` up. Raised in the midst of a handler, unless it is `async`: that one is cancelled as
    asyncio does it. It has its function's `grace` to put things away, and what it returns within that still counts."""


class StopSignal:
    """Whether an attempt was asked to stop. Set by another thread than the handler's."""

    __slots__ = ("error", "on_set")

    def __init__(self) -> None:
        self.error: Cancelled | None = None
        """What says so to a handler; None: it may go on."""
        self.on_set: Callable[[], object] | None = None
        """Called once it is set; None: nobody wants to know, or the attempt is over."""

    def set(self, error: Cancelled | None = None) -> None:
        """The attempt is asked to stop."""
        self.error = error or Cancelled("the attempt was asked to stop")
        on_set = self.on_set
        if on_set is not None:
            on_set()

    def __bool__(self) -> bool:
        return self.error is not None


class SecretValues:
    """The secrets of one function. Shown by name only, whoever prints them."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def get(self, name: str) -> str:
        """The secret's value. Raises LookupError if the function has not declared it."""
        if name not in self._values:
            declared = ", ".join(self._values) or "none"
            raise LookupError(f"the function has not declared the secret {name!r}: secrets=[...] names {declared}")
        return self._values[name]

    def __repr__(self) -> str:
        return f"SecretValues({', '.join(self._values)})"

    def masked(self, text: str) -> str:
        """The text without their values, but for short ones, which are words."""
        for name, value in self._values.items():
            if len(value) >= MASKED_CHARS_MIN and value in text:
                text = text.replace(value, f"<{name}>")
        return text


@dataclass(frozen=True, slots=True)
class Context:
    """The attempt, handed to handlers that have a parameter for it."""

    task_id: str
    tenant: str
    attempt: int
    """1 for the first."""
    deadline: datetime
    """When this attempt has used its timeout up, and is asked to stop; in UTC."""
    tags: dict[str, str]
    run: int = 1
    """1, and one more for each time that the finished task was run again by hand."""
    stop_signal: StopSignal = field(default_factory=StopSignal, repr=False, compare=False)
    deadline_s: float | None = field(default=None, repr=False, compare=False)
    """The deadline on this machine's monotonic clock, which nobody sets."""
    checkpoints: Checkpoints = field(default_factory=Checkpoints, repr=False, compare=False)
    secrets: SecretValues = field(default_factory=SecretValues, repr=False, compare=False)

    def checkpoint(self, value: object) -> None:
        """The value, JSON or bytes, is what the next attempt finds in `restored` if this one does not succeed. The last one counts.

        May be called as often as one likes: one in `task_checkpoint_interval_s` is kept by the service, and the last one if the attempt
        ends in any way but that of its process. Raises TypeError if it is neither JSON nor bytes, ValueError if it is larger than
        `task_checkpoint_bytes_max`.
        """
        self.checkpoints.save(value)

    @property
    def restored(self) -> Any:
        """The last checkpoint of the attempts before; None if there is none. The same object each time."""
        return self.checkpoints.restored

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; 0 when it has passed."""
        if self.deadline_s is None:
            return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())
        return max(0.0, self.deadline_s - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is to stop: others need its place (then it runs again later, and is not charged), its task is
        cancelled, or its timeout is over. What has not returned at the end of the function's `grace` is ended by force."""
        return bool(self.stop_signal)

    def raise_if_cancelled(self) -> None:
        """Returns if the attempt may go on; else raises Cancelled, or TimeLimitExceeded if it is for its timeout: which the handler
        is to let pass."""
        error = self.stop_signal.error
        if error is not None:
            raise type(error)(*error.args)

    def secret(self, name: str) -> str:
        """The value of a secret that the function has declared: `@app.task(secrets=["STRIPE_KEY"])`. Raises LookupError for any
        other."""
        return self.secrets.get(name)

    @property
    def idempotency_key(self) -> str:
        """The same in all attempts and runs of the task: give it to services that do a thing once per key."""
        return f"{self.tenant}/{self.task_id}"

    @property
    def logger(self) -> logging.Logger:
        """Writes to the task's log."""
        return logging.getLogger("task")
