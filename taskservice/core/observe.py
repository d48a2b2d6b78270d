"""What an event teaches the volatile half of the state: runners, room, speeds. Before `decide`, and never journalled."""

from __future__ import annotations

from taskservice.core import events as e
from taskservice.core.lease_wire import LeaseReport
from taskservice.core.speed import Speed
from taskservice.core.state import State
from taskservice.core.types import FunctionName, OutcomeKind


def observe(state: State, event: e.Event) -> None:
    """The volatile state knows of the event. Freeing room never waits for the disk."""
    if isinstance(event, e.RunnerReported):
        for report in event.report.leases:
            _learn(state, report)
            _settle(state, report)
            if report.done:
                state.pool.lease_over(event.report.runner, report.token)
            elif report.handed_back and (runner := state.pool.runners.get(event.report.runner)):
                runner.straggles(report.token)
    elif isinstance(event, e.RunnerJoined):
        state.pool.join(event.runner, event.node, event.capacity, event.held)
    elif isinstance(event, e.RunnerDraining):
        draining = state.pool.runners.get(event.runner)
        if draining is not None:
            draining.draining = True
    elif isinstance(event, e.RunnerLost):
        lost = state.pool.runners.get(event.runner)
        for token in lost.leases if lost is not None else ():
            _correct(state, LeaseReport(token, done=True), 0, 0.0, 0)
        state.pool.leave(event.runner)


def _learn(state: State, report: LeaseReport) -> None:
    """The speed of a function is that of its successes: a failure may be quick, or a time-out."""
    lease = state.leases.get(report.token)
    if lease is None:
        return
    succeeded = [o for o in report.outcomes if o.kind is OutcomeKind.SUCCEEDED and o.no in lease.open]
    if not succeeded:
        return
    name: FunctionName = lease.leaf.function
    speed = state.speeds.setdefault(name, Speed())
    speed.learn(sum(outcome.duration_us for outcome in succeeded), len(succeeded))


def _settle(state: State, report: LeaseReport) -> None:
    """The lease's price is what it has really cost so far. What is reported again has been counted before."""
    lease = state.leases.get(report.token)
    still_open = lease.open if lease is not None else {}
    ended = [outcome for outcome in report.outcomes if outcome.no in still_open]
    back = sum(no in still_open for no in report.handed_back)
    concurrency = state.functions[lease.leaf.function].concurrency if lease is not None else 1
    _correct(state, report, len(ended), sum(outcome.duration_us for outcome in ended) / 1e6 / concurrency, back)


def _correct(state: State, report: LeaseReport, ended: int, seconds: float, back: int) -> None:
    change = state.costs.report(report.token, ended, seconds, back, over=report.done)
    if change is not None:
        leaf, price = change
        state.turns.tree.correct(leaf, price, over=report.done)
