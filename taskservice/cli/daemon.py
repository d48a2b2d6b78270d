"""The one service of a home directory: who holds it, how it is sent to the background, and how it is stopped.

<home>/taskservice.lock   flock'ed by the service for as long as it lives
<home>/taskservice.pid    which process that is, and what it started (JSON)
<home>/client.json        where it is and the key to it, for clients of this machine
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import selectors
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from taskservice.cli import processes
from taskservice.config import Settings
from taskservice.errors import ConflictError, TaskServiceError

STOP_MARGIN_S = 45.0
"""What a service may take to stop beyond the grace of its running tasks."""
START_MARGIN_S = 60.0
LOG_TAIL_CHARS = 4_000
LOG_LOOK_BYTES = 256 << 10
"""How far back the words of a service that did not start are looked for."""


class PidRecord(Struct, frozen=True):
    """A running service."""

    pid: int
    started_s: float
    """When the process was started: a later process can have the same number."""
    mark: str
    """In the environment of all that it has started."""
    stop_grace_s: float
    url: str = ""
    """Empty while it starts."""
    ray_temp_dir: str | None = None
    state_dir: str = ""
    """Where it keeps its state, whoever said so."""


class ServiceReady(Struct, frozen=True):
    """What a service tells whoever started it."""

    url: str
    functions: tuple[str, ...]
    try_next: str
    """A command that submits a task."""
    new_key: str | None
    """The admin key, if it was made just now."""
    tenants: str
    """Who their handlers run as, in words."""


def pid_file(home: Path) -> Path:
    return home / "taskservice.pid"


def read_record(home: Path) -> PidRecord | None:
    """What the pid file says, whether or not it is still true; None if there is none that makes sense."""
    try:
        return msgspec.json.decode(pid_file(home).read_bytes(), type=PidRecord)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def state_in_use(settings: Settings) -> Settings:
    """The settings, with the state of the service that runs from this home, unless somebody said where to look."""
    record = read_record(settings.home)
    if "state_dir" in settings.model_fields_set or record is None or not record.state_dir:
        return settings
    if processes.find(record.pid, record.started_s) is None:
        return settings
    return settings.model_copy(update={"state_dir": record.state_dir})


def write_private(path: Path, content: bytes) -> None:
    """The file has this content, all at once, and only its owner can read it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Claim:
    """This process is the service of `home`."""

    def __init__(self, home: Path, record: PidRecord) -> None:
        self.home = home
        self.record = record
        self._write()

    def tell(self, url: str, ray_temp_dir: str | None) -> None:
        """The pid file says that the service is ready."""
        self.record = msgspec.structs.replace(self.record, url=url, ray_temp_dir=ray_temp_dir)
        self._write()

    def _write(self) -> None:
        write_private(pid_file(self.home), msgspec.json.encode(self.record))


@contextmanager
def claimed(settings: Settings) -> Generator[Claim]:
    """Meanwhile, this process is the one service of its home; afterwards nothing that it has started is left.

    Raises ConflictError if another process is.
    """
    home = settings.home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(home / "taskservice.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock, home)
        earlier = read_record(home)
        if earlier is not None:  # it was killed: had it stopped, its file would be gone
            processes.kill(processes.members(earlier.mark, None))
        pid, mark = os.getpid(), secrets.token_hex(8)
        start_s = processes.started_s(pid)
        assert start_s is not None, "we run"
        os.environ[processes.MARK_VARIABLE] = mark
        claim = Claim(home, PidRecord(pid, start_s, mark, settings.stop_grace_s, state_dir=settings.state_dir))
        try:
            yield claim
        finally:
            processes.kill(processes.members(mark, None))
            pid_file(home).unlink(missing_ok=True)
    finally:
        os.close(lock)


def _lock(lock: int, home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        record = read_record(home)
        where = "is starting" if record is None or not record.url else f"is up at {record.url} (process {record.pid})"
        message = f"A service {where} already. Stop it with `taskservice down`, or use another TASKSERVICE_HOME."
        raise ConflictError(message, code="already_up") from None


def detach(settings: Settings, command: Sequence[str], *, margin_s: float = START_MARGIN_S) -> ServiceReady:
    """The service that this command starts runs in the background, and is ready.

    The command gets `--ready-fd N`, and calls `tell_ready(N, ...)` when it is. Raises TaskServiceError with the end of
    what it said if it did not get there; then nothing of it is left.
    """
    log = settings.service_log
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    reader, writer = os.pipe()
    with log.open("ab") as output, os.fdopen(reader, "rb") as answer:
        began = output.tell()
        child = subprocess.Popen(
            [*command, "--ready-fd", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[writer],
        )
        os.close(writer)
        timeout_s = 3 * settings.ready_timeout_s + settings.load_timeout_s + margin_s
        told: bytes | None = None
        try:
            told = _read_within(answer, timeout_s)
        finally:
            if not told:
                _give_up(settings, child, linger_s=0.0 if told is None else processes.LINGER_S)
    if told:
        return msgspec.json.decode(told, type=ServiceReady)
    said = _tail(log, began)
    why = f"was not ready after {timeout_s:g} s" if told is None else f"ended with {child.returncode}"
    raise TaskServiceError(f"The service {why}. It said (all of it is in {log}):\n{said}", code="not_started")


def _read_within(pipe: BinaryIO, timeout_s: float) -> bytes | None:
    """All that is written there: nothing if the writer ends without a word. None if that takes too long."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return pipe.read() if selector.select(timeout_s) else None


def _give_up(settings: Settings, child: subprocess.Popen[bytes], linger_s: float) -> None:
    """The child has ended, by itself or because it is told to, and nothing of it is left."""
    try:
        child.wait(linger_s)
    except subprocess.TimeoutExpired:
        child.terminate()
        try:
            child.wait(settings.stop_grace_s + STOP_MARGIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    record = read_record(settings.home)
    if record is not None and record.pid == child.pid:  # it could not tidy up itself
        stop(settings.home)


def _tail(log: Path, began: int) -> str:
    """Why it ended, if it said so in words at last; else the end of what was logged from that place on."""
    with log.open("rb") as file:
        file.seek(max(began, file.seek(0, os.SEEK_END) - LOG_LOOK_BYTES))
        said = file.read().decode(errors="replace").strip()
    _, error, words = f"\n{said}".rpartition("\nError: ")
    return words[:LOG_TAIL_CHARS] if error else words[-LOG_TAIL_CHARS:].strip() or "(nothing)"


def tell_ready(fd: int, ready: ServiceReady) -> None:
    """Whoever waits at the other end of this pipe knows."""
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(msgspec.json.encode(ready))


def stop(home: Path, linger_s: float = processes.LINGER_S) -> str:
    """Nothing of the home's service is running. Gives what was done, for people."""
    record = read_record(home)
    if record is None:
        return f"No service is running from {home}."
    main = processes.find(record.pid, record.started_s)
    killed = processes.end(record.mark, main, record.stop_grace_s + STOP_MARGIN_S, linger_s)
    pid_file(home).unlink(missing_ok=True)
    if main is None and not killed:
        return f"No service is running from {home}; the last one (process {record.pid}) did not stop in good order."
    if main is None:
        return (
            f"The service (process {record.pid}) had been killed. What it left, {_processes(killed)}, is ended as well."
        )
    rest = f", but {_processes(killed)} had to be killed" if killed else ""
    return f"The service (process {record.pid}) has stopped{rest}."


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def write_client_file(settings: Settings, url: str, key: str) -> None:
    """Clients of this machine find the service."""
    content = json.dumps({"url": url, "api_key": key}, indent=2) + "\n"
    write_private(settings.client_file, content.encode())
