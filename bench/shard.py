"""A dispatcher's process without Ray: `python bench/shard.py STATE_DIR HOME [SETTING=VALUE ...]`, or see `Process`.

It opens the state by the same code as in the service, answers at the same socket, and has one runner, whose leases go to
whoever answers at that runner's socket. On stdout is a line when its modules are imported, and one when it answers.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import uvloop

from taskservice.actors.line_ports import serve_dispatcher
from taskservice.actors.processes import DispatcherProcess, _log_to_file, run_dir
from taskservice.config import Settings, load_settings
from taskservice.core.events import RunnerJoined, RunnersSettled
from taskservice.core.specs import Resources
from taskservice.core.types import RunnerId

RUNNER = RunnerId("bench:r1")
CPUS = 2


class Shard(DispatcherProcess):
    """A dispatcher with its journal, its table and its keeper, and no fleet."""

    async def __init__(self, settings: Settings) -> None:
        _log_to_file(settings)
        await asyncio.to_thread(self._open, settings, False)
        self.start()
        self._server = await serve_dispatcher(self, run_dir(settings))
        self.emit(RunnerJoined(RUNNER, "here", Resources(cpu_m=1000 * CPUS)))
        self.emit(RunnersSettled())


class Process:
    """Such a process, seen from outside."""

    def __init__(self, state_dir: str, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self._command = [sys.executable, __file__, state_dir, str(home)]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self.imported_s = 0.0
        """After its start."""
        self.opened_s = 0.0

    def start(self) -> None:
        """It answers."""
        began_s = time.monotonic()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self.imported_s = time.monotonic() - began_s
        if not self._process.stdout.readline():
            raise ChildProcessError(f"{self._command} ended with exit code {self._process.wait()}")
        self.opened_s = time.monotonic() - began_s

    def kill(self) -> None:
        """It is gone, as by kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def memory_mib(self) -> tuple[float, float]:
        """What it has in RAM, now and at most."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024

    def cpu_s(self) -> float:
        """What it has used of processors."""
        assert self._process is not None
        used = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def end_with_stdin() -> None:
    """Whoever started this process has ended, and so does this one."""
    sys.stdin.read()
    os._exit(0)


async def main() -> None:
    """Runs until it is killed, or whoever started it has ended."""
    threading.Thread(target=end_with_stdin, daemon=True).start()
    state_dir, home, *more = sys.argv[1:]
    print("imported", flush=True)
    settings = load_settings(state_dir=state_dir, home=home, **dict(each.split("=", 1) for each in more))
    shard = Shard.__new__(Shard)
    await shard.__init__(settings)  # type: ignore[misc]  # as Ray does
    print("open", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
