"""A coroutine that writes down whose it is while a step of it runs: should the process end there, it is the culprit."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

from taskservice.core.types import TaskNo
from taskservice.runtime.slots import Slots


class Steps(Coroutine[Any, Any, None]):
    """The same coroutine, watched."""

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
