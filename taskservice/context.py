"""What a handler may know of the attempt that it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

MASKED_CHARS_MIN = 6
"""Shorter secrets are not looked for in what a handler says."""


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
    """When this attempt is stopped if it still runs; in UTC."""
    tags: dict[str, str]
    run: int = 1
    """1, and one more for each time that the finished task was run again by hand."""
    stop_signal: StopSignal = field(default_factory=StopSignal, repr=False, compare=False)
    secrets: SecretValues = field(default_factory=SecretValues, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is to stop, because others need its place: it runs again later, and is not charged. What has not
        returned at the end of the function's `grace` is ended by force."""
        return bool(self.stop_signal)

    def raise_if_cancelled(self) -> None:
        """Returns if the attempt may go on; else raises Cancelled, which the handler is to let pass."""
        if self.stop_signal:
            raise Cancelled("the attempt was asked to stop")

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
