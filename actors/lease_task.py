"""What a lease is on its node: the function that runs as its Ray task.

It is the supervisor's process; user code runs in the supervisor's children, which are kept between leases of this
process. Reports go to the node's runner over its socket; the task ends when the runner has them all.
"""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path

import msgspec

from taskservice.actors.line import Answer, Call, address, frame
from taskservice.actors.runner import STOP, SupervisorNews
from taskservice.core.lease_wire import LeaseReport, LeaseSpec
from taskservice.core.orders import Order
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import Token
from taskservice.runtime.inspect import inspect_bundle
from taskservice.runtime.options import RuntimeOptions
from taskservice.runtime.pool import ChildPool
from taskservice.runtime.supervisor import run_lease
from taskservice.runtime.wire import Frames
from taskservice.values import Values, values_in

REPORT = 0
"""The number of calls that report: they are answered in order."""

_encode = msgspec.msgpack.encode
_decode_spec = msgspec.msgpack.Decoder(LeaseSpec).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_bytes = msgspec.msgpack.Decoder(bytes).decode
_decode_orders = msgspec.msgpack.Decoder(list[Order]).decode
_decode_options = msgspec.msgpack.Decoder(RuntimeOptions).decode


class RunnerReports:
    """The way from a supervisor to its runner (`ReportPort`), for one lease; blocking, on one thread."""

    def __init__(self, line: RunnerLine) -> None:
        self._line = line
        self._next_seq = 0

    def send(self, report: LeaseReport) -> None:
        """The report is on its way, behind those sent before."""
        self._line.send(_encode(SupervisorNews(self._next_seq, report)))
        self._next_seq += 1

    def stop_asked(self) -> bool:
        """Whether the runner has asked for this lease to end, or is dead. Never waits."""
        self._line.read(wait=False)
        return self._line.stop

    def listen(self, token: Token) -> int:
        """See `RunnerLine.listen`."""
        return self._line.listen(token)

    def orders(self) -> list[Order]:
        """Those that have come since this was asked last. Never waits."""
        return self._line.take_orders()

    def flush(self) -> None:
        """The runner has all reports, or is dead."""
        while self._line.unanswered:
            self._line.read(wait=True)


class RunnerLine:
    """A connection to the runner, kept between leases."""

    def __init__(self, path: Path) -> None:
        self.unanswered = 0
        """Reports that the runner has not confirmed."""
        self.stop = False
        """The runner wants the lease to end; or it is dead, and Ray is about to end this process with it."""
        self._listens: Token | None = None
        """The lease that has asked for its orders."""
        self._orders: list[Order] = []
        """Those that were not taken yet."""
        self._known = 0
        """How many orders the lease has heard of."""
        self._call = REPORT
        """Number of the last call that asks for orders; answers to those before are another lease's."""
        self._frames = Frames()
        self._socket = socket.socket(socket.AF_UNIX)
        with address(path) as short:
            self._socket.connect(short)

    def send(self, body: bytes) -> None:
        """The runner is told."""
        self.unanswered += 1
        self._tell(Call(REPORT, "report", msgspec.Raw(_encode((body,)))))

    def close(self) -> None:
        """Nobody speaks here any more."""
        self._socket.close()

    def begin(self) -> None:
        """Another lease speaks from now on."""
        self.stop = False
        self._listens = None
        self._orders.clear()
        self._known = 0

    def listen(self, token: Token) -> int:
        """The runner tells this lease's orders from now on; gives what can be read when it has told something."""
        self._listens = token
        self._ask_for_orders()
        return self._socket.fileno()

    def take_orders(self) -> list[Order]:
        """The orders that have come since this was asked last. Never waits."""
        self.read(wait=False)
        orders, self._orders = self._orders, []
        return orders

    def read(self, *, wait: bool) -> None:
        """Answers that have come are read; with `wait`, at least one."""
        if not self.unanswered and self._listens is None:
            return
        try:
            data = self._socket.recv(1 << 16, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
        for body in self._frames.feed(data):
            self._answered(_decode_answer(body))

    def _answered(self, answer: Answer) -> None:
        if answer.id == REPORT:
            self.unanswered -= 1
            if not answer.failure and _decode_bytes(answer.result) == STOP:
                self.stop = True
        elif answer.id == self._call and not answer.failure:
            orders = [order for order in _decode_orders(answer.result) if order.token == self._listens]
            self._orders += orders
            self._known += len(orders)
            if orders:
                self._ask_for_orders()

    def _ask_for_orders(self) -> None:
        self._call += 1
        self._tell(Call(self._call, "orders", msgspec.Raw(_encode((self._listens, self._known)))))

    def _tell(self, call: Call) -> None:
        try:
            self._socket.sendall(frame(call))
        except OSError:
            self._lost()

    def _lost(self) -> None:
        self.unanswered = 0
        self.stop = True


def run_lease_task(body: bytes, runner: str, options: bytes) -> None:
    """The lease (msgpack of `LeaseSpec`) is over, and the runner that answers at the socket `runner` has its reports."""
    line = _line(runner)
    line.begin()
    reports = RunnerReports(line)
    try:
        run_lease(_decode_spec(body), reports, _options(options), _children(options), _values(options))
    finally:
        reports.flush()


def inspect_task(bundle: Bundle, options: bytes) -> list[FunctionSpec]:
    """The functions that a bundle's app has. Raises what `inspect_bundle` raises if it cannot be loaded."""
    return inspect_bundle(bundle, _options(options))


@cache
def _line(path: str) -> RunnerLine:
    return RunnerLine(Path(path))


@cache
def _options(body: bytes) -> RuntimeOptions:
    return _decode_options(body)


@cache
def _values(options: bytes) -> Values:
    """This process's way to large values; the store is opened when the first one comes."""
    decoded = _options(options)
    return values_in(decoded.state_dir, decoded.value_timeout_s)


@cache
def _children(options: bytes) -> ChildPool:
    """This process's warm children."""
    return ChildPool(_options(options))
