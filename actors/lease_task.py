"""What a lease is on its node: the function that runs as its Ray task.

It is the supervisor's process; user code runs in the supervisor's children, which are kept between leases of this
process. Reports go to the node's runner as actor calls, several at a time and numbered, since they may overtake each
other; the task ends when the runner has them all.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import msgspec
from ray.actor import ActorHandle
from ray.exceptions import ActorUnavailableError, RayActorError
from taskservice.actors.ray_port import actor_named
from taskservice.actors.runner import STOP, SupervisorNews

import ray
from taskservice.core.lease_wire import LeaseReport, LeaseSpec
from taskservice.core.types import Bundle, FunctionSpec
from taskservice.runtime.inspect import inspect_bundle
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.pool import ChildPool
from taskservice.runtime.supervisor import run_lease

_encode = msgspec.msgpack.encode
_decode_spec = msgspec.msgpack.Decoder(LeaseSpec).decode
_decode_options = msgspec.msgpack.Decoder(RuntimeOptions).decode


class RunnerReports:
    """The way from a supervisor to its runner (`ReportPort`). For the threads of one lease."""

    def __init__(self, runner: ActorHandle[Any]) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._next_seq = 0
        self._flying: dict[ray.ObjectRef[bytes], bytes] = {}
        """Calls without an answer yet, and what they carry."""
        self._stop = False

    def send(self, report: LeaseReport) -> None:
        """The report is on its way; it arrives after those sent before it, as far as the runner can tell."""
        with self._lock:
            body = _encode(SupervisorNews(self._next_seq, report))
            self._next_seq += 1
            self._fly(body)

    def stop_asked(self) -> bool:
        """Whether the runner has asked for this lease to end, or is dead. Never waits."""
        with self._lock:
            self._land(timeout_s=0)
            return self._stop

    def flush(self) -> None:
        """The runner has all reports, or is dead."""
        with self._lock:
            while self._flying:
                self._land(timeout_s=None)

    def _fly(self, body: bytes) -> None:
        self._flying[self._runner.report.remote(body)] = body

    def _land(self, timeout_s: float | None) -> None:
        """Answers that have come, at least one if there is no time limit, are read; calls that failed are made again."""
        if not self._flying:
            return
        flying = list(self._flying)
        landed, _ = ray.wait(flying, num_returns=1 if timeout_s is None else len(flying), timeout=timeout_s)
        for reference in landed:
            body = self._flying.pop(reference)
            try:
                if ray.get(reference) == STOP:
                    self._stop = True
            except ActorUnavailableError:
                self._fly(body)
            except RayActorError:  # the runner is dead, and Ray is about to end this process with it
                self._stop = True


def run_lease_task(body: bytes, runner: str, options: bytes) -> None:
    """The lease (msgpack of `LeaseSpec`) is over and the runner of that name has all its reports."""
    reports = RunnerReports(_runner(runner))
    try:
        run_lease(_decode_spec(body), reports, _options(options), _children(options))
    finally:
        reports.flush()


def inspect_task(bundle: Bundle, options: bytes) -> list[FunctionSpec]:
    """The functions that a bundle's app has. Raises what `inspect_bundle` raises if it cannot be loaded."""
    return inspect_bundle(bundle, _options(options))


@cache
def _runner(name: str) -> ActorHandle[Any]:
    return actor_named(name)


@cache
def _options(body: bytes) -> RuntimeOptions:
    return _decode_options(body)


@cache
def _children(options: bytes) -> ChildPool:
    """This process's warm children."""
    return ChildPool(_options(options))
