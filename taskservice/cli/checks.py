"""What `doctor` looks at. Each check is a function of the settings that gives what it found."""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import re
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from taskservice.cli import daemon, processes
from taskservice.client import Client
from taskservice.client.discovery import Place, discover
from taskservice.config import Settings, unknown_variables
from taskservice.errors import AuthError, TaskServiceError, UnreachableError

GIB = 1 << 30
SYNC_WRITES = 20
SYNC_BYTES = 20_000
"""As many as a usual commit of the journal writes."""
SYNC_SLOW_MS = 20.0
DISK_BYTES_WARN = 2 * GIB
DISK_BYTES_FAIL = GIB // 4
MEMORY_BYTES_WARN = 2 * GIB
FILES_WARN = 4_096
ASK_TIMEOUT_S = 5.0
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "TASKSERVICE_API_KEY")
SECRET_CHARS_MIN = 8
"""Shorter ones are those of tests, and occur in words."""


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found, and what to do about it if it is not well."""

    level: Level
    found: str
    advice: str = ""


def ok(found: str) -> Finding:
    return Finding(Level.OK, found)


def warn(found: str, advice: str) -> Finding:
    return Finding(Level.WARN, found, advice)


def fail(found: str, advice: str) -> Finding:
    return Finding(Level.FAIL, found, advice)


Check = Callable[[Settings], Finding]


def check_python(_: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return ok(version) if sys.version_info >= (3, 11) else fail(version, "Use Python 3.11 or later.")


def check_ray(_: Settings) -> Finding:
    if importlib.util.find_spec("ray") is None:
        return fail("not installed here", f"{sys.executable} -m pip install taskservice")
    return ok(importlib.metadata.version("ray"))


def check_environment(_: Settings) -> Finding:
    unknown = unknown_variables(os.environ)
    if unknown:
        return warn(f"{', '.join(unknown)}: no such setting", "Compare it with configs/taskservice.yaml.")
    return ok("its variables are all known")


def check_home(settings: Settings) -> Finding:
    home = settings.home
    if not home.exists():
        return ok(f"{home} will be made by `taskservice up`")
    if not os.access(home, os.W_OK | os.X_OK):
        return fail(f"{home} cannot be written", "Make it yours, or set TASKSERVICE_HOME.")
    key_file = settings.client_file
    if key_file.exists() and key_file.stat().st_mode & 0o077:
        return fail(f"others can read the key in {key_file}", f"chmod 600 {key_file}")
    if home.stat().st_mode & 0o077:
        return warn(f"others can look into {home}", f"chmod 700 {home}")
    return ok(f"{home} is yours alone")


def check_state_dir(settings: Settings) -> Finding:
    """Every submit waits for one such write, so its time is the least that a submit can take."""
    place = existing(Path(settings.state_dir))
    try:
        p50_ms = sync_p50_ms(place)
    except OSError as error:
        return fail(f"{place} cannot be written: {error.strerror}", "Make it writable, or choose another --state-dir.")
    found = f"{settings.state_dir}: a durable write takes {p50_ms:.1f} ms"
    return ok(found) if p50_ms < SYNC_SLOW_MS else warn(found, "Submits wait for it: use a faster disk.")


def sync_p50_ms(folder: Path) -> float:
    """The median time of a small write that is on the disk when it returns."""
    took_ms = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNC_WRITES):
            began_s = time.perf_counter()
            file.write(bytes(SYNC_BYTES))
            file.flush()
            getattr(os, "fdatasync", os.fsync)(file.fileno())  # macOS has no fdatasync
            took_ms.append(1000 * (time.perf_counter() - began_s))
    return statistics.median(took_ms)


def check_journal(settings: Settings) -> Finding:
    lock = Path(settings.state_dir) / "journal" / "lock"
    holder = lock_holder(lock)
    if holder is None:
        return ok("free")
    record = daemon.read_record(settings.home)
    if record is not None and processes.find(record.pid, record.started_s) is not None:
        return ok(f"held by process {holder} of the running service")
    return fail(f"held by process {holder}, which is not the service of {settings.home}", f"Look: ps -fp {holder}")


def lock_holder(lock: Path) -> str | None:
    """The id of the process that has locked the file, as it wrote it there; None if it is free."""
    try:
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(20).strip() or "unknown"
    except FileNotFoundError:
        pass
    return None


def check_port(settings: Settings) -> Finding:
    record = daemon.read_record(settings.home)
    running = record is not None and processes.find(record.pid, record.started_s) is not None
    name = f"{settings.host}:{settings.port}"
    try:
        with socket.create_server((settings.host, settings.port)):
            return ok(f"{name} is free")
    except OSError as error:
        if running and record is not None and record.url.endswith(f":{settings.port}"):
            return ok(f"{name} is the running service's")
        return fail(f"{name} cannot be listened on: {error.strerror}", "Choose another with --port or --host.")


def check_service(settings: Settings) -> Finding:
    """The one that clients in this shell would use."""
    record = daemon.read_record(settings.home)
    starting = record is not None and processes.find(record.pid, record.started_s) is not None
    place = known_place()
    if place is None:
        return warn("none is known here", "Start one: taskservice up --app MODULE:app")
    try:
        with client_of(place) as client:
            client.status()
    except UnreachableError as error:
        if starting:
            return fail(f"it runs, but {place.url} does not answer", f"Look into {settings.service_log}.")
        return warn(error.message.split(" Start one")[0], "Start one: taskservice up --app MODULE:app")
    except AuthError as error:
        advice = "Set TASKSERVICE_API_KEY, or start the service anew: it then writes client.json."
        return fail(f"{place.url} refuses the key: {error.message}", advice)
    except TaskServiceError as error:
        return fail(f"{place.url}: {error.message}", f"Look into {settings.service_log}.")
    return ok(f"{place.url} answers and takes the key")


def check_runners(_: Settings) -> Finding:
    place = known_place()
    try:
        if place is None:
            return ok("no service to ask")
        with client_of(place) as client:
            runners = client.status()["runners"]
    except TaskServiceError:
        return ok("no service to ask")  # `check_service` says why
    ready = [runner for runner in runners if not runner["draining"]]
    if runners and not ready:
        return warn(f"all {len(runners)} are leaving", "Wait for their successors.")
    if not ready:
        return warn("none is to be seen", "Only admin keys see them. If this is one, look into Ray's logs.")
    cpus = sum(runner["cpus"] for runner in ready)
    return ok(f"{len(ready)} ready, {cpus:g} CPUs")


def known_place() -> Place | None:
    with suppress(TaskServiceError):
        return discover(None, None, os.environ)
    return None


def client_of(place: Place) -> Client:
    return Client(place.url, place.api_key, timeout_s=ASK_TIMEOUT_S, refused_s=0.0)


def check_cluster(settings: Settings) -> Finding:
    if not settings.address:
        return ok("a local Ray, on this machine alone")
    found = f"the Ray cluster at {settings.address}"
    if settings.state_is_local:
        return warn(f"{found}, with the state on this machine", "Only this machine is used: give a bucket for more.")
    return ok(f"{found}, of one or more machines")


def check_tenants(settings: Settings) -> Finding:
    """Whether handlers of several tenants could be kept apart, by whoever runs this. Code is looked at by `up`."""
    from taskservice.actors.isolation import said_of_tenants, why_alone  # noqa: PLC0415 - it imports what handlers need

    try:
        why = why_alone(settings)
    except TaskServiceError as error:
        return fail(error.message, "Set tenant_users: auto, or see docs/isolation.md.")
    said = said_of_tenants(settings, why)
    if why:
        return warn(said, "For more, see docs/isolation.md; tenant_users: shared if they may share a user.")
    return ok(said)


def check_disk(settings: Settings) -> Finding:
    place, what = (settings.state_dir, "the state") if settings.state_is_local else (settings.home, "the working table")
    free_bytes = shutil.disk_usage(existing(Path(place))).free
    found = f"{free_bytes / GIB:.1f} GiB free for {what}"
    if free_bytes < DISK_BYTES_FAIL:
        return fail(found, "Make room: without it, no task can be accepted.")
    return ok(found) if free_bytes >= DISK_BYTES_WARN else warn(found, "Make room soon.")


def check_open_files(_: Settings) -> Finding:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WARN:
        return warn(f"{soft} at once", f"ulimit -n {FILES_WARN}: connections and Ray's sockets are files, too.")
    return ok("unlimited" if soft == resource.RLIM_INFINITY else f"{soft} at once")


def check_machine(_: Settings) -> Finding:
    memory = psutil.virtual_memory()
    found = f"{os.cpu_count()} cores, {memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB of memory free"
    return ok(found) if memory.available >= MEMORY_BYTES_WARN else warn(found, "Ray alone takes about 1 GiB.")


def without_secrets(text: str) -> str:
    """The text without credentials, should a library have put some into what it says."""
    for name in SECRETS:
        value = os.environ.get(name, "")
        if len(value) >= SECRET_CHARS_MIN:
            text = text.replace(value, f"<{name}>")
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def existing(path: Path) -> Path:
    """The path, or the closest folder above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


CHECKS: tuple[tuple[str, Check], ...] = (
    ("python", check_python),
    ("ray", check_ray),
    ("environment", check_environment),
    ("home", check_home),
    ("cluster", check_cluster),
    ("tenants", check_tenants),
    ("state", check_state_dir),
    ("journal", check_journal),
    ("port", check_port),
    ("service", check_service),
    ("runners", check_runners),
    ("disk", check_disk),
    ("open files", check_open_files),
    ("machine", check_machine),
)

LOCAL_STATE = ("state", "journal")
"""The checks that are for state in a local directory."""
