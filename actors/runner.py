"""A node's runner: starts leases, and carries what they report to the dispatcher.

    launch   dispatcher -> runner: leases to start, each as a Ray task behind `LeaseLauncher`
    order    dispatcher -> runner: what leases are to do; they ask for it with `orders`, which waits for some
    report   supervisor -> runner: numbered news of one lease; the answer may say stop
    run_once runner -> dispatcher: all news there is, in one call; one call is in flight at a time

While a call is in flight the next news gather, so that a busy runner makes few, large calls and an idle one none but
its heartbeat, and a single report still goes at once. News are kept, and sent again unchanged, until the dispatcher
says that they are durable. The runner runs no user code and looks into no payload.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from taskservice.actors.ports import DispatcherPort
from taskservice.core.lease_wire import HeldLease, LeaseReport, LeaseSpec, Outcome, ReportAck, RunnerReport
from taskservice.core.orders import Order
from taskservice.core.specs import Resources
from taskservice.core.types import OutcomeKind, RunnerId, TaskNo, Token
from taskservice.errors import BackOffError

GO_ON = b""
STOP = b"stop"
"""What a supervisor is answered: end the lease, its tasks belong to others."""

BATCH_BYTES_MAX = 8 * 1024**2
"""News sent in one call, unless a single report is larger."""
PAST_TOKENS_MAX = 4_096
"""Leases that are remembered after their end, so that a launch which comes twice does not run twice."""
BACK_OFF_MIN_S = 0.05
BACK_OFF_MAX_S = 1.0

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.encode
_decode_launch = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_spec = msgspec.msgpack.Decoder(LeaseSpec).decode
_decode_orders = msgspec.msgpack.Decoder(list[Order]).decode
_decode_ack = msgspec.msgpack.Decoder(ReportAck).decode


class SupervisorNews(msgspec.Struct, frozen=True, array_like=True):
    """A report on its way from a supervisor to its runner. `seq` counts 0, 1, 2 ... within the lease: actor calls may
    overtake each other."""

    seq: int
    report: LeaseReport


_decode_news = msgspec.msgpack.Decoder(SupervisorNews).decode


class LeaseRun(Protocol):
    """A lease that was started."""

    async def wait(self) -> None:
        """The lease's process has left it. Raises whatever ended it before its time."""

    def kill(self) -> None:
        """The lease ends now, or never begins; `wait` raises."""


class LeaseLauncher(Protocol):
    """Starts leases; never blocks."""

    def start(self, body: bytes, spec: LeaseSpec) -> LeaseRun:
        """The lease will run when its resources are free. `body` is the msgpack of `spec`."""


class Sent(NamedTuple):
    """What one turn of the runner did."""

    reports: int
    """News that the dispatcher has acknowledged as durable; 0 for a heartbeat."""
    delivered: bool
    """False: the dispatcher cannot be reached; the same news go again."""


Salvage = Callable[[Token, Sequence[TaskNo]], Sequence[tuple[TaskNo, str]]]
"""Keeps what is left of the logs of attempts whose process has died, and says where: `LogKeeper.salvage`."""


@dataclass(slots=True)
class _Lease:
    token: Token
    resources: Resources
    unreported: set[TaskNo]
    run: LeaseRun | None = None
    next_seq: int = 0
    early: dict[int, LeaseReport] = field(default_factory=dict)
    over: bool = False
    """Its last report is in hand: nothing more comes from it."""
    stop: bool = False
    killer: asyncio.TimerHandle | None = None
    logs: dict[TaskNo, str] = field(default_factory=dict)
    """Where logs of its attempts are stored so far."""
    orders: list[Order] = field(default_factory=list)
    """In the order in which they came; none of them twice."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is an order more, or the lease is over."""

    def in_order(self, news: SupervisorNews) -> list[LeaseReport]:
        """What can be passed on now: this report and those that had overtaken it; nothing if it comes again."""
        if news.seq >= self.next_seq:
            self.early[news.seq] = news.report
        ready = []
        while self.next_seq in self.early:
            ready.append(self.early.pop(self.next_seq))
            self.next_seq += 1
        return ready

    def broken_off(self, why: str, salvage: Salvage) -> LeaseReport:
        """The last report of a lease that ended without one: what had overtaken missing news counts; the rest is lost,
        or handed back if it was us who stopped the lease. Of their logs there is what `salvage` finds."""
        late = [self.early[seq] for seq in sorted(self.early)]
        outcomes = [outcome for report in late for outcome in report.outcomes]
        handed_back = [no for report in late for no in report.handed_back]
        self.unreported.difference_update(handed_back, (outcome.no for outcome in outcomes))
        if self.stop:
            handed_back += sorted(self.unreported)
        else:
            outcomes += [Outcome(no, OutcomeKind.LOST, message=why) for no in sorted(self.unreported)]
        saved = tuple(checkpoint for report in late for checkpoint in report.checkpoints)
        logs = tuple(salvage(self.token, sorted(self.unreported)))
        ended = (tuple(outcomes), tuple(handed_back))
        return LeaseReport(self.token, *ended, done=True, checkpoints=saved, logs=logs)


class Runner:
    """The leases of one node, and the news of them that are not yet durable."""

    def __init__(
        self,
        id: RunnerId,
        dispatcher: DispatcherPort,
        launcher: LeaseLauncher,
        heartbeat_ms: int,
        kill_after_ms: int = 5_000,
        salvage: Salvage = lambda token, nos: (),
    ) -> None:
        """`heartbeat_ms`: silence after which an empty report is sent. `kill_after_ms`: what a lease that was told to
        stop has left before it is killed."""
        self.id = id
        self._dispatcher = dispatcher
        self._launcher = launcher
        self._heartbeat_s = heartbeat_ms / 1000
        self._kill_after_s = kill_after_ms / 1000
        self._salvage = salvage
        self._epoch = 0
        self._leases: dict[Token, _Lease] = {}
        self._past: dict[Token, None] = {}
        self._early: dict[Token, list[Order]] = {}
        """Orders to leases that are still to come: calls may overtake each other."""
        self._followers: set[asyncio.Task[None]] = set()
        self._news: list[LeaseReport] = []
        self._batch: tuple[LeaseReport, ...] | None = None
        self._failures = 0
        self._listed = 0
        """How often the leases have been listed: each time to a dispatcher that has just started."""
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def launch(self, epoch: int, body: bytes) -> bool:
        """The leases (msgpack of a list of `LeaseSpec`) are started. False: refused, it has seen a higher epoch.

        A lease that was launched before, even if it is over, is not launched again.
        """
        if epoch < self._epoch:
            return False
        self._epoch = epoch
        for raw in _decode_launch(body):
            spec_body = bytes(raw)
            spec = _decode_spec(spec_body)
            if spec.token not in self._leases and spec.token not in self._past:
                self._start(spec_body, spec)
        return True

    async def order(self, epoch: int, body: bytes) -> bool:
        """The leases will be told (msgpack of a list of `Order`), once each, however often it comes. False: as for `launch`."""
        if epoch < self._epoch:
            return False
        self._epoch = epoch
        for order in _decode_orders(body):
            lease = self._leases.get(order.token)
            if lease is not None:
                self._give(lease, order)
            elif order.token not in self._past:
                self._early.setdefault(order.token, []).append(order)
                while len(self._early) > PAST_TOKENS_MAX:
                    del self._early[next(iter(self._early))]
        return True

    async def orders(self, token: Token, known: int) -> list[Order]:
        """The lease's orders after the first `known`, as soon as there are any; none once the lease is over."""
        lease = self._leases.get(token)
        while lease is not None and not lease.over:
            if len(lease.orders) > known:
                return lease.orders[known:]
            lease.news.clear()
            await lease.news.wait()
        return []

    async def list_leases(self) -> list[HeldLease]:
        """Every lease that runs, or whose last report is not acknowledged yet."""
        self._listed += 1
        return [HeldLease(lease.token, lease.resources, tuple(lease.logs.items())) for lease in self._leases.values()]

    async def report(self, body: bytes) -> bytes:
        """A supervisor's news (msgpack of `SupervisorNews`) are in the runner's care. Gives GO_ON or STOP."""
        news = _decode_news(body)
        lease = self._leases.get(news.report.token)
        if lease is None or lease.over:
            return STOP
        for report in lease.in_order(news):
            self._pass_on(lease, report)
        return STOP if lease.stop else GO_ON

    async def drain(self, grace_ms: int) -> None:
        """No lease is left, and what was reported is durable.

        Leases may run on for `grace_ms`. Then they are told to stop, and what they have not done is handed back.
        Waits for as long as the dispatcher cannot be reached.
        """
        try:
            await asyncio.wait_for(self._idle.wait(), grace_ms / 1000)
        except TimeoutError:
            for lease in self._leases.values():
                self._stop(lease)
            await self._idle.wait()

    async def run(self) -> None:
        """`run_once` whenever there are news, and at least once per heartbeat; for ever."""
        while True:
            sent = await self.run_once()
            if sent.delivered:
                await self._wait_for_news()
            else:
                await asyncio.sleep(min(BACK_OFF_MIN_S * 2 ** (self._failures - 1), BACK_OFF_MAX_S))

    async def run_once(self) -> Sent:
        """The news in hand were sent once: all that fit one call, or those that could not be delivered before."""
        if self._batch is None:
            self._batch = self._take_batch() or self._running()
        body = _encode(RunnerReport(self.id, self._batch))
        listed = self._listed
        try:
            ack = _decode_ack(await self._dispatcher.report(body))
        except Exception as error:  # whatever it is: news are never given up, and a second try is harmless
            self._note_failure(error)
            return Sent(0, delivered=False)
        self._failures = 0
        if listed != self._listed:
            # It may be the dispatcher before that says so, and whoever was told of these leases would wait for their end.
            return Sent(0, delivered=False)
        batch, self._batch = self._batch, None
        self._acknowledged(batch, ack)
        return Sent(sum(map(_has_news, batch)), delivered=True)

    def _start(self, body: bytes, spec: LeaseSpec) -> None:
        lease = _Lease(spec.token, spec.resources, {task.no for task in spec.tasks})
        self._leases[spec.token] = lease
        self._idle.clear()
        for order in self._early.pop(spec.token, ()):
            self._give(lease, order)
        try:
            lease.run = self._launcher.start(body, spec)
        except Exception as error:
            log.exception("lease %s could not be started", spec.token)
            self._pass_on(lease, lease.broken_off(_describe(error), self._salvage))
            return
        follower = asyncio.create_task(self._follow(lease, lease.run))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)

    async def _follow(self, lease: _Lease, run: LeaseRun) -> None:
        """Waits for the lease's end; what it has not reported by then is lost."""
        try:
            await run.wait()
            why = "the lease's supervisor ended without a last report"
        except Exception as error:
            why = _describe(error)
        if not lease.over:
            log.log(logging.INFO if lease.stop else logging.WARNING, "lease %s broke off: %s", lease.token, why)
            self._pass_on(lease, lease.broken_off(why, self._salvage))

    def _pass_on(self, lease: _Lease, report: LeaseReport) -> None:
        lease.unreported.difference_update(report.handed_back, (outcome.no for outcome in report.outcomes))
        lease.logs.update(report.logs)
        if report.done:
            lease.over = True
            lease.news.set()
            lease.early.clear()
            if lease.killer is not None:
                lease.killer.cancel()
        if _has_news(report):
            self._news.append(report)
            self._woken.set()

    def _stop(self, lease: _Lease) -> None:
        """The lease learns with its next report that it must end; if it has not by the end of its grace, it is killed."""
        if lease.over or lease.stop:
            return
        lease.stop = True
        if lease.run is not None:
            if lease.killer is not None:
                lease.killer.cancel()
            lease.killer = asyncio.get_running_loop().call_later(self._kill_after_s, lease.run.kill)

    def _give(self, lease: _Lease, order: Order) -> None:
        """The lease's supervisor gets the order, unless it had it; if nothing came of it by long after the grace, it is killed."""
        if lease.over or order in lease.orders:
            return
        lease.orders.append(order)
        lease.news.set()
        if lease.killer is None and (not order.nos or lease.unreported.issubset(order.nos)):
            patience_s = order.grace_ms / 1000 + self._kill_after_s
            lease.killer = asyncio.get_running_loop().call_later(patience_s, _kill, lease)

    def _take_batch(self) -> tuple[LeaseReport, ...]:
        size, count = 0, 0
        for report in self._news:
            size += sum(len(outcome.result) + len(outcome.detail) + 64 for outcome in report.outcomes) + 64
            size += sum(len(text) + 64 for _, text in report.checkpoints)
            if count and size > BATCH_BYTES_MAX:
                break
            count += 1
        batch = tuple(self._news[:count])
        del self._news[:count]
        return batch

    def _running(self) -> tuple[LeaseReport, ...]:
        """The leases that run, without news: the dispatcher names those that nobody holds any more."""
        return tuple(LeaseReport(lease.token) for lease in self._leases.values() if not lease.over)

    def _acknowledged(self, batch: tuple[LeaseReport, ...], ack: ReportAck) -> None:
        for token in ack.gone:
            if (lease := self._leases.get(token)) is not None:
                self._stop(lease)
        for report in batch:
            if report.done:
                del self._leases[report.token]
                self._past[report.token] = None
        while len(self._past) > PAST_TOKENS_MAX:
            del self._past[next(iter(self._past))]
        if not self._leases:
            self._idle.set()

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            known = isinstance(error, BackOffError)
            log.warning("the dispatcher does not take reports, trying on: %s", error, exc_info=None if known else error)

    async def _wait_for_news(self) -> None:
        if not self._news:
            self._woken.clear()
            try:
                await asyncio.wait_for(self._woken.wait(), self._heartbeat_s)
            except TimeoutError:
                return  # time for a heartbeat


def _kill(lease: _Lease) -> None:
    if lease.run is not None:
        lease.run.kill()


def _has_news(report: LeaseReport) -> bool:
    ended = report.done or report.outcomes or report.handed_back
    return bool(ended or report.checkpoints or report.logs)


def _describe(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"
