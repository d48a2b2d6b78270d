"""What follows from what a runner reports: success, another attempt, or the dead letters.

An outcome counts only if its task holds the lease's token now: the open attempts of `State.leases` are exactly those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from taskservice.core.checkpoints import CheckpointsSaved
from taskservice.core.decision import Decision
from taskservice.core.events import RunnerReported
from taskservice.core.flow.backoff import delay_ms
from taskservice.core.lease_wire import LeaseReport, Outcome, ReportAck
from taskservice.core.memory import after_running_out
from taskservice.core.orders import TasksPreempted, TasksStopped
from taskservice.core.records import (
    DeadRow,
    Record,
    RetryRow,
    TasksFailed,
    TasksHandedBack,
    TasksRetrying,
    TasksSucceeded,
)
from taskservice.core.specs import FunctionSpec
from taskservice.core.state import Lease, OpenAttempt, State
from taskservice.core.types import RETRY_LANES, ErrorInfo, OutcomeKind, TaskNo, Token
from taskservice.core.values import MARK, keys_of
from taskservice.core.versions import app_of, name_of

LOST_LOG = "~"
"""Before where a task's log is: the attempt that came after that was lost, and with it whatever it had written."""

POISON = "poison"
"""The reason of a task that was given up because it ended the processes that ran it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from one kind of bad outcome."""

    charged: bool = True
    """Whether the attempt counts against `max_attempts`."""
    final: bool = False
    """Whether another attempt would be in vain."""
    crash: bool = False
    """Whether it counts against the function's `max_crashes`."""
    loss: bool = False
    """Whether it counts against `losses_max`."""
    throttle: bool = False
    """Whether it counts against `throttles_max`."""
    budgeted: bool = False
    """Whether the next attempt waits for the function's retry budget."""


RULES = {
    OutcomeKind.HANDLER_ERROR: Rule(budgeted=True),
    OutcomeKind.TIMEOUT: Rule(budgeted=True),
    OutcomeKind.IMPORT_FAILED: Rule(budgeted=True),
    OutcomeKind.CRASHED: Rule(crash=True, budgeted=True),
    # No crash, even if it was one: with more memory it may be none.
    OutcomeKind.OUT_OF_MEMORY: Rule(budgeted=True),
    OutcomeKind.NON_RETRYABLE: Rule(final=True),
    OutcomeKind.BAD_PAYLOAD: Rule(final=True),
    OutcomeKind.BAD_RESULT: Rule(final=True),
    OutcomeKind.THROTTLED: Rule(charged=False, throttle=True),
    OutcomeKind.LOST: Rule(charged=False, loss=True),
    # Told by a lease that was given no such order. With one, the task is back in its place: see `_settle`.
    OutcomeKind.PREEMPTED: Rule(charged=False, loss=True),
    OutcomeKind.CANCELLED: Rule(charged=False, loss=True),
    # Neither the task's fault nor a sign that it does harm, however often: an outage may last for hours.
    OutcomeKind.STORE_AWAY: Rule(charged=False),
    # What is gone does not come back by reading it again.
    OutcomeKind.VALUE_LOST: Rule(final=True),
}


STOPPED = (OutcomeKind.PREEMPTED, OutcomeKind.LOST)
"""How an attempt ends that was stopped for others: whoever was to stop it may have vanished before saying so."""


@dataclass(slots=True)
class _Sorted:
    """The outcomes of one lease, by what becomes of their tasks."""

    succeeded: dict[str, list[tuple[TaskNo, bytes, int, int]]] = field(default_factory=dict)
    """By where their logs are; so for those below that are no rows."""
    failed: list[DeadRow] = field(default_factory=list)
    retrying: list[RetryRow] = field(default_factory=list)
    handed_back: dict[str, list[TaskNo]] = field(default_factory=dict)
    preempted: dict[str, list[TaskNo]] = field(default_factory=dict)
    stopped: dict[str, list[TaskNo]] = field(default_factory=dict)

    def records(self, token: Token, now_ms: int) -> Iterable[Record]:
        for log, rows in self.succeeded.items():
            yield TasksSucceeded(now_ms, token, tuple(rows), log)
        if self.failed:
            yield TasksFailed(now_ms, token, tuple(self.failed))
        if self.retrying:
            yield TasksRetrying(now_ms, token, tuple(self.retrying))
        for log, nos in self.handed_back.items():
            yield TasksHandedBack(now_ms, token, tuple(nos), log)
        for log, nos in self.preempted.items():
            yield TasksPreempted(now_ms, token, tuple(nos), log)
        for log, nos in self.stopped.items():
            yield TasksStopped(now_ms, token, tuple(nos), log)


def report(state: State, event: RunnerReported, now_ms: int, rng: Random) -> Decision:
    """What the current holders of their tasks report comes true; anything else is ignored, and its lease named gone."""
    records: list[Record] = []
    gone: list[Token] = []
    dropped: list[str] = []
    news: dict[Token, list[LeaseReport]] = {}
    for lease_report in event.report.leases:
        news.setdefault(lease_report.token, []).append(lease_report)
    for token, reports in news.items():
        lease = state.leases.get(token)
        dropped += _unwanted(state, lease, reports)
        if lease is None:
            gone.append(token)
        else:
            saved = [row for each in reports for row in each.checkpoints if row[0] in lease.open]
            if saved:
                records.append(CheckpointsSaved(now_ms, token, tuple(saved)))
            records += _settle(state, lease, reports, now_ms, rng)
    return Decision(tuple(records), ReportAck(tuple(gone)), tuple(dropped))


def _unwanted(state: State, lease: Lease | None, reports: list[LeaseReport]) -> list[str]:
    """The keys of results and checkpoints that come too late: of another's task by now. Not those of a report that only comes again."""
    apart = [(each.no, each.result) for report in reports for each in report.outcomes if each.result.startswith(MARK)]
    apart += [each for report in reports for each in report.checkpoints if each[1].startswith(MARK)]
    late = [text for no, text in apart if lease is None or no not in lease.open] if apart else ()
    return [key for text in late for key in keys_of(text) if not state.table.references([key])]


def lost(state: State, lease: Lease, message: str, now_ms: int, rng: Random) -> Iterable[Record]:
    """All open attempts of the lease are lost: they are tried again elsewhere."""
    return _settle(state, lease, [LeaseReport(lease.token, _all_lost(lease.open, message))], now_ms, rng)


def _all_lost(nos: Iterable[TaskNo], message: str) -> tuple[Outcome, ...]:
    return tuple(Outcome(no, OutcomeKind.LOST, message=message) for no in nos)


def _settle(state: State, lease: Lease, reports: list[LeaseReport], now_ms: int, rng: Random) -> Iterable[Record]:
    function = state.functions[lease.leaf.function]
    open_attempts, cancelling = dict(lease.open), lease.cancelling
    rows = _Sorted()

    def settle(outcome: Outcome, log: str) -> None:
        attempt = open_attempts.pop(outcome.no, None)
        if attempt is None:
            return
        if outcome.kind is OutcomeKind.LOST or log == LOST_LOG:
            log = lease.logs.get(outcome.no) or LOST_LOG + attempt.log
        if outcome.kind is OutcomeKind.SUCCEEDED:
            row = (outcome.no, outcome.result, outcome.started_ms, outcome.duration_us)
            rows.succeeded.setdefault(log, []).append(row)
        elif outcome.no in cancelling:
            rows.stopped.setdefault(log, []).append(outcome.no)
        elif lease.preempted and outcome.kind in STOPPED:
            rows.preempted.setdefault(log, []).append(outcome.no)
        else:
            _settle_bad(state, function, lease, attempt, outcome, rows, now_ms, rng, log)

    for lease_report in reports:
        for outcome in lease_report.outcomes:
            settle(outcome, lease_report.log)
        for no in lease_report.handed_back:
            if (attempt := open_attempts.pop(no, None)) is not None:
                log = lease_report.log or lease.logs.get(no, "")
                if log == LOST_LOG:
                    log = lease.logs.get(no) or LOST_LOG + attempt.log
                (rows.stopped if no in cancelling else rows.handed_back).setdefault(log, []).append(no)
        if lease_report.done and open_attempts:
            for outcome in _all_lost(tuple(open_attempts), "the lease ended without a word about this task"):
                settle(outcome, "")
    return rows.records(lease.token, now_ms)


def _settle_bad(
    state: State,
    function: FunctionSpec,
    lease: Lease,
    attempt: OpenAttempt,
    outcome: Outcome,
    rows: _Sorted,
    now_ms: int,
    rng: Random,
    log: str,
) -> None:
    rule, leaf = RULES[outcome.kind], lease.leaf
    crashes = attempt.crashes + rule.crash
    losses = attempt.losses + rule.loss
    throttles = attempt.throttles + rule.throttle
    error = ErrorInfo(outcome.kind.value, outcome.message + _said_of_version(state, lease, outcome), outcome.detail)
    given_up = _given_up(state, function, crashes, losses, rule)
    if rule.throttle and throttles >= state.limits.throttles_max:
        given_up = f"its downstream had no room {throttles} times (throttles_max {state.limits.throttles_max})"
    if given_up:
        reason = outcome.kind.value if rule.throttle else POISON
        error = ErrorInfo(reason, f"{given_up}; last: {outcome.message}", outcome.detail)
    if given_up or rule.final or (rule.charged and attempt.attempt >= attempt.max_attempts):
        rows.failed.append(DeadRow(attempt.no, error, crashes, losses, outcome.duration_us, log))
        return
    charged = attempt.attempt if rule.charged else attempt.attempt - 1
    due_ms = now_ms + delay_ms(function.retry, attempt.attempt, outcome, rng)
    lane = RETRY_LANES.get(leaf.lane, leaf.lane) if rule.budgeted else leaf.lane
    memory_bytes = leaf.memory_bytes
    if outcome.kind is OutcomeKind.OUT_OF_MEMORY:
        largest_bytes = state.pool.most(state.turns.demand_of(leaf), "memory")
        allowed_bytes = state.turns.gates.most(leaf, "memory")
        if allowed_bytes is not None:
            largest_bytes = min(largest_bytes, allowed_bytes)
        memory_bytes = after_running_out(function, leaf, largest_bytes)
    rows.retrying.append(
        RetryRow(
            attempt.no, due_ms, error, charged, crashes, losses, outcome.duration_us, lane, memory_bytes, throttles, log
        )
    )


def _said_of_version(state: State, lease: Lease, outcome: Outcome) -> str:
    """Whether a payload is refused by another version than the one that it was accepted under."""
    version = state.apps.versions.get(app_of(lease.leaf.function), {}).get(lease.version)
    if outcome.kind is not OutcomeKind.BAD_PAYLOAD or version is None:
        return ""
    rollout = state.apps.rollouts[version.app]
    if outcome.no >= version.from_no and version.number != rollout.canary:
        return ""
    return f"; it was accepted under another version than {name_of(version.number)}, which it ran on"


def _given_up(state: State, function: FunctionSpec, crashes: int, losses: int, rule: Rule) -> str:
    if rule.crash and crashes >= function.max_crashes:
        return f"its process died {crashes} times (max_crashes {function.max_crashes})"
    if rule.loss and losses >= state.limits.losses_max:
        return f"its runner was lost {losses} times (losses_max {state.limits.losses_max})"
    return ""
