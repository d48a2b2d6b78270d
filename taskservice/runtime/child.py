"""The process that runs user code, for one tenant and one bundle. Started by `process`, spoken to over a socket.

The main thread makes the attempts: one after another, or, for async functions, several at once on one event loop that
lives as long as the process. A reader thread takes messages even while a handler is busy, so that what has not been
started can be given back; a flusher thread sees to it that a finished outcome does not wait for a long next attempt.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import os
import queue
import resource
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import msgspec

from taskservice.app import App, Function
from taskservice.context import SecretValues
from taskservice.core.lease_wire import LeaseTask, Outcome
from taskservice.core.specs import Bundle
from taskservice.core.types import OutcomeKind, TaskNo
from taskservice.runtime import output
from taskservice.runtime.attempt import Began, call_of, describe, failure, success, timed, traceback_of
from taskservice.runtime.boxes import enter, renew
from taskservice.runtime.checkpointing import Checkpointing
from taskservice.runtime.interrupts import Interrupts
from taskservice.runtime.outbox import Outbox
from taskservice.runtime.scratch import Emptied
from taskservice.runtime.slots import Slots
from taskservice.runtime.steps import Steps, cancels
from taskservice.runtime.stops import Stops
from taskservice.runtime.wire import (
    Frames,
    GiveBack,
    GivenBack,
    Load,
    Loaded,
    LoadFailed,
    Run,
    Secrets,
    Stop,
    decode_to_child,
)

DESCRIPTOR_MIN = 1_000
"""Descriptors of ours have this number or a higher one, if the process may have so many."""


@dataclass(slots=True)
class _Batch:
    """What one `Run` brought, and what is not started of it. Its tasks can be taken under no other function."""

    run: Run
    unstarted: deque[LeaseTask] = field(default_factory=deque)

    def next(self) -> LeaseTask | None:
        """The next task, taken off; None if there is none."""
        try:
            return self.unstarted.popleft()
        except IndexError:
            return None

    def give_back(self) -> list[TaskNo]:
        """All that was not started, taken off, in order."""
        given: deque[TaskNo] = deque()
        with suppress(IndexError):
            while True:
                given.appendleft(self.unstarted.pop().no)
        return list(given)


class Worker:
    """Makes attempts of an app's functions."""

    def __init__(self, app: App, load: Load, slots: Slots, outbox: Outbox, raw: output.RawOutput) -> None:
        self._app = app
        self._load = load
        self._slots = slots
        self._outbox = outbox
        self._raw = raw
        self._loop: asyncio.AbstractEventLoop | None = None
        self._batches: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        self._latest: _Batch | None = None
        """The reader thread's: what can be given back."""
        self._speaking: list[output.AttemptLog] = []
        """Logs of the attempts that run."""
        self._stops = Stops()
        self._secrets = SecretValues()
        self._files = Emptied(load.box.temp_dir)
        self._interrupts = Interrupts()
        self._checkpoints = Checkpointing(
            outbox.checkpoint, load.task_checkpoint_bytes_max, load.task_checkpoint_interval_s
        )

    def receive(self, message: Run | GiveBack | Stop | Secrets) -> None:
        """Called by the reader thread; never waits for a handler."""
        if isinstance(message, Stop):
            self._stops.ask(message)
        elif isinstance(message, Secrets):
            self._secrets = SecretValues(message.values)
        elif isinstance(message, Run):
            self._stops.forget(task.no for task in message.tasks)
            self._latest = _Batch(message, deque(message.tasks))
            self._batches.put(self._latest)
        elif self._latest is not None:
            self._outbox.send(GivenBack(tuple(self._latest.give_back())))

    def work(self) -> None:
        """Runs what comes, until nothing has come for the idle time."""
        while True:
            try:
                batch = self._batches.get(timeout=self._load.idle_s)
            except queue.Empty:
                return
            function = self._app.functions.get(batch.run.function)
            if function is None:
                self._refuse(batch)
            elif function.is_async:
                self._run_on_loop(self._many(function, batch))
            else:
                while (task := batch.next()) is not None:
                    self._one(function, batch, task)

    def only_log(self) -> output.AttemptLog | None:
        """The log of the only attempt that runs, if it is the only one."""
        return self._speaking[0] if len(self._speaking) == 1 else None

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def _run_on_loop(self, many: Coroutine[Any, Any, None]) -> None:
        """It has run to its end. An exit in a task that a handler has created ends that task, as it ends an attempt."""
        loop = self._event_loop()
        task = loop.create_task(many)
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (KeyboardInterrupt, SystemExit):
                traceback.print_exc()

    def _one(self, function: Function, batch: _Batch, task: LeaseTask) -> None:
        log, began = self._begin(task, 0)
        try:
            asked, book = self._stops.begin(task.no, self._interrupts.reach), self._checkpoints.begin(task)
            call = call_of(function, batch.run.tenant, task, began, asked, book, self._secrets)
            outcome = success(task, self._interrupts.run(asked, call), self._load.result_bytes_max)
        except BaseException as error:  # SystemExit and the like end the attempt, not the process
            outcome = self._failure(function, task, error)
        self._end(log, 0, timed(self._stops.end(outcome), began), last=not batch.unstarted)

    async def _many(self, function: Function, batch: _Batch) -> None:
        async with asyncio.TaskGroup() as group:
            for slot in range(min(function.concurrency, batch.run.slots, len(batch.run.tasks))):
                group.create_task(self._serve(function, batch, slot))

    async def _serve(self, function: Function, batch: _Batch, slot: int) -> None:
        while (task := batch.next()) is not None:
            # An asyncio task of its own, so that a handler that cancels itself cancels nobody after it.
            steps = Steps(self._attempt(function, batch, task, slot), task.no, self._slots)
            await asyncio.wait([asyncio.create_task(steps)])

    async def _attempt(self, function: Function, batch: _Batch, task: LeaseTask, slot: int) -> None:
        log, began = self._begin(task, slot)
        try:
            asked = self._stops.begin(task.no, cancels(asyncio.current_task()))
            book = self._checkpoints.begin(task)
            value = await call_of(function, batch.run.tenant, task, began, asked, book, self._secrets)()
            outcome = success(task, value, self._load.result_bytes_max)
        except BaseException as error:  # see _one
            outcome = self._failure(function, task, error)
        self._end(log, slot, timed(self._stops.end(outcome), began), last=not batch.unstarted)

    def _failure(self, function: Function, task: LeaseTask, error: BaseException) -> Outcome:
        outcome = failure(function, task, error, self._load.box)
        message, detail = self._secrets.masked(outcome.message), self._secrets.masked(outcome.detail)
        return msgspec.structs.replace(outcome, message=message, detail=detail)

    def _begin(self, task: LeaseTask, slot: int) -> tuple[output.AttemptLog, Began]:
        log = output.AttemptLog(task.no, self._load.log_bytes_max, self._outbox.log, self._secrets.masked)
        if not self._speaking:
            output.redirect()
            renew(self._load.box)
        self._speaking.append(log)
        output.speak(log)
        started_ns = time.monotonic_ns()
        self._slots.set(slot, task.no, started_ns)
        return log, Began(time.time_ns() // 1_000_000, started_ns)

    def _end(self, log: output.AttemptLog, slot: int, outcome: Outcome, *, last: bool) -> None:
        self._speaking.remove(log)
        output.speak(None)
        log.close()
        if not self._speaking:
            self._raw.settle()
        self._checkpoints.end(outcome)
        self._outbox.add(outcome, at_once=last)
        self._slots.clear(slot)
        if not self._speaking:
            self._files.again()

    def _refuse(self, batch: _Batch) -> None:
        has = ", ".join(self._app.functions) or "none"
        message = f"the app has no function {batch.run.function!r} any more; it has {has}"
        while (task := batch.next()) is not None:
            outcome = Outcome(task.no, OutcomeKind.IMPORT_FAILED, message=message)
            self._outbox.add(outcome, at_once=not batch.unstarted)


def load_app(bundle: Bundle) -> App:
    """The app, imported. Raises whatever its module raises, or ImportError if there is no app of that name."""
    if bundle.path not in sys.path:
        sys.path.insert(0, bundle.path)
    found: object = import_module(bundle.module)
    for part in bundle.attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, App):
        return found
    what = "is not there" if found is None else f"is a {type(found).__name__}, not an App"
    raise ImportError(f"{bundle.module}:{bundle.attribute} {what}")


def _read(control: socket.socket, frames: Frames) -> list[bytes]:
    """The next messages; ends the process if the supervisor is gone."""
    messages: list[bytes] = []
    while not messages:
        data = control.recv(1 << 18)
        if not data:
            os._exit(0)
        messages.extend(frames.feed(data))
    return messages


def _receive_for_ever(control: socket.socket, frames: Frames, worker: Worker, early: list[bytes]) -> None:
    messages = early
    while True:
        for body in messages:
            message = decode_to_child(body)
            if not isinstance(message, Load):
                worker.receive(message)
        messages = _read(control, frames)


def _move_up(descriptor: int) -> int:
    """The same file under a high number, out of the way of handlers that close or open a few; programs do not inherit it."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, min(DESCRIPTOR_MIN, soft_limit - 16))
    os.close(descriptor)
    return moved


def main(control_fd: int, slots_fd: int, parent: int) -> None:
    """Enters its box, loads the app and works until there is nothing to do, or the supervisor is gone."""
    faulthandler.enable(file=2)
    control = socket.socket(fileno=control_fd)
    frames = Frames()
    first, *early = _read(control, frames)
    load = decode_to_child(first)
    assert isinstance(load, Load)
    if not enter(load.box, parent):
        return  # it had died before it could take us along
    control_fd, slots_fd = _move_up(control.detach()), _move_up(slots_fd)
    control = socket.socket(fileno=control_fd)
    raw = output.RawOutput()
    outbox = Outbox(control)
    os.register_at_fork(after_in_child=outbox.disown)
    try:
        app = load_app(load.bundle)
        specs = tuple(function.spec(load.bundle) for function in app.functions.values())
    except BaseException as error:  # user code runs at import, and may even exit
        message = f"{load.bundle.module}:{load.bundle.attribute} cannot be loaded: {describe(error)}"
        outbox.send(LoadFailed(message, traceback_of(error)))
        return
    worker = Worker(app, load, Slots(slots_fd), outbox, raw)
    output.install(worker.only_log)
    outbox.send(Loaded(specs))
    threading.Thread(target=_receive_for_ever, args=(control, frames, worker, early), daemon=True).start()
    threading.Thread(target=outbox.flush_for_ever, daemon=True).start()
    worker.work()


if __name__ == "__main__":
    code = 1
    try:
        arguments = [int(argument) for argument in sys.argv[1:4]]
        del sys.argv[1:]  # ours, not user code's
        main(*arguments)
        code = 0
    except BaseException:  # what user code lets loose on the event loop, SystemExit included
        traceback.print_exc(file=sys.__stderr__)
    finally:
        output.flush_raw()
        # Without user code's exit hooks and threads, which could keep a process alive that is done.
        os._exit(code)
