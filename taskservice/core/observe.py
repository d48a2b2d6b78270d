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
        _heard(state, event, now_ms)
    elif isinstance(event, e.RunnerJoined):
        _joined(state, event, now_ms)
    elif isinstance(event, e.RunnerDraining):
        state.pool.drain(event.runner)
    elif isinstance(event, e.RunnerLost):
        _lost(state, event.runner, now_ms)
    elif isinstance(event, e.RunnersSettled):
        gone = [token for token in state.leases if not state.pool.holds(token)]
        _vanished(state, gone, now_ms)


def _heard(state: State, event: e.RunnerReported, now_ms: int) -> None:
    """Functions that are throttled for the first time have a window, before anything of the event is counted: it begins with what
    runs, and what the event says has ended still does."""
    news: dict[Token, list[LeaseReport]] = {}
    for report in event.report.leases:
        news.setdefault(report.token, []).append(report)
        for outcome in report.outcomes:
            if outcome.kind is OutcomeKind.THROTTLED and report.token in state.leases:
                state.turns.throttled(state.leases[report.token].leaf.function, now_ms)
    for token, reports in news.items():
        _reported(state, event.report.runner, token, reports, now_ms)


def _reported(state: State, runner: RunnerId, token: Token, reports: Sequence[LeaseReport], now_ms: int) -> None:
    """All that the event says of one lease."""
    done, back, held_us = False, False, 0
    for report in reports:
        done = done or report.done
        back = back or bool(report.handed_back)
        held_us = max(held_us, report.held_us)
        if report.logs:
            _logged(state, token, report.logs)
    lease = state.leases.get(token)
    change = 0.0 if lease is None else _learn(state, lease, reports, done=done, now_ms=now_ms)
    if done:
        _over(state, token, now_ms, held_us / 1e6, change)
        state.pool.lease_over(runner, token)
        return
    if change and lease is not None:
        state.turns.correct(lease.leaf, change, now_ms)
    if back:
        state.pool.straggles(runner, token)


def _learn(state: State, lease: Lease, reports: Sequence[LeaseReport], *, done: bool, now_ms: int) -> float:
    """What is reported again has been counted before: only the first word about an open attempt is news. Gives how much more the
    lease costs by that. No generators: this is asked for each lease, and most have one attempt."""
    news: dict[TaskNo, Outcome | None] = {}
    for report in reports:
        for outcome in report.outcomes:
            news.setdefault(outcome.no, outcome)
        for no in report.handed_back:
            news.setdefault(no, None)
    ended: list[Outcome] = []
    waits_ms: list[int] = []
    good_us: list[int] = []
    back = all_us = 0
    for no, each in news.items():
        attempt = lease.open.get(no)
        if attempt is None:
            continue
        if each is None:
            back += 1
            continue
        ended.append(each)
        all_us += each.duration_us
        if each.kind is OutcomeKind.SUCCEEDED:
            good_us.append(each.duration_us)
        if (
            each.started_ms and not attempt.preempted
        ):  # nodes' clocks differ; who was stopped for others has run meanwhile
            waits_ms.append(each.started_ms - attempt.due_ms)
    leaf, vanished = lease.leaf, len(lease.open) - len(ended) - back if done else 0
    if good_us:  # the speed of a function is that of its successes: a failure may be quick, or a time-out
        state.speeds.setdefault(leaf.function, Speed()).learn(good_us)
    if lease.version:
        state.apps.learn(leaf, lease.version, ended)
    state.turns.gates.ended(leaf, ended, back, vanished, now_ms)
    state.meters.attempted(leaf, ended, waits_ms, back, vanished)
    return state.costs.report(lease.token, len(ended), all_us / 1e6, back)


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
        state.turns.gates.ended(lease.leaf, (), 0, len(lease.open), now_ms)
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
