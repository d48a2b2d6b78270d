"""Attempts on the event loop: each step says whose it is, and one that is to stop is cancelled as asyncio does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from taskservice.context import StopSignal
from taskservice.core.types import TaskNo
from taskservice.runtime.slots import Slots


class Steps(Coroutine[Any, Any, None]):
    """The same coroutine. Whose it is is written down while a step of it runs: should the process end there, it is the culprit."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], no: TaskNo, slots: Slots) -> None:
        self._coroutine = coroutine
        self._no = no
        self._slots = slots

    def send(self, value: Any, /) -> Any:
        self._slots.enter(self._no)
        try:
            return self._coroutine.send(value)
        finally:
            self._slots.leave()

    def throw(self, *error: Any) -> Any:
        self._slots.enter(self._no)
        try:
            return self._coroutine.throw(*error)
        finally:
            self._slots.leave()

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        """Debuggers and libraries look at `cr_frame` and the like."""
        return getattr(self._coroutine, name)


def cancels(task: asyncio.Task[Any] | None) -> Callable[[StopSignal], object]:
    """What cancels the attempt that runs as this task of the event loop; for any thread."""
    assert task is not None, "an attempt that awaits runs as a task"
    return lambda asked: task.get_loop().call_soon_threadsafe(_cancel, task, asked)


def _cancel(task: asyncio.Task[Any], asked: StopSignal) -> None:
    """Not if the attempt has ended meanwhile, and its last outcome is being told."""
    if asked.on_set is not None:
        task.cancel(str(asked.error))
