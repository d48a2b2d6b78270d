"""How many come before a queued task, and when it will start if things go on as they are.

Of each gate that it has to pass, and of the pool, it is reckoned when they let it through behind those that are before it there. The
last one says when it starts. What arrives later is not reckoned with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from taskservice.core import estimate, lease
from taskservice.core.costs import dominant_cpus
from taskservice.core.demand import Demand
from taskservice.core.fair.line import Line
from taskservice.core.fair.node import Node
from taskservice.core.flow.gate import ROOM_MAX, Reason
from taskservice.core.flow.off_peak import NAME as OFF_PEAK
from taskservice.core.flow.quota import Owner, QuotaGate, owners
from taskservice.core.insight import Estimate, Place
from taskservice.core.looking import Looking
from taskservice.core.order import Load, Order, TooMany
from taskservice.core.resources import times
from taskservice.core.state import State
from taskservice.core.types import FunctionName, Leaf

TOO_MANY = "there are too many queues to reckon with"
NEVER_ROOM = "no runner is large enough"
OPERATOR = "nobody knows when an operator opens {gate}"
HELD = "nobody knows when {gate} lets it go"
NOT_SEEN = "nobody knows yet how long tasks of {function} take"

_LEVELS: dict[str, int] = {"function": 1, "tenant": 2, "class": 3}
"""Where in what `Order.within` gives an owner's part is."""


class Unknown(Exception):
    """It cannot be told, and why not."""


def by_state(clears_ms: int | None, gate: str) -> tuple[Estimate | None, str]:
    """When a task starts that waits for the clock, or for somebody to resume it; or why that is not known."""
    if clears_ms is None:
        return None, "nobody knows when it is resumed"
    return estimate.by_clock(clears_ms, gate), ""


def before(state: State, nodes: Sequence[Node], own: int, order: Order) -> int | None:
    """How many tasks have their turns before one that has `own` others of its queue before it; None: too many queues to tell."""
    try:
        return _before(state, order, nodes, own).tasks
    except TooMany:
        return None


def start(
    state: State,
    nodes: Sequence[Node],
    place: Place,
    closed: Sequence[Reason],
    looking: Looking,
    order: Order,
    press_ms: int | None = None,
) -> tuple[Estimate | None, str]:
    """When the task there starts, or why that is not known. `press_ms`: when it leaves the off-peak lane at the latest."""
    if not place.exact or place.before is None:
        return None, TOO_MANY
    try:
        return _Forecast(state, nodes, place.rank - 1, looking, order, press_ms).start(closed), ""
    except TooMany:
        return None, TOO_MANY
    except Unknown as unknown:
        return None, str(unknown)


def pressed(reason: Reason, press_ms: int | None) -> Reason:
    """The gate as it stands for a task that does not wait before it any longer than that, if it is the one of off-peak hours."""
    if reason.gate != OFF_PEAK or press_ms is None:
        return reason
    return replace(reason, clears_ms=press_ms if reason.clears_ms is None else min(reason.clears_ms, press_ms))


def order_of(state: State, looking: Looking) -> Order:
    """The fair order as it is now."""
    pool = state.pool
    fitting: dict[Demand, bool] = {}
    costs: dict[tuple[FunctionName, Demand], float] = {}

    def queued(leaf: Leaf) -> int:
        queue = state.queues.get(leaf)
        return 0 if queue is None else queue.count

    def fits(leaf: Leaf) -> bool:
        demand = state.turns.demand_of(leaf)
        if demand not in fitting:
            fitting[demand] = not pool.runners or any(runner.suits(demand) for runner in pool.runners.values())
        return fitting[demand]

    def cost(leaf: Leaf) -> float:
        key = leaf.function, state.turns.demand_of(leaf)
        if key not in costs:
            costs[key] = cost_s(state, leaf)
        return costs[key]

    return Order(queued, cost, fits, looking.kept_back)


def cost_s(state: State, leaf: Leaf) -> float:
    """Machine seconds that a task of the leaf is expected to take."""
    function = state.functions[leaf.function]
    rate = dominant_cpus(dict(state.turns.demand_of(leaf).need), state.pool.capacity())
    return lease.attempt_s(state.speeds.get(leaf.function), function) * rate


def _before(state: State, order: Order, nodes: Sequence[Node], own: int) -> Load:
    """Those for whom something is kept come first, as far as it goes; then the fair order."""
    leaf = nodes[-1].name
    assert isinstance(leaf, Leaf)
    loads = order.within(nodes[-1], own)
    ahead = Load(0, 0.0)
    for owner in state.turns.hungry():
        if owner in owners(leaf) and state.turns.left_of(owner, dict(state.turns.demand_of(leaf).need)) > own:
            return ahead + _above(state, order, owner, nodes) + loads[_LEVELS[owner[0]]]
        if owner not in owners(leaf):
            ahead = ahead + order.kept(state.turns.tree, state.turns.places(owner), _left(state, owner))
    return ahead + loads[-1]


def _left(state: State, owner: Owner) -> Callable[[Leaf], int]:
    return lambda leaf: state.turns.left_of(owner, dict(state.turns.demand_of(leaf).need))


def _above(state: State, order: Order, owner: Owner, nodes: Sequence[Node]) -> Load:
    """What the owner has in places that have their turns before that one."""
    load = Load(0, 0.0)
    for path in state.turns.places(owner):
        node = state.turns.tree.find(path)
        if node in nodes:
            break
        load = load + order.kept(state.turns.tree, [path], _left(state, owner))
    return load


@dataclass(slots=True)
class _Forecast:
    state: State
    nodes: Sequence[Node]
    own: int
    looking: Looking
    order: Order
    press_ms: int | None

    def start(self, closed: Sequence[Reason]) -> Estimate:
        """When it starts. Raises Unknown."""
        for reason in closed:
            if reason.gate in ("operation", "task.expired"):
                raise Unknown(HELD.format(gate=reason.gate))
            if reason.gate == "pool.too_large":
                raise Unknown(NEVER_ROOM)
        order = self.order
        loads = order.within(self.nodes[-1], self.own)
        bounds: list[Estimate | None] = [
            self._behind(line, node, order, loads[len(self.nodes) - 1 - depth].tasks)
            for depth, node in enumerate(self.nodes)
            for line in node.lines
        ]
        room = next((reason for reason in closed if reason.gate.startswith("pool.")), None)
        if room is not None:
            bounds.append(self._in_pool(order, room))
        known = [bound for bound in bounds if bound is not None]
        if not known:
            return estimate.by_clock(self.looking.now_ms, "turn")
        last = max(known, key=lambda bound: bound.p50_ms)
        return Estimate(
            last.p50_ms,
            max(bound.p90_ms for bound in known),
            last.bound,
            last.tasks,
            last.at_once,
            last.each_s,
            last.per_s,
        )

    def _behind(self, line: Line, node: Node, order: Order, own: int) -> Estimate | None:
        """When it passes the line's gate; None: that does not keep it."""
        gate, now_ms = self.looking.gate(line), self.looking.now_ms
        reason, free = pressed(self.looking.reason(line), self.press_ms), self.looking.free(line)
        tasks = order.passing(line, node, own)
        if reason.per_s is not None:
            return estimate.by_rate(reason, tasks, now_ms)
        if isinstance(gate, QuotaGate):
            used = gate.usage.used(gate.owner)
            left = {kind: max(0, most - used.get(kind, 0)) for kind, most in gate.maximum.items()}
            need = {kind: amount for kind, amount in gate.need.items() if kind in gate.maximum}
            return self._places(reason.gate, tasks, times(need, left), times(need, gate.maximum), now_ms)
        if tasks < free or (free > 0 and reason.gate == OFF_PEAK):
            return None
        if reason.gate in ("function.retries", OFF_PEAK) or not reason.limit:
            if reason.clears_ms is None or (tasks and reason.gate != OFF_PEAK):
                raise Unknown((HELD if reason.limit else OPERATOR).format(gate=reason.gate))
            return estimate.by_clock(reason.clears_ms, reason.gate)
        from_ms = max(now_ms, reason.clears_ms or 0) if reason.cause == "retry_after" else now_ms
        return self._places(reason.gate, tasks, free, reason.limit, from_ms)

    def _places(self, bound: str, tasks: int, free: int, at_once: int, from_ms: int) -> Estimate | None:
        if tasks < min(free, ROOM_MAX):
            return None
        if not at_once:
            raise Unknown(OPERATOR.format(gate=bound))
        leaf = self._leaf()
        self._known(leaf.function)
        each_s = lease.attempt_s(self.state.speeds[leaf.function], self.state.functions[leaf.function])
        return estimate.by_places(bound, tasks, free, at_once, each_s, from_ms)

    def _in_pool(self, order: Order, room: Reason) -> Estimate | None:
        """When there is room for it behind all whose turns come before."""
        state, leaf = self.state, self._leaf()
        load = _before(state, order, self.nodes, self.own)
        for one in dict.fromkeys([leaf, *order.seen]):
            self._known(one.function)
        cpus = state.pool.capacity().get("CPU", 0) / 1000
        if not cpus:
            raise Unknown(NEVER_ROOM)
        rate = dominant_cpus(dict(state.turns.demand_of(leaf).need), state.pool.capacity())
        each_s = (load.seconds + cost_s(state, leaf)) / (load.tasks + 1) / rate
        found = estimate.by_places("pool", load.tasks, 0, max(1.0, cpus / rate), each_s, self.looking.now_ms)
        if room.clears_ms is None or found is None or found.p50_ms >= room.clears_ms:
            return found
        return estimate.by_clock(room.clears_ms, room.gate)

    def _leaf(self) -> Leaf:
        leaf = self.nodes[-1].name
        assert isinstance(leaf, Leaf)
        return leaf

    def _known(self, function: FunctionName) -> None:
        speed = self.state.speeds.get(function)
        if speed is None or speed.mean_us is None:
            raise Unknown(NOT_SEEN.format(function=function))
