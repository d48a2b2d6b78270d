"""Records of tasks that can wait for off-peak hours, and of their deadlines. Part of `records`, and under its rules."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.types import TaskNo


class TasksPressed(Struct, frozen=True, array_like=True, tag="pressed"):
    """Their deadlines are near: these queued tasks have left the off-peak lanes, and have their turns like others."""

    at_ms: int
    nos: tuple[TaskNo, ...]


class PressesPutOff(Struct, frozen=True, array_like=True, tag="press_put_off"):
    """These queued tasks need less time than was thought, and may stay in the off-peak lanes until then. Rows: (no, press_ms)."""

    at_ms: int
    rows: tuple[tuple[TaskNo, int], ...]


PressRecord = TasksPressed | PressesPutOff
