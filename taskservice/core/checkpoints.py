"""Checkpoints: what an attempt has put down of its progress, for the next one to go on from.

    child --> supervisor --large ones: an object--> report --> CheckpointsSaved --> table --> the task's next lease

The last one wins, and only with the token that the task holds: what a lost lease still says changes nothing. It stays until its
task succeeds or leaves the table, through retries, losses and preemptions, and when a dead letter is run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from taskservice.core.types import TaskNo, Token


class CheckpointsSaved(Struct, frozen=True, array_like=True, tag="checkpoints"):
    """These are the last checkpoints of tasks that run under this lease. Rows: (no, what `lease_wire.LeaseTask` has of it)."""

    at_ms: int
    token: Token
    rows: tuple[tuple[TaskNo, bytes], ...]


class Checkpoints(Protocol):
    """The part of a task table that knows the last checkpoint of each task that has one."""

    def save(self, rows: Sequence[tuple[TaskNo, bytes]], token: Token) -> tuple[str, ...]:
        """Each row's is its task's last one, a later row's if there are several; gives the keys of the values to which those in
        their places referred, and nothing does now. Fails whole with `IllegalMove` if a task does not run under this lease."""

    def of(self, nos: Sequence[TaskNo]) -> dict[TaskNo, bytes]:
        """Those that these tasks have."""

    def drop(self, nos: Sequence[TaskNo]) -> tuple[str, ...]:
        """These tasks have none; gives the keys of the values to which they referred. Takes no time while no task has one."""
