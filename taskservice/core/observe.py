"""What an event teaches the volatile half of the state: runners, room, speeds. Before `decide`, and never journalled."""

from __future__ import annotations

from taskservice.core import events as e
from taskservice.core.lease_wire import LeaseReport
from taskservice.core.speed import Speed
from taskservice.core.state import State
from taskservice.core.types import FunctionName, OutcomeKind


def observe(state: State, event: e.Event, now_ms: int) -> None:
    """The volatile state knows of the event. Freeing room never waits for the disk."""
    if isinstance(event, e.RunnerReported):
        for report in event.report.leases:
            _learn(state, report)
            if report.done:
                state.pool.lease_over(event.report.runner, report.token)
            elif report.handed_back:
                state.pool.straggles(event.report.runner, report.token)
    elif isinstance(event, e.RunnerJoined):
        state.pool.join(event.runner, event.node, event.capacity, event.held, event.labels, now_ms)
    elif isinstance(event, e.RunnerDraining):
        state.pool.drain(event.runner)
    elif isinstance(event, e.RunnerLost):
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
