"""The one place that says how Ray is set up: environment flags, the embedded Ray's folder, its start and its end.

Ray reads some flags when it is imported and its processes inherit the rest, so they are set before the first
`import ray`, which is why those stand inside functions here.

Ray puts the folder that it is started from first on the `sys.path` of every worker. It is an empty one: the user's may
hold an `actors` or a `taskservice` of their own, which would take the place of ours.

The embedded Ray listens on the loopback interface only, and asks for a token even there: whoever reaches its ports can
run code as the service's user, and other users of the machine can reach loopback.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from taskservice.errors import BackOffError, ServiceBug

log = logging.getLogger(__name__)

NAMESPACE = "taskservice"
"""Ray namespace of the service's actors. One service runs on one Ray cluster."""

OBJECT_STORE_BYTES_MIN = 80 * 1024**2
"""Ray refuses less than 75 MiB. Leases and reports travel inline; the store is hardly used."""

LEFTOVER_TIMEOUT_S = 10.0
"""What Ray's processes get to end by themselves after Ray was told to stop."""

_READ_AT_IMPORT = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",)


def local_ray_env(token_file: Path) -> dict[str, str]:
    """The environment of an embedded Ray, its workers and its driver."""
    return {
        # Ray's name for "this is a cluster of one machine": every server binds to 127.0.0.1. Without it Ray turns
        # even an explicit 127.0.0.1 into the machine's address and listens on all interfaces.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` would give every worker its own copy of the working folder
        "RAY_worker_niceness": "0",  # 15 otherwise, for dispatcher and gateway too
        "RAY_memory_monitor_refresh_ms": "0",  # it kills by the host's figures; children have limits of their own
        "RAY_SCHEDULER_EVENTS": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_enable_timeline": "0",
        "RAY_event_stats": "0",
        "RAY_DEDUP_LOGS": "0",
    }


def cluster_ray_env() -> dict[str, str]:
    """The environment of a driver that joins a cluster somebody else runs: its own flags and token hold there."""
    return {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def apply(env: Mapping[str, str]) -> None:
    """This process and those it starts have these flags. Raises ServiceBug if Ray was imported without them."""
    if "ray" in sys.modules:
        late = [name for name in _READ_AT_IMPORT if name in env and os.environ.get(name) != env[name]]
        if late:
            raise ServiceBug(f"ray was imported before {', '.join(late)} was set: it would not listen on loopback only")
    os.environ.update(env)


def ensure_token(token_file: Path) -> None:
    """The file holds a token of 256 random bits that only this user can read. One process at a time may ask."""
    if token_file.exists():
        return
    unfinished = token_file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    unfinished.rename(token_file)


class RayFolder:
    """A folder for Ray's sockets, logs and sessions, held by one process at a time.

    Directly under /tmp, whatever TMPDIR says: a unix socket's path may have 107 bytes and Ray's own part takes 66.
    """

    def __init__(self, home: Path) -> None:
        """The folder that belongs to `home` is this process's, and empty; no process of an earlier holder is left.

        Raises BackOffError while another process has it, ServiceBug if somebody else's file is in its place.
        """
        mark = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]
        self.path = Path(f"/tmp/taskservice-{os.getuid()}-{mark}")  # noqa: S108 - looked at below
        self.path.mkdir(mode=0o700, exist_ok=True)
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ServiceBug(f"{self.path} is not a folder that only this user can enter: remove it")
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BackOffError(f"another service is running from {home}: stop it with `taskservice down`") from None
        self._end_leftovers()
        for left in (self.ray, self.empty):
            shutil.rmtree(left, ignore_errors=True)
        self.empty.mkdir()

    @property
    def ray(self) -> Path:
        """Where Ray keeps its sessions."""
        return self.path / "ray"

    @property
    def empty(self) -> Path:
        """Where Ray is started from."""
        return self.path / "cwd"

    def _end_leftovers(self) -> None:
        """What was started here by a holder that was killed has ended: it might have the journal and the port still."""
        # More than one look: until it ends itself, a raylet starts new workers in the place of those that were ended.
        while left := [process for process in psutil.process_iter() if _working_folder(process) == str(self.empty)]:
            for process in left:
                log.warning("process %d is left of a service that was killed, and ends now", process.pid)
            _kill(left)

    def remove(self) -> None:
        """The folder is gone, and free for the next."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


class LocalRay:
    """An embedded Ray, and this process as its driver."""

    def __init__(self, folder: RayFolder, home: Path, cpus: int, object_store_bytes: int) -> None:
        """It runs in `folder`, which is its own from now on; its token is kept in `home`."""
        self._folder = folder
        token_file = home / "ray_token"
        before = {child.pid for child in psutil.Process().children()}
        try:
            ensure_token(token_file)
            apply(local_ray_env(token_file))
            _forget_token()
            _init(
                self._folder.empty,
                address="local",  # a new one, whatever RAY_ADDRESS says and whoever else runs Ray here
                num_cpus=cpus,
                object_store_memory=max(object_store_bytes, OBJECT_STORE_BYTES_MIN),
                include_dashboard=False,
                _temp_dir=str(self._folder.ray),
            )
        except BaseException:
            _shutdown()
            raise
        self._servers = [child for child in psutil.Process().children() if child.pid not in before]
        """Ray's own processes that are children of this one; its workers are theirs."""

    @property
    def path(self) -> Path:
        """The folder with its sockets and logs."""
        return self._folder.path

    def stop(self) -> None:
        """It has ended, no process of it is left, and its folder is gone."""
        processes = [process for server in self._servers for process in _family(server)]
        _shutdown()
        left = _wait(processes)
        for process in left:
            log.warning("process %d of Ray did not end by itself", process.pid)
        _kill(left)
        self._folder.remove()


class JoinedRay:
    """A cluster that was there before, and this process as a driver of it."""

    def __init__(self, address: str) -> None:
        """It is joined. Raises BackOffError if none answers there."""
        apply(cluster_ray_env())
        with tempfile.TemporaryDirectory() as empty:
            try:
                _init(Path(empty), address=address)
            except ConnectionError as error:
                raise BackOffError(f"no Ray cluster answers at {address}: {error}") from error

    @property
    def path(self) -> None:
        """Its folder is not ours to name."""

    def stop(self) -> None:
        """It is left, and goes on."""
        _shutdown()


def _forget_token() -> None:
    """The next connection is made with the token that the environment names, even if there was another before."""
    from ray import _raylet  # noqa: PLC0415 - as below

    _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]  # Cython, without types


def _init(working_folder: Path, **arguments: Any) -> None:
    import ray  # noqa: PLC0415 - only now does it see its environment

    with contextlib.chdir(working_folder):
        ray.init(namespace=NAMESPACE, log_to_driver=False, configure_logging=False, **arguments)


def _shutdown() -> None:
    import ray  # noqa: PLC0415 - as above

    ray.shutdown()


def _family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that it has started, if it is still there."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _working_folder(process: psutil.Process) -> str | None:
    """The folder that it was started in; None if it is gone, or another user's."""
    try:
        return process.cwd().removesuffix(" (deleted)")
    except psutil.Error:
        return None


def _kill(processes: list[psutil.Process]) -> None:
    """They have ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(processes)


def _wait(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended within LEFTOVER_TIMEOUT_S. One that only waits for its parent to take note has ended."""
    give_up_s = time.monotonic() + LEFTOVER_TIMEOUT_S
    while (left := [process for process in processes if _runs(process)]) and time.monotonic() < give_up_s:
        psutil.wait_procs(left, timeout=0.1)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        if not process.is_running():
            return False
        # Its first thread may have ended while others still hold its files and ports.
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False
