"""Scheduling: what runs next, and where; that is the next lease to grant, or none."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from taskservice.core import lease
from taskservice.core.bulk import leasable
from taskservice.core.claims import Owner as LeaseOwner
from taskservice.core.demand import Demand
from taskservice.core.fair.tree import Turn
from taskservice.core.flow.gate import ROOM_MAX
from taskservice.core.flow.quota import Owner
from taskservice.core.records import LeaseGranted
from taskservice.core.specs import DownstreamPolicy, FunctionPolicy, FunctionSpec
from taskservice.core.speed import Speed
from taskservice.core.state import State
from taskservice.core.types import Leaf, Token
from taskservice.core.waits import HELD, ROOM

DEPTHS = {"class": 1, "tenant": 2, "function": 3}
"""How far below the root of the tree they are."""


@dataclass(slots=True)
class Round:
    """One round of turns, in which nothing is freed: what was refused once need not be asked again."""

    closed: dict[Demand, None] = field(default_factory=dict)
    """What no runner has room for, in the order of the turns."""
    held: list[Leaf] = field(default_factory=list)
    """Leaves of whose next tasks bulk operations hold all, or whose time is over."""
    hungry: list[Owner] = field(default_factory=list)
    """Those that have less than is kept for them: their turns come first."""
    heirs: list[tuple[LeaseOwner, Demand]] = field(default_factory=list)
    """Those for whom others were told to stop: theirs come before all."""
    passed_over: int = 0
    """Of the node whose turn was found last, and those above it, so many from the top down were preferred to their siblings."""


def begin(state: State, now_ms: int) -> Round:
    """A round, in which leases that last longer than was paid for have been charged more."""
    state.turns.gates.look(state.pool.capacity(), now_ms)
    state.searches.begin(state.limits, operating=bool(state.operations.under_way))
    for leaf, seconds, price in state.costs.late(now_ms):
        state.speeds.setdefault(leaf.function, Speed()).at_least(seconds * 1e6)
        state.turns.correct(leaf, price, now_ms)
    return Round(hungry=state.turns.hungry(), heirs=state.preemption.heirs())


class Grant(NamedTuple):
    """A lease that may be granted, and what its function is like."""

    record: LeaseGranted
    demand: Demand
    function: FunctionSpec
    speed: Speed | None
    lasts_ms: int | None
    """How long it is expected to last; None while nothing is known."""


def next_lease(state: State, round_: Round, now_ms: int) -> Grant | None:
    """The next lease that some runner has room for: of those that have less than is kept for them, or by fair share; or None."""
    while (turn := _next_turn(state, round_, now_ms)) is not None:
        granted = _grant(state, turn, round_, now_ms)
        if granted is not None:
            return granted
    return None


def _next_turn(state: State, round_: Round, now_ms: int) -> Turn | None:
    while round_.heirs:
        (tenant, priority, function), demand = round_.heirs[0]
        round_.passed_over = DEPTHS["function"]
        turn = state.turns.tree.next(round_.closed, now_ms, (priority, tenant, function))
        if turn is not None and turn.shape == demand and state.preemption.promised(*round_.heirs[0]):
            return turn
        round_.heirs.pop(0)
    while round_.hungry:
        round_.passed_over = DEPTHS[round_.hungry[0][0]]
        turn = state.turns.next_of(round_.hungry[0], round_.closed, now_ms)
        if turn is not None:
            return turn
        round_.hungry.pop(0)
    round_.passed_over = 0
    return state.turns.tree.next(round_.closed, now_ms)


def _grant(state: State, turn: Turn, round_: Round, now_ms: int) -> Grant | None:
    leaf = turn.leaf
    function = state.function_of(leaf, leaf.pin)
    speed = state.speeds.get(leaf.function)
    queue = state.queue(leaf)
    pool_slots = state.pool.slots(turn.shape)
    slots = max(1, pool_slots // len(state.queues))
    room = turn.room
    if room < ROOM_MAX and _counted(state, leaf):
        room = lease.spread(room, pool_slots, function)
    size = min(room, lease.lease_size(queue, slots, speed, function, state.limits))
    lasts_ms = lease.lasts_ms(size, speed, function)
    runner = state.pool.place(turn.shape, state.limits.lease_ahead_max, now_ms, lasts_ms)
    if runner is None:
        round_.closed[turn.shape] = None
        state.turns.refused[turn.shape] = leaf
        return None
    nos = leasable(state, queue, size, now_ms)
    if not nos:
        round_.held.append(leaf)
        state.turns.tree.set_aside(leaf)
        return None
    if len(nos) != size:
        lasts_ms = lease.lasts_ms(len(nos), speed, function)
    version = state.apps.choose(leaf, len(nos)) if state.apps.rollouts else leaf.pin
    record = LeaseGranted(now_ms, Token(state.epoch, state.next_lease), runner.id, leaf, nos, version)
    return Grant(record, turn.shape, function, speed, lasts_ms)


def _counted(state: State, leaf: Leaf) -> bool:
    """Whether somebody has said how many of the leaf's tasks may run at once. (A window that is found out is found for leases as they
    are.)"""
    function, policy = state.functions[leaf.function], state.policies.get(("function", leaf.function))
    tenant = state.tenants.get(leaf.tenant)
    downstream = state.policies.get(("downstream", state.turns.gates.downstreams.name_of(leaf.function)))
    return (
        function.max_running is not None
        or (isinstance(policy, FunctionPolicy) and policy.max_running is not None)
        or (tenant is not None and tenant.running_max is not None)
        or (isinstance(downstream, DownstreamPolicy) and (downstream.ceiling or downstream.frozen) is not None)
    )


def charge(state: State, grant: Grant, now_ms: int, passed_over: int = 0) -> None:
    """The lease occupies its runner, and its leaf has paid for it."""
    granted, demand, function, speed, lasts_ms = grant
    leaf, tasks = granted.leaf, len(granted.nos)
    short = lease.is_short(lasts_ms, state.limits)
    state.pool.occupy(granted.runner, granted.token, demand, short=short, now_ms=now_ms, lasts_ms=lasts_ms)
    state.preemption.granted(leaf, demand, granted.runner)
    state.turns.usage.occupy(granted.token, leaf, dict(demand.need))
    state.turns.gates.started(leaf, tasks, now_ms)
    state.turns.refused.pop(demand, None)
    rate, each_s = state.pool.rate(demand), lease.attempt_s(speed, function)
    price = state.costs.charge(granted.token, leaf, tasks, rate, each_s, now_ms, function.concurrency)
    state.turns.served(leaf, tasks, price, now_ms, passed_over)
    if granted.version:
        state.apps.granted(leaf, granted.version, tasks)


def end(state: State, round_: Round, now_ms: int) -> None:
    """The round is over: who was set aside stands in the order again, and who cannot run now holds nobody up."""
    for leaf in round_.held:
        state.turns.tree.put_back(leaf)
    state.turns.tree.pass_on(round_.closed)
    lacking: dict[Hashable, str] = {
        demand: "pool.room" if state.pool.suits(demand) else "pool.too_large" for demand in round_.closed
    }
    state.turns.tree.waits.only(ROOM, lacking, now_ms)
    held: dict[Hashable, str] = dict.fromkeys(round_.held, "operation")
    state.turns.tree.waits.only(HELD, held, now_ms)
    state.pool.waiting(state.turns.waiting(round_.closed), now_ms)
    state.turns.gates.look(state.pool.capacity(), now_ms)
