"""What waits for machines, and what they would be good for. A look that changes nothing.

It takes time that grows with the tenants and functions that have work, and with the leases: not with tasks, nor with keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskservice.core import lease
from taskservice.core.backlog import BacklogAnswer, Cap, RunnerUse, Work
from taskservice.core.fair.line import Line
from taskservice.core.fair.tree import path_of
from taskservice.core.flow.bucket import Bucket
from taskservice.core.flow.off_peak import NAME as OFF_PEAK
from taskservice.core.flow.quota import QuotaGate
from taskservice.core.flow.running import AtMost
from taskservice.core.looking import asked
from taskservice.core.runner import Runner
from taskservice.core.state import State
from taskservice.core.types import PRESSED_LANES, RETRY_LANES, Leaf

RETRIES = "function.retries"


def backlog(state: State, now_ms: int) -> BacklogAnswer:
    """What waits and runs by tenant and function, what bounds it, and what the runners have."""
    caps: dict[Line, int] = {}
    groups = dict.fromkeys([*state.stock.groups, *state.turns.usage.places])
    works = tuple(_work(state, leaf, caps, now_ms) for leaf in groups if leaf.function in state.functions)
    runners = tuple(_runner(runner, now_ms) for runner in state.pool.runners.values())
    found = tuple(_cap(state, line, now_ms) for line in caps)
    return BacklogAnswer(works, found, runners, state.turns.gates.off_peak.hours.is_open(now_ms))


def _work(state: State, leaf: Leaf, caps: dict[Line, int], now_ms: int) -> Work:
    function, speed = state.functions[leaf.function], state.speeds.get(leaf.function)
    demand = state.turns.demand_of(leaf)
    stock = state.stock.groups.get(leaf)
    held = tuple(_held(state, leaf, 0 if stock is None else stock.tasks, now_ms))
    own = tuple(caps.setdefault(line, len(caps)) for line in _lines(state, leaf)) if stock is not None else ()
    return Work(
        leaf.tenant,
        leaf.function,
        f"{leaf.priority}/{leaf.tenant}/{leaf.function}/{leaf.lane}/{leaf.memory_bytes}",
        demand.need,
        demand.labels,
        (0 if stock is None else stock.tasks) - sum(tasks for _, tasks in held),
        held,
        lease.attempt_s(speed, function),
        speed is not None and speed.mean_us is not None,
        function.concurrency,
        state.turns.usage.places.get(leaf, 0),
        None if stock is None or function.key_max_running is None else function.key_max_running * stock.queues,
        _fills(state, leaf, now_ms),
        own,
    )


def _held(state: State, leaf: Leaf, tasks: int, now_ms: int) -> Iterator[tuple[str, int]]:
    """Tasks that a gate of their lane keeps back: no machine is started for work that waits for a good time."""
    if _fills(state, leaf, now_ms):
        if tasks:
            yield OFF_PEAK, tasks
    elif leaf.lane in RETRY_LANES.values():
        budget = state.turns.gates.downstreams.known_budget(leaf.function)
        more = 0 if budget is None else tasks - asked(budget).room(now_ms)
        if more > 0:
            yield RETRIES, more


def _fills(state: State, leaf: Leaf, now_ms: int) -> bool:
    """Whether it waits for off-peak hours, and until then for an idle pool."""
    off_peak = state.turns.gates.off_peak
    return leaf.lane in PRESSED_LANES and off_peak.limited and not off_peak.hours.is_open(now_ms)


def _lines(state: State, leaf: Leaf) -> Iterator[Line]:
    """The lines before the gates of its function, and then of its tenant."""
    path = path_of(leaf)
    for depth in (3, 2):
        node = state.turns.tree.find(path[:depth])
        if node is not None:
            yield from node.lines


def _cap(state: State, line: Line, now_ms: int) -> Cap:
    """What the gate lets run, as it stands."""
    gate, of = line.gate, line.of
    if isinstance(gate, Bucket):
        return Cap(line.name, of, per_s=gate.limit.per_s)
    if isinstance(gate, QuotaGate):
        return Cap(line.name, of, amounts=tuple(sorted(gate.maximum.items())))
    if isinstance(gate, AtMost):
        return Cap(line.name, of, tasks_max=gate.most)
    return Cap(line.name, of, tasks_max=asked(gate).reason(now_ms).limit)


def _runner(runner: Runner, now_ms: int) -> RunnerUse:
    ends = (one.expected_end_ms(now_ms) for one in runner.leases.values())
    return RunnerUse(
        runner.id,
        runner.node,
        tuple(sorted(runner.capacity.items())),
        tuple(sorted(runner.labels.items())),
        runner.draining,
        len(runner.leases),
        max(ends, default=now_ms) - now_ms,
    )
