"""One attempt in the caller's own process and thread, for tests of handlers: the same steps as in a child, without its box.

The payload is validated, the context made, the result encoded and an exception classed by the code that a child runs
(`attempt`, `checkpointing`, `output`). What needs a process of its own is left out: limits of memory and time, and stops by force.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

from msgspec.structs import replace

from taskservice.app import Function
from taskservice.config import ServiceSettings
from taskservice.context import Cancelled, SecretValues, StopSignal
from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.types import OutcomeKind, TaskNo, TenantId
from taskservice.runtime import output
from taskservice.runtime.attempt import Began, call_of, failure, stopped, success
from taskservice.runtime.boxes import Box
from taskservice.runtime.checkpointing import Checkpointing
from taskservice.runtime.wire import Logged

ENDS_ATTEMPTS = (Exception, SystemExit, Cancelled, asyncio.CancelledError)
"""What a handler may raise. All else, such as Ctrl-C or a test's own failure, is for whoever runs the test."""


class Bounds(NamedTuple):
    """As in `Settings`."""

    result_bytes_max: int
    task_checkpoint_bytes_max: int
    log_bytes_max: int


DEFAULT_BOUNDS = Bounds(*(ServiceSettings.model_fields[name].default for name in Bounds._fields))
"""Those of a service whose operator has set nothing."""


class Made(NamedTuple):
    """An attempt that was made."""

    outcome: Outcome
    error: BaseException | None
    """What it raised; None: nothing."""
    checkpoints: tuple[bytes, ...]
    """What it has put down, in order."""
    written: tuple[Logged, ...]
    """What it printed and logged."""


class InProcess:
    """Makes attempts, one after another. Async handlers share one event loop, as those of a child do, until `close`."""

    def __init__(self, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._loop = asyncio.Runner()

    def close(self) -> None:
        """The event loop is closed."""
        self._loop.close()

    def attempt(
        self,
        function: Function,
        tenant: TenantId,
        task: LeaseTask,
        began: Began,
        signal: StopSignal,
        secrets: SecretValues,
        stop_kind: Callable[[], OutcomeKind],
    ) -> Made:
        """The attempt has been made. `stop_kind`: what it is called that `signal` was set, if it was."""
        saved: list[bytes] = []
        written: list[Logged] = []
        checkpoints = Checkpointing(lambda _, text: saved.append(text), self._bounds.task_checkpoint_bytes_max, 0.0)
        outcome, error = Outcome(task.no, OutcomeKind.SUCCEEDED), None
        with listening(task.no, self._bounds.log_bytes_max, written.append, secrets.masked):
            try:
                call = call_of(function, tenant, task, began, signal, checkpoints.begin(task), secrets)
                value, error = self._loop.run(_awaited(call)) if function.is_async else _called(call)
                if error is None:
                    outcome = success(task, value, self._bounds.result_bytes_max)
            except ENDS_ATTEMPTS as raised:
                error = raised
            if error is not None:
                outcome = failure(function, task, error, Box(tempfile.gettempdir()))
        outcome = replace(outcome, message=secrets.masked(outcome.message), detail=secrets.masked(outcome.detail))
        if signal:
            outcome = stopped(outcome, stop_kind())
        checkpoints.end(outcome)
        return Made(outcome, error, tuple(saved), tuple(written))


def _called(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except ENDS_ATTEMPTS as error:
        return None, error


async def _awaited(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Caught here, so that a traceback begins with the handler."""
    try:
        return await call(), None
    except ENDS_ATTEMPTS as error:
        return None, error


@contextmanager
def listening(
    no: TaskNo, bytes_max: int, hand_on: Callable[[Logged], None], masked: Callable[[str], str]
) -> Iterator[None]:
    """What is printed and logged meanwhile is in the attempt's log."""
    log = output.AttemptLog(no, bytes_max, hand_on, masked)
    streams = [
        output.AttemptStream(name, stream or io.StringIO(), lambda: log)
        for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr))
    ]
    root, handler = logging.getLogger(), output.log_handler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) or logging.INFO)
    output.speak(log)
    try:
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            yield
    finally:
        output.speak(None)
        root.setLevel(level)
        root.removeHandler(handler)
        log.close()
