"""A gate: what a task must pass before it may start."""

from __future__ import annotations

from typing import Protocol


class Gate(Protocol):
    """Something that lets so many tasks through now, and no more."""

    def room(self, now_ms: int) -> int:
        """How many tasks more may start now; 0: it is closed."""

    def opens_ms(self, now_ms: int) -> int | None:
        """When it will let a task through if nothing else happens; None: not by the clock alone."""
