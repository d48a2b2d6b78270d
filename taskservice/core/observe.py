"""What an event teaches the volatile half of the state: runners, room, speeds, prices. Before `decide`, and never journalled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskservice.core import events as e
from taskservice.core.lease_wire import LeaseReport, Outcome
from taskservice.core.speed import Speed
from taskservice.core.state import Lease, State
from taskservice.core.types import OutcomeKind, RunnerId, TaskNo, Token


def observe(state: State, event: e.Event, now_ms: int) -> None:
    """The volatile state knows of the event. Freeing room never waits for the disk."""
    if isinstance(event, e.RunnerReported):
        news: dict[Token, list[LeaseReport]] = {}
        for report in event.report.leases:
            news.setdefault(report.token, []).append(report)
        _look_out(state, event.report.leases, now_ms)
        for token, reports in news.items():
            _logged(state, token, (each for report in reports for each in report.logs))
            _reported(state, event.report.runner, token, reports, now_ms)
    elif isinstance(event, e.RunnerJoined):
        _joined(state, event, now_ms)
    elif isinstance(event, e.RunnerDraining):
        state.pool.drain(event.runner)
    elif isinstance(event, e.RunnerLost):
        _lost(state, event.runner, now_ms)
    elif isinstance(event, e.RunnersSettled):
        gone = [token for token in state.leases if not state.pool.holds(token)]
        _vanished(state, gone, now_ms)


def _look_out(state: State, reports: Iterable[LeaseReport], now_ms: int) -> None:
    """Functions that are throttled for the first time have a window, before anything of the event is counted: it begins with what
    runs, and what the event says has ended still does."""
    for report in reports:
        lease = state.leases.get(report.token)
        if lease is not None and any(outcome.kind is OutcomeKind.THROTTLED for outcome in report.outcomes):
            state.turns.throttled(lease.leaf.function, now_ms)


def _reported(state: State, runner: RunnerId, token: Token, reports: Sequence[LeaseReport], now_ms: int) -> None:
    """All that the event says of one lease."""
    lease = state.leases.get(token)
    done = any(report.done for report in reports)
    change = 0.0 if lease is None else _learn(state, lease, reports, done=done, now_ms=now_ms)
    if done:
        _over(state, token, now_ms, max(report.held_us for report in reports) / 1e6, change)
        state.pool.lease_over(runner, token)
        return
    if change and lease is not None:
        state.turns.correct(lease.leaf, change, now_ms)
    if any(report.handed_back for report in reports):
        state.pool.straggles(runner, token)


def _learn(state: State, lease: Lease, reports: Sequence[LeaseReport], *, done: bool, now_ms: int) -> float:
    """What is reported again has been counted before: only the first word about an open attempt is news. Gives how much more the
    lease costs by that."""
    news: dict[TaskNo, Outcome | None] = {}
    for report in reports:
        for outcome in report.outcomes:
            news.setdefault(outcome.no, outcome)
        for no in report.handed_back:
            news.setdefault(no, None)
    known = [outcome for no, outcome in news.items() if no in lease.open]
    ended = [outcome for outcome in known if outcome is not None]
    back = len(known) - len(ended)
    vanished = len(lease.open) - len(known) if done else 0
    _speed(state, lease, ended)
    state.apps.learn(lease.leaf, lease.version, ended)
    state.turns.ended(lease.leaf, ended, back, vanished, now_ms)
    state.meters.attempted(lease.leaf, ended, _waits_ms(lease, ended), back, vanished)
    concurrency = state.function_of(lease.leaf, lease.version).concurrency
    seconds = sum(outcome.duration_us for outcome in ended) / 1e6 / concurrency
    return state.costs.report(lease.token, len(ended), seconds, back)


def _waits_ms(lease: Lease, ended: Iterable[Outcome]) -> list[int]:
    """How long tasks had been due when their attempts began. Nodes' clocks differ; who was stopped for others has run meanwhile."""
    return [
        each.started_ms - attempt.due_ms
        for each in ended
        if each.started_ms and not (attempt := lease.open[each.no]).preempted
    ]


def _speed(state: State, lease: Lease, ended: Sequence[Outcome]) -> None:
    """The speed of a function is that of its successes: a failure may be quick, or a time-out."""
    succeeded = [outcome for outcome in ended if outcome.kind is OutcomeKind.SUCCEEDED]
    if succeeded:
        speed = state.speeds.setdefault(lease.leaf.function, Speed())
        speed.learn(sum(outcome.duration_us for outcome in succeeded), len(succeeded))
        speed.spread(outcome.duration_us for outcome in succeeded)


def _logged(state: State, token: Token, logs: Iterable[tuple[TaskNo, str]]) -> None:
    """So far the logs of these attempts of the lease are stored."""
    lease = state.leases.get(token)
    if lease is not None:
        lease.logs.update((no, log) for no, log in logs if no in lease.open)


def _joined(state: State, event: e.RunnerJoined, now_ms: int) -> None:
    for held in event.held:
        _logged(state, held.token, held.logs)
    state.pool.join(event.runner, event.node, event.capacity, event.held, event.labels, now_ms)
    for token, occupied in state.pool.runners[event.runner].leases.items():
        lease = state.leases.get(token)
        if lease is not None:
            state.turns.usage.occupy(token, lease.leaf, occupied.need)


def _lost(state: State, runner: RunnerId, now_ms: int) -> None:
    _vanished(state, [token for token, lease in state.leases.items() if lease.runner == runner], now_ms)
    known = state.pool.runners.get(runner)
    for token in list(known.leases) if known is not None else ():
        _over(state, token, now_ms)
    state.pool.leave(runner)


def _vanished(state: State, tokens: Iterable[Token], now_ms: int) -> None:
    """These leases have ended without a word."""
    for token in tokens:
        lease = state.leases[token]
        state.turns.ended(lease.leaf, (), 0, len(lease.open), now_ms)
        state.meters.attempted(lease.leaf, (), (), 0, len(lease.open))
        _over(state, token, now_ms)


def _over(state: State, token: Token, now_ms: int, held_s: float = 0.0, change: float = 0.0) -> None:
    """The lease occupies nothing any more, and its price is final. `change`: what it is known to cost more, and has not paid."""
    leaf, more = state.costs.over(token, held_s)
    if leaf is not None:
        state.turns.correct(leaf, change + more, now_ms, over=True)
    leaf = state.turns.usage.free(token)
    if leaf is not None:
        state.turns.gates.freed(leaf)
