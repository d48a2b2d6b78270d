"""What the tests with a real Ray share. Nothing here imports Ray: see `tests/ray/conftest.py`."""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import msgspec
import psutil

from taskservice.actors.line import Line
from taskservice.actors.line_ports import RUNNER_METHODS, runner_socket
from taskservice.core.lease_wire import LeaseSpec
from taskservice.core.specs import Bundle
from taskservice.core.types import RunnerId

APP = Bundle("chores", "app", str(Path(__file__).parent.parent / "ray"))
BOUND_S = 30

T = TypeVar("T")


async def launch_on(run_dir: Path, runner: RunnerId, spec: LeaseSpec) -> bool:
    """What the runner says to this lease, in epoch 1."""
    line = Line(runner_socket(run_dir, runner), RUNNER_METHODS)
    try:
        taken: bool = await line.call("launch", 1, msgspec.msgpack.encode([spec]), timeout_s=BOUND_S)
        return taken
    finally:
        line.close()


class Gate:
    """A place in a handler (`chores.hold`) that tells who has come, and lets go on when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        os.mkfifo(folder / "arrived")
        os.mkfifo(folder / "release")
        self._arrived = self._open()
        # Opened for both, a pipe waits for no reader.
        self._release = os.open(folder / "release", os.O_RDWR)

    def arrived(self, bound_s: float = BOUND_S) -> psutil.Process:
        """A handler is at the gate; gives the process of its supervisor."""
        text = self._read(bound_s)
        assert text, "the handler ended instead"
        return psutil.Process(int(text.split()[-1]))

    def closed(self) -> None:
        """Every handler that was at the gate has ended, let through or not."""
        while self._read():
            pass
        old, self._arrived = self._arrived, self._open()  # the old one would say so for ever
        os.close(old)

    def release(self) -> None:
        """One handler goes on, now or when it comes."""
        os.write(self._release, b"through\n")

    def close(self) -> None:
        os.close(self._arrived)
        os.close(self._release)

    def _open(self) -> int:
        return os.open(f"{self.folder}/arrived", os.O_RDONLY | os.O_NONBLOCK)

    def _read(self, bound_s: float = BOUND_S) -> bytes:
        readable, _, _ = select.select([self._arrived], [], [], bound_s)
        assert readable, f"nothing happened at the gate within {bound_s} s"
        return os.read(self._arrived, 4096)


def actor_process(name: str) -> psutil.Process:
    """The process of the one actor of that class."""
    found = [process for process in psutil.Process().children(recursive=True) if f"ray::{name}" in _title(process)]
    assert len(found) == 1, f"{len(found)} processes of {name}"
    return found[0]


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that only waits for its parent to take note has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def asked(method: str, *arguments: object) -> Any:
    """What the dispatcher's actor answers, now or after its restart."""
    from taskservice.actors import ray_port  # noqa: PLC0415

    return run(lambda: ray_port.patient_call(ray_port.actor_named("dispatcher"), method, *arguments, patience_s=15.0))


def run(scene: Callable[[], Awaitable[T]], bound_s: float = BOUND_S) -> T:
    """What the scene gives, on a loop of its own, within a bound."""

    async def bounded() -> T:
        return await asyncio.wait_for(scene(), bound_s)

    return asyncio.run(bounded())


def eventually(condition: Callable[[], T | None], bound_s: float = BOUND_S) -> T:
    """The condition's value, as soon as it has a true one."""
    never, give_up_s = Event(), time.monotonic() + bound_s
    while not (value := condition()):
        assert time.monotonic() < give_up_s, f"not within {bound_s} s"
        never.wait(0.05)
    return value
