"""A whole service as a user has it: started and stopped by the command line, in a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import httpx
import psutil

from helpers.ports import free_port
from taskservice import Client

APPS = Path(__file__).parents[1] / "service" / "apps"


class Live:
    """One service; `up` again after `down`, or after it was killed, finds the same state."""

    def __init__(self, home: Path, app: str = "work:app", environment: Mapping[str, str] | None = None) -> None:
        """`environment`: variables besides those of this process, settings among them."""
        self.home = home
        self.app = app
        self.port = free_port()
        shared = {"TASKSERVICE_TENANT_USERS": "shared"}  # the tests' handlers write where only we can
        self._environment = {**os.environ, **shared, **(environment or {}), "TASKSERVICE_HOME": str(home)}

    def cli(self, *words: str, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        """The command has ended; its output and exit code are there to look at."""
        command = [sys.executable, "-m", "taskservice", *words]
        return subprocess.run(
            command, cwd=APPS, env=self._environment, text=True, capture_output=True, timeout=timeout_s, check=False
        )

    def up(self, *options: str) -> Client:
        """The service is ready; gives its admin's client."""
        ended = self.cli("up", "--app", self.app, "--port", str(self.port), "-d", *options)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return self.client()

    def down(self) -> None:
        ended = self.cli("down")
        assert ended.returncode == 0, ended.stderr + ended.stdout

    def client(self, api_key: str | None = None, *, patience_s: float | None = None) -> Client:
        """`patience_s`: for how long it waits for a service that is away; by default as a user's does."""
        found = json.loads((self.home / "client.json").read_text())
        patience = {} if patience_s is None else {"timeout_s": patience_s, "refused_s": patience_s}
        return Client(found["url"], api_key or found["api_key"], **patience)

    def processes(self) -> list[psutil.Process]:
        """Every process of this service, however it was started."""
        record = self.home / "taskservice.pid"
        if not record.exists():
            return []
        told = json.loads(record.read_text())
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("_TASKSERVICE_MARK") == told["mark"] or process.pid == told["pid"]
            except (psutil.Error, OSError):
                continue
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
        return list(found.values())

    def actor(self, name: str) -> psutil.Process:
        """The process of the actor of that class."""
        (found,) = [process for process in self.processes() if f"::{name}" in "".join(process.cmdline())]
        return found

    def kill_everything(self) -> int:
        """Every process is killed at once, as by a power cut. Gives how many there were."""
        processes = self.processes()
        for process in processes:
            _signal(process, signal.SIGSTOP)
        for process in {*processes, *self.processes()}:
            _signal(process, signal.SIGKILL)
        gone, left = psutil.wait_procs(processes, timeout=20)
        assert not left
        return len(gone)


class Heard(NamedTuple):
    """An answer over plain HTTP."""

    status: int
    seconds: float
    retry_after: str
    body: dict[str, Any]


def asking(live: Live) -> httpx.Client:
    """Plain HTTP to the service, with its admin's key."""
    found = json.loads((live.home / "client.json").read_text())
    return httpx.Client(base_url=found["url"], headers={"authorization": f"Bearer {found['api_key']}"}, timeout=60)


def ask(http: httpx.Client, method: str, path: str, body: object = None) -> Heard:
    """The answer, whatever it is; asked once."""
    began_s = time.monotonic()
    answer = http.request(method, path, json=body)
    return Heard(answer.status_code, time.monotonic() - began_s, answer.headers.get("retry-after", ""), answer.json())


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def eventually(holds: Callable[[], bool], within_s: float, why: str = "") -> None:
    """`holds` has come true. Looks every 50 ms."""
    never = Event()
    for _ in range(int(within_s / 0.05) + 1):
        if holds():
            return
        never.wait(0.05)
    raise AssertionError(f"not within {within_s} s: {why}")
