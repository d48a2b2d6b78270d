"""A child process in its supervisor's hands: started apart, spoken to without ever blocking, ended for certain."""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
from msgspec.structs import replace

from taskservice.code.cache import HeldCode
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import OutcomeKind
from taskservice.runtime.boxes import Box
from taskservice.runtime.family import MARK, end_family, threads_of
from taskservice.runtime.fitting import ChildKey, box_for
from taskservice.runtime.memory import LEFT_RATIO_MAX, taken_bytes
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.process_env import child_environment
from taskservice.runtime.scratch import Scratch, remove
from taskservice.runtime.slots import Slots
from taskservice.runtime.users import NoUser
from taskservice.runtime.wire import (
    Frames,
    FromChild,
    Load,
    Loaded,
    LoadFailed,
    Secrets,
    ToChild,
    decode_from_child,
    frame,
)

TAIL_BYTES = 4_096
"""Of a child's raw output, kept to explain its death."""
READ_BYTES = 1 << 18
MEANWHILE_S = 0.1
"""How often there is something else to do while an app is imported."""
LAST_BREATH_S = 1.0
"""How long a process that has said its last may take to end by itself."""
KILL_ROUNDS_MAX = 200
"""What is found alive after so many is left to the system."""
KILL_ROUND_S = 0.002
"""What is killed takes a moment to die."""


class LoadError(Exception):
    """The app cannot be imported. `detail`: its traceback, or what its process said last. `kind`: what its tasks come to."""

    def __init__(self, message: str, detail: str, kind: OutcomeKind = OutcomeKind.IMPORT_FAILED) -> None:
        super().__init__(message)
        self.detail = detail
        self.kind = kind


def _with_place(message: str, bundle: Bundle) -> str:
    """Why an app cannot be imported, and whether that is because its code is on other machines only."""
    if bundle.sha256 or Path(bundle.path).is_dir():
        return message
    machine = socket.gethostname()
    return f"{message}; machine {machine} has no folder {bundle.path}: an app's code has to be at the same path on all"


def _loading(bundle: Bundle, options: RuntimeOptions, box: Box) -> Load:
    return Load(
        bundle,
        options.result_bytes_max,
        options.log_bytes_max,
        options.child_idle_s,
        options.task_checkpoint_bytes_max,
        options.task_checkpoint_interval_s,
        box,
    )


class Child:
    """A child. What it can be used for never changes."""

    def __init__(self, key: ChildKey, options: RuntimeOptions, scratch: Scratch, code: HeldCode | None = None) -> None:
        """The process is started, and told what it is closed in and what to import. `code`: the folder where that is, if the bundle
        names none; held as long as the process lives. Raises LoadError if it cannot be closed in."""
        self.key = key
        self._code = code
        self.bundle = key.bundle
        self._here = key.bundle if code is None else replace(key.bundle, path=code.path)
        self.functions: tuple[FunctionSpec, ...] = ()
        self.slots = Slots()
        self.tail = b""
        self.dead = False
        """Nothing more comes from it."""
        self.killed_by_others = False
        """Once it has ended: whether by SIGKILL, and not ours."""
        self.fresh_bytes = 0
        """Memory that it took when the app had been imported."""
        self.seen_bytes = 0
        """Memory that it took when that was looked at last."""
        self.taken_s = 0.0
        """When its last lease began."""
        self._mark = uuid.uuid4().hex
        self._output_open = True
        self._fault = ""
        self._patience_s = 0.0
        self._frames = Frames()
        self._outgoing = bytearray()
        self.control, theirs = socket.socketpair()
        self.output, output = os.pipe()
        self._folder: Path | None = None
        try:
            box, self._folder = _boxed(key._replace(bundle=self._here), options, scratch)
            self.temp_dir = box.temp_dir
            self._process = self._start(box, theirs.fileno(), output)
        except BaseException:
            self._close_descriptors()
            raise
        finally:
            theirs.close()
            os.close(output)
        # Readable when the process has ended: its socket may outlive it, in a program that it has started.
        self.exit = os.pidfd_open(self._process.pid)
        self.control.setblocking(False)
        os.set_blocking(self.output, False)
        self.send(_loading(self._here, options, box))

    def _start(self, box: Box, control: int, output: int) -> subprocess.Popen[bytes]:
        """Our own module, told numbers only. Its output is its user's, for programs open /dev/stdout."""
        assert self._folder is not None
        if box.uid:
            os.fchown(output, box.uid, box.uid)
        environment = child_environment(self.key.threads, self._folder, own_user=bool(box.uid))
        return subprocess.Popen(
            [
                sys.executable, "-P", "-m", "taskservice.runtime.child",
                str(control), str(self.slots.descriptor), str(os.getpid()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment | {MARK: self._mark},
            cwd=self._here.path if Path(self._here.path).is_dir() else "/",
            pass_fds=(control, self.slots.descriptor),
            start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def wants_to_write(self) -> bool:
        """Whether there is more to send than could be sent."""
        return bool(self._outgoing)

    def load(self, timeout_s: float, meanwhile: Callable[[], None]) -> None:
        """The app is imported. `meanwhile` is called again and again until then. Raises LoadError, or what that raises."""
        deadline_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.control, selectors.EVENT_READ)
            selector.register(self.output, selectors.EVENT_READ)
            selector.register(self.exit, selectors.EVENT_READ)
            while not self.functions and not self.dead:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    self.kill()
                    raise LoadError(
                        f"the app was not imported within {timeout_s} s (load_timeout_s)", self.last_words()
                    )
                selector.select(min(left_s, MEANWHILE_S))
                meanwhile()
                self.read_output()
                self.forget_output(selector)
                for message in self.receive():
                    if isinstance(message, LoadFailed):
                        self.kill()
                        raise LoadError(_with_place(message.message, self.bundle), message.detail or self.last_words())
                    if isinstance(message, Loaded):
                        self.functions = message.functions
                        self.fresh_bytes = self.seen_bytes = taken_bytes(self.pid)
                        return
        if self.dead:
            raise LoadError(f"the process that imported the app ended: {self.ended()}", self.last_words())

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.returncode is None and not self._ends_within(0)

    def give_secrets(self, values: dict[str, str]) -> None:
        """The functions of this child, which have declared them, can read these from the next lease on."""
        self.send(Secrets(values))

    def is_crowded(self, processes_max: int) -> bool:
        """Whether the leases so far have left many processes and threads behind in it."""
        most = int(processes_max * LEFT_RATIO_MAX)
        return threads_of(self.pid, most) > most

    def has_left(self, limit_bytes: int) -> bool:
        """Whether the leases before have left it enough of the memory that it may take now; 0: as much as it likes."""
        if not limit_bytes:
            return True
        self.seen_bytes = taken_bytes(self.pid)
        return self.seen_bytes - self.fresh_bytes <= limit_bytes * LEFT_RATIO_MAX

    def send(self, message: ToChild) -> None:
        """The message is on its way, as far as the child takes it; see `pump`."""
        self._outgoing += frame(message)
        self.pump()

    def pump(self) -> None:
        """As much as the child takes without blocking is sent."""
        with suppress(BlockingIOError):
            while self._outgoing:
                try:
                    sent = self.control.send(self._outgoing)
                except OSError as error:
                    if isinstance(error, BlockingIOError):
                        raise
                    self._outgoing.clear()  # it is dead; `receive` will see that
                    return
                del self._outgoing[:sent]

    def receive(self) -> list[FromChild]:
        """What the child has sent. Sets `dead` when that was the last of it."""
        ended = not self.alive()  # asked first: what it sent before is there to be read
        messages: list[FromChild] = []
        with suppress(BlockingIOError):
            while not self.dead:
                try:
                    data = self.control.recv(READ_BYTES)
                except ConnectionResetError:
                    data = b""
                if not data:
                    self.give_up("it has closed the service's socket", LAST_BREATH_S)
                    break
                try:
                    messages.extend(decode_from_child(body) for body in self._frames.feed(data))
                except (ValueError, msgspec.MsgspecError):
                    self.give_up("it has written to the service's socket")
                if len(data) < READ_BYTES and not ended:
                    break
        self.dead = self.dead or ended
        return messages

    def give_up(self, fault: str, patience_s: float = 0) -> None:
        """It is of no more use: `ended` will kill it if it still runs after `patience_s`, and say `fault`."""
        self.dead = True
        self._fault = fault
        self._patience_s = patience_s

    def _ends_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.exit, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def forget_output(self, selector: selectors.BaseSelector) -> None:
        """If the child has closed its output, the selector does not look at it any more: it would be ready for ever."""
        if not self._output_open and self.output in selector.get_map():
            selector.unregister(self.output)

    def read_output(self) -> bytes:
        """What came past Python's streams since the last time, as far as one read goes."""
        try:
            data = os.read(self.output, READ_BYTES)
        except BlockingIOError:
            return b""
        self._output_open = bool(data)
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        return data

    def last_words(self) -> str:
        """The end of its raw output."""
        while self.read_output():
            pass
        return self.tail.decode(errors="replace")

    def ended(self) -> str:
        """How the process ended, in words; nothing of it is left. If it lives on without us, it is killed."""
        went = self._ends_within(self._patience_s)
        self.kill()
        if not went:
            return f"{self._fault}, and was killed"
        code = self._process.returncode
        self.killed_by_others = code == -signal.SIGKILL
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"killed by signal {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def kill(self) -> None:
        """The process, its group and whatever else descends from it are gone.

        It stands still first, and takes in what its descendants leave behind, until all of them are dead: so they cannot make
        more of themselves in other sessions meanwhile.
        """
        if self._process.returncode is not None:
            return  # its number may be another's by now
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGSTOP)
        for _ in range(KILL_ROUNDS_MAX):
            descendants = _living_descendants(self.pid)
            if not descendants:
                break
            for process in descendants:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(KILL_ROUND_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        end_family(self._mark)

    def close(self) -> None:
        """Nothing of it is left."""
        self.kill()
        os.close(self.exit)
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self.control.close()
        os.close(self.output)
        self.slots.close()
        if self._folder is not None:
            remove(self._folder)
        if self._code is not None:
            self._code.close()


def _boxed(key: ChildKey, options: RuntimeOptions, scratch: Scratch) -> tuple[Box, Path]:
    try:
        return box_for(key, options, scratch)
    except (NoUser, OSError) as error:
        raise LoadError(f"the handler's process cannot be closed in: {error}", "") from None


def _living_descendants(pid: int) -> list[psutil.Process]:
    living = []
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    living.append(process)
    return living
